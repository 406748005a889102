"""File names of published checkpoints."""

from pathlib import Path

import pytest
import torch

from utils.checkpoint_files import saved_pairs
from utils.errors import UserError
from utils.published import read_state


def test_pairs_are_found_by_step_and_links_to_nowhere_are_not(tmp_path: Path) -> None:
    for name in ("net-20000", "mems-20000", "net-400", "a-softmax-400", "cosface-7"):
        torch.save({}, tmp_path / f"model-{name}.cpkt")
    (tmp_path / "model-net-latest.cpkt").symlink_to("/nowhere")
    (tmp_path / "model-net-9.cpkt").symlink_to("/nowhere")
    pairs = saved_pairs(tmp_path)
    assert list(pairs) == [7, 400, 20000]
    assert pairs[7].network is None and list(pairs[7].losses) == ["cosface"]
    assert pairs[400].network == tmp_path / "model-net-400.cpkt" and list(pairs[400].losses) == ["a-softmax"]
    assert saved_pairs(tmp_path / "absent") == {}


@pytest.mark.parametrize("content", [{}, {"a": 1}, {"a": torch.ones(1), "b": "text"}, [1], torch.ones(1)])
def test_only_plain_state_dicts_are_read(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "file")
    with pytest.raises(UserError, match="file"):
        read_state(tmp_path / "file")


def test_the_prefix_of_parallel_training_is_taken_off(tmp_path: Path) -> None:
    torch.save({"module.a": torch.ones(1), "module_b": torch.zeros(1)}, tmp_path / "file")
    assert list(read_state(tmp_path / "file")) == ["a", "module_b"]
