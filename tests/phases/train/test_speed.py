"""Options for speed and memory change no number beyond rounding."""

import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

import main
from datasets.annotations import load_annotation
from phases.train.trainer import Trainer
from run.config import Config, config_from_options, resolve_training
from tests.conftest import SMALL_RUN
from utils import checkpoints


def make_train_config(*given: str) -> Config:
    common = ["--phase=train", "--dataset=tiny", "--anno_path=anno", "--num_workers=0", "--device=cpu"]
    return resolve_training(config_from_options(main.parse([*common, *SMALL_RUN, *given])))


def train_one_step(*given: str, evaluating: bool = False) -> tuple[Trainer, torch.Tensor]:
    """A trainer after one step, and its loss; `evaluating` is without dropout and batch statistics."""
    config = make_train_config(*given)
    data = config.data
    trainer = Trainer(config, load_annotation(data.data_path, data.anno_path, data.dataset))
    if evaluating:
        trainer.network.eval()
    return trainer, trainer.training_step(*next(trainer.batches()))


def gradients(trainer: Trainer) -> list[torch.Tensor]:
    parameters = (*trainer.network.parameters(), *trainer.criterion.parameters())
    return [each.grad for each in parameters if each.grad is not None]


@pytest.mark.parametrize("parts", [2, 3])
def test_gradients_of_parts_add_up_to_those_of_the_batch(prepared: Path, parts: int) -> None:
    whole, loss = train_one_step("--batch_size=3", evaluating=True)
    split, loss_of_parts = train_one_step("--batch_size=3", f"--accumulate={parts}", evaluating=True)
    assert torch.allclose(loss, loss_of_parts, rtol=1e-5)
    for expected, found in zip(gradients(whole), gradients(split), strict=True):
        assert torch.allclose(expected, found, rtol=1e-3, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_lower_precision_is_only_for_the_network(prepared: Path, amp: str) -> None:
    plain, loss = train_one_step(evaluating=True)
    lower, loss_of_lower = train_one_step(f"--amp={amp}", evaluating=True)
    assert loss_of_lower.dtype == torch.float32
    assert loss_of_lower != loss and torch.allclose(loss_of_lower, loss, rtol=0.05)
    assert all(each.dtype == torch.float32 for each in (*lower.network.parameters(), *gradients(lower)))
    scale = lower.scaler.get_scale()
    centers, expected = lower.criterion.centers.grad / scale, plain.criterion.centers.grad
    assert (scale > 1) == (amp == "fp16")
    assert torch.nn.functional.cosine_similarity(centers.flatten(), expected.flatten(), dim=0) > 0.99


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_a_run_in_lower_precision_continues_bit_for_bit(prepared: Path, command, amp: str) -> None:
    assert command("train", *SMALL_RUN, f"--amp={amp}", "--model_save_step=2")[0] == 0
    last = Path("logs/run/model/checkpoint-4.pt")
    whole = checkpoints.load(last)
    last.unlink()
    status, _, errors = command("train", *SMALL_RUN, "--amp=off")
    assert status == 2 and f"was made with --amp={amp}, not off" in errors
    assert command("train", *SMALL_RUN)[0] == 0
    again = checkpoints.load(last)
    for name, value in whole["network"].items():
        assert torch.equal(value, again["network"][name]), name
    assert whole["scaler"] == again["scaler"] and bool(whole["scaler"]) == (amp == "fp16")


def test_a_first_checkpoint_without_later_options_continues_bit_for_bit(prepared: Path, command) -> None:
    assert command("train", *SMALL_RUN, "--model_save_step=2")[0] == 0
    first, last = (Path(f"logs/run/model/checkpoint-{step}.pt") for step in (2, 4))
    whole = checkpoints.load(last)
    last.unlink()
    state = checkpoints.load(first)
    for name in ("dase_layer4", "center_norm", "augmentation", "lengthened"):
        del state["options"][name]
    for name in ("machine", "familiarity_limit"):
        state.pop(name, None)
    checkpoints.save(first, state)
    status, output, errors = command("train", *SMALL_RUN)
    assert status == 0 and "continuing after step 2" in output, errors
    again = checkpoints.load(last)
    for name, value in whole["network"].items():
        assert torch.equal(value, again["network"][name]), name


def test_a_compiled_step_is_the_plain_one(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced and run without the C++ compiler, which a machine may not have."""
    monkeypatch.setattr(shutil, "which", lambda name: name)
    compile_module, compiled = nn.Module.compile, []
    monkeypatch.setattr(
        nn.Module, "compile", lambda self: compiled.append(self) or compile_module(self, backend="eager")
    )
    plain, loss = train_one_step(evaluating=True)
    assert not compiled
    traced, loss_of_traced = train_one_step("--compile", evaluating=True)
    assert compiled == [traced.network]
    assert torch.allclose(loss, loss_of_traced, rtol=1e-5)
    assert list(plain.state_dict()["network"]) == list(traced.state_dict()["network"])


def test_recomputed_blocks_train_the_same(prepared: Path) -> None:
    plain, loss = train_one_step()
    lean, loss_of_lean = train_one_step("--gradient_checkpointing")
    assert torch.equal(loss, loss_of_lean)
    for name, value in plain.network.state_dict().items():
        assert torch.allclose(value.float(), lean.network.state_dict()[name].float(), atol=1e-6), name


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("switch", ["--amp=bf16", "--amp=fp16", "--gradient_checkpointing", "--compile"])
def test_a_step_on_cuda_is_that_on_the_cpu(prepared: Path, switch: str) -> None:
    _, loss = train_one_step(evaluating=True)
    trainer, loss_on_cuda = train_one_step(switch, "--device=cuda", evaluating=True)
    assert torch.allclose(loss, loss_on_cuda.cpu(), rtol=0.05)
    assert all(each.isfinite().all() for each in gradients(trainer))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--accumulate=3"], "--accumulate 3 is more than --batch_size 2"),
        (["--compile", "--gradient_checkpointing"], "do not go together"),
        (["--sync_bn"], "--sync_bn needs CUDA"),
        (["--gradient_checkpointing", "--network=alexnet"], "no meaning for --network=alexnet"),
    ],
)
def test_impossible_options_are_refused_before_training(
    prepared: Path, command, given: list[str], message: str
) -> None:
    status, _, errors = command("train", *SMALL_RUN, *given)
    assert status == 2 and message in errors
    assert not Path("logs").exists()


def test_compilation_needs_a_compiler(prepared: Path, command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    status, _, errors = command("train", *SMALL_RUN, "--compile")
    assert status == 2 and "--compile needs a C++ compiler" in errors


def test_speed_options_are_for_training_only(prepared: Path, command) -> None:
    status, _, errors = command("test", "--save_path=run", "--amp=bf16")
    assert status == 2 and "--amp has no meaning for --phase=test" in errors
