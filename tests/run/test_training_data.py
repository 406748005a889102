"""A checkpoint knows how far its training photos are from the centres; a search warns of others."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from retrieval.familiarity import familiarity_limit
from utils import checkpoints

Command = Callable[..., tuple[int, str, str]]
CHECKPOINT = Path("logs/run/model/checkpoint-4.pt")
SEARCH = ("search", "--save_path=run", "--query", "datasets/data/tiny/sketches/cat/3.png", "--gallery=own")
WARNING = "100% of these photos are unlike those that the network was trained on"


def change(limit: float | None) -> None:
    """Put `limit` into the checkpoint; None takes it out, as checkpoints of before have none."""
    state: dict[str, Any] = checkpoints.load(CHECKPOINT)
    state.pop("familiarity_limit")
    checkpoints.save(CHECKPOINT, state | ({} if limit is None else {"familiarity_limit": limit}))


def test_the_last_checkpoint_has_the_limit_of_its_training_photos(trained: Path) -> None:
    state = torch.load(CHECKPOINT, weights_only=True)
    (features,) = (np.load(path) for path in Path("logs/run/vec").glob("*photo*.npy"))
    expected = familiarity_limit(features[0], state["loss"]["centers"].numpy())
    assert state["familiarity_limit"] == pytest.approx(expected, rel=1e-4) and expected > 0
    assert "familiarity_limit" not in torch.load(CHECKPOINT.with_name("checkpoint-2.pt"), weights_only=True)


@pytest.mark.parametrize(("limit", "warned"), [(-1.0, True), (2.0, False), (None, False)])
def test_a_search_warns_of_photos_beyond_it(
    trained: Path, command: Command, limit: float | None, warned: bool
) -> None:
    """1 - cos is in [0, 2]. Without a limit the features of the test count: these photos are its own."""
    shutil.copytree("datasets/data/tiny/photos", "own")
    change(limit)
    status, output, _ = command(*SEARCH)
    assert status == 0 and (f"warning: {WARNING}" in output) == warned, output
    assert (WARNING in json.dumps(json.loads(Path("logs/run/search/results.json").read_text()))) == warned


def test_photos_of_the_data_set_are_never_foreign(trained: Path, command: Command) -> None:
    change(-1.0)
    status, output, _ = command(*SEARCH[:-1])
    assert status == 0 and "unlike" not in output


def test_a_limit_that_is_no_number_is_refused(trained: Path, command: Command) -> None:
    change("near")
    status, _, errors = command(*SEARCH[:-1])
    assert status == 2 and "its entry familiarity_limit is not a number" in errors
