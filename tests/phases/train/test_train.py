"""--phase=train on a tiny set: what it writes, how it continues, and what it refuses."""

import csv
import json
import math
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

import main
from phases import test as test_phase
from phases import train as train_phase
from phases.train.trainer import Trainer, lr_factor
from retrieval import hashing
from tests.conftest import SMALL_RUN
from tests.reliability.training import equal
from tests.victims import Zygote
from utils import checkpoint_files, checkpoints
from utils.locks import folder_lock


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "FIT_STEPS", 100)


def test_the_schedule_is_the_published_one(golden) -> None:
    figures = golden("schedule")
    found = [lr_factor(int(step), int(figures["num_steps"])) for step in figures["step"]]
    np.testing.assert_allclose(found, figures["factor"], atol=1e-12)
    assert lr_factor(200_000, 200_000) == 0


def test_a_run_trains_tests_and_writes_everything(prepared: Path, command) -> None:
    status, output, errors = command("train", *SMALL_RUN, "--model_save_step=3", "--log_step=2")
    assert status == 0, errors
    assert "tiny: 3 categories, 6 training and 6 test sketches, 9 photos | tiny (dase, 8 features, " in output
    assert "mems (margin 4, annealed over 2 steps) | 2 + 2 images of 64 px a step | cpu, float32" in output
    log = Path("logs/run/log")
    assert checkpoint_files.saved_steps(Path("logs/run/model")) == [3, 4]  # 4 is no multiple of 3: never lost
    with (log / "scalars.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["2", "3", "4"]
    assert float(rows[-1]["lr"]) == pytest.approx(1e-4 * 0.5)  # of the fourth step, 2 * (1 - 3/4)
    assert all(math.isfinite(float(row["loss"])) for row in rows)
    lines = (log / "result.txt").read_text().splitlines()
    assert lines[0].startswith("step: 4 | test MAP: ")
    assert lines[-1].startswith("step: 4 | code length: 4 | hash MAP: ")
    record = json.loads((log / "result.json").read_text())[0]
    assert record["counts"] == {
        "queries": 6,
        "queries_without_positives": 0,
        "gallery": 9,
        "categories": 3,
        "trained_categories": 3,
    }
    assert record["options"]["num_steps"] == 4 and record["versions"]["torch"] == torch.__version__
    for name in ("contact_sheet.png", "curves.png", "tensorboard"):
        assert (log / name).exists()
    loss = checkpoints.load(Path("logs/run/model/checkpoint-4.pt"))["loss"]
    assert int(loss["step"]) == 4 and loss["centers"].shape == (3, 8)


def test_an_interrupted_run_continues_bit_for_bit(prepared: Path, command, monkeypatch) -> None:
    assert command("train", *SMALL_RUN)[0] == 0
    whole = checkpoints.load(Path("logs/run/model/checkpoint-4.pt"))

    real_step = Trainer.training_step

    def interrupting(self: Trainer, *batches: object) -> torch.Tensor:
        if self.step == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return real_step(self, *batches)

    arguments = [*SMALL_RUN[:-1], "--save_path=stopped"]
    monkeypatch.setattr(Trainer, "training_step", interrupting)
    status, output, _ = command("train", *arguments)
    assert status == 143 and "stopped after step 2 and saved" in output
    assert checkpoint_files.saved_steps(Path("logs/stopped/model")) == [2]
    monkeypatch.setattr(Trainer, "training_step", real_step)
    torch.manual_seed(12345)  # the state of a new process is another one
    status, output, _ = command("train", *arguments, "--num_workers=2")
    assert status == 0 and "continuing after step 2" in output
    continued = checkpoints.load(Path("logs/stopped/model/checkpoint-4.pt"))
    for part in ("network", "loss", "optimizer", "schedule", "random", "step", "lists"):
        assert equal(whole[part], continued[part]), part
    with Path("logs/stopped/log/scalars.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["2", "4"]


def test_a_killed_process_continues_from_its_last_checkpoint(
    prepared: Path, command, tmp_path: Path, zygote: Zygote
) -> None:
    """SIGKILL leaves no time to clean up."""
    assert command("train", *SMALL_RUN)[0] == 0
    whole = checkpoints.load(Path("logs/run/model/checkpoint-4.pt"))
    arguments = [*SMALL_RUN[:-1], "--save_path=killed", "--model_save_step=1"]
    code = (
        "import os, sys\n"
        "import main\n"
        "from phases.train.trainer import Trainer\n"
        "step = Trainer.training_step\n"
        "kill = lambda self, *b: os.kill(os.getpid(), 9) if self.step == 2 else step(self, *b)\n"
        "Trainer.training_step = kill\n"
        "main.main(sys.argv[1:])"
    )
    options = ["--phase=train", "--dataset=tiny", "--anno_path=anno", "--num_workers=0", *arguments]
    killed = zygote.run(tmp_path, *options, program=code)
    assert killed.status == -signal.SIGKILL, killed.text()
    assert checkpoint_files.saved_steps(Path("logs/killed/model")) == [1, 2]
    assert command("train", *arguments)[0] == 0
    continued = checkpoints.load(Path("logs/killed/model/checkpoint-4.pt"))
    assert equal(whole["network"], continued["network"]) and equal(whole["optimizer"], continued["optimizer"])


def test_a_signal_to_the_whole_group_spares_the_workers_until_all_is_saved(
    prepared: Path, tmp_path: Path, zygote: Zygote
) -> None:
    """Schedulers and Ctrl-C in a terminal send it to the whole group."""
    code = (
        "import os, signal, sys\n"
        "import main\n"
        "from phases.train.trainer import Trainer\n"
        "step = Trainer.training_step\n"
        "def stop(self, *b):\n"
        "    if self.step == 2: os.killpg(0, signal.SIGTERM)\n"
        "    return step(self, *b)\n"
        "Trainer.training_step = stop\n"
        "sys.exit(main.main(sys.argv[1:]))"
    )
    options = ["--phase=train", "--dataset=tiny", "--anno_path=anno", "--num_workers=1", "--device=cpu"]
    stopped = zygote.run(tmp_path, *options, *SMALL_RUN, "--num_steps=50", program=code)
    assert stopped.status == 143, stopped.text()
    assert "stopped after step 3 and saved" in stopped.text()
    assert checkpoint_files.saved_steps(Path("logs/run/model")) == [3]


def test_moments_of_another_memory_layout_continue_alike(prepared: Path, command) -> None:
    """A checkpoint from a GPU has contiguous moments; on the CPU, weights are channels-last."""
    arguments = [*SMALL_RUN, "--model_save_step=2"]
    assert command("train", *arguments)[0] == 0
    model = Path("logs/run/model")
    whole = checkpoints.load(model / "checkpoint-4.pt")
    state = checkpoints.load(model / "checkpoint-2.pt")
    for moments in state["optimizer"]["state"].values():
        for name in ("exp_avg", "exp_avg_sq"):
            moments[name] = moments[name].contiguous()
    checkpoints.save(model / "checkpoint-2.pt", state)
    (model / "checkpoint-4.pt").unlink()
    assert command("train", *arguments)[0] == 0
    assert equal(whole["network"], checkpoints.load(model / "checkpoint-4.pt")["network"])


def test_the_same_seed_repeats_and_another_differs(prepared: Path, command) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert command("train", *SMALL_RUN, f"--save_path={name}", f"--seed={seed}")[0] == 0
    states = [checkpoints.load(Path(f"logs/{name}/model/checkpoint-4.pt"))["network"] for name in "abc"]
    assert equal(states[0], states[1]) and not equal(states[0], states[2])


def test_a_finished_run_goes_straight_to_the_test(prepared: Path, command) -> None:
    assert command("train", *SMALL_RUN)[0] == 0
    status, output, _ = command("train", *SMALL_RUN)
    assert status == 0 and "features loaded from" in output
    assert len(json.loads(Path("logs/run/log/result.json").read_text())) == 1


def test_a_lengthened_run_continues_as_one_of_that_length(trained: Path, command) -> None:
    """Bit for bit, from step 2 of 4, where the learning rate has not fallen yet."""
    longer = [each for each in SMALL_RUN if not each.startswith("--num_steps")] + ["--num_steps=6"]
    assert command("train", *longer, "--save_path=whole", "--model_save_step=2")[0] == 0
    Path("logs/run/model/checkpoint-4.pt").unlink()
    status, output, errors = command("train", "--save_path=run", "--num_steps=6")
    assert status == 0, errors
    assert "lengthened from 4 to 6 steps" in output and "those of an unbroken run" in output
    whole, run = (checkpoints.load(Path(f"logs/{name}/model/checkpoint-6.pt")) for name in ("whole", "run"))
    for part in ("network", "loss", "optimizer", "schedule", "random"):
        assert equal(whole[part], run[part]), part
    assert run["options"]["num_steps"] == 6 and run["options"]["lengthened"] == [4]
    assert json.loads(Path("logs/run/log/result.json").read_text())[-1]["training_options"]["lengthened"] == [
        4
    ]


def test_a_finished_run_is_lengthened_with_the_learning_rate_of_the_new_length(
    trained: Path, command
) -> None:
    status, output, errors = command("train", "--save_path=run", "--num_steps=8", "--log_step=1")
    assert status == 0, errors
    assert "had fallen to 0 of --lr and continues at 1, as in an unbroken run" in output
    with Path("logs/run/log/scalars.csv").open() as file:
        rates = {int(row["step"]): float(row["lr"]) for row in csv.DictReader(file)}
    assert [rates[step] for step in (5, 6, 7, 8)] == pytest.approx([1e-4, 7.5e-5, 5e-5, 2.5e-5])
    state = checkpoints.load(Path("logs/run/model/checkpoint-8.pt"))
    assert state["optimizer"]["param_groups"][0]["lr"] == 0 and int(state["loss"]["step"]) == 8
    status, output, errors = command("train", "--save_path=run", "--num_steps=8")  # finished: tested again
    assert status == 0 and "lengthened" not in output, errors


def test_a_continued_run_finds_its_data_where_it_was(trained: Path, monkeypatch) -> None:
    Path("anno").rename("lists")
    Path("datasets").rename("elsewhere")
    arguments = ["--phase=train", "--save_path=run", "--num_workers=0", "--device=cpu"]
    folders = ["--anno_path=lists", "--data_path=elsewhere/data"]
    assert main.main([*arguments, *folders, "--num_steps=5"]) == 0
    assert main.main([*arguments, "--num_steps=6"]) == 0
    assert checkpoint_files.saved_steps(Path("logs/run/model"))[-1] == 6


def test_data_that_moved_is_named_by_the_folder_of_the_run(trained: Path, capsys) -> None:
    Path("datasets/data").rename("datasets/moved")
    path = Path("logs/run/model/checkpoint-4.pt")
    state = checkpoints.load(path)
    state["options"]["data_path"] = "disk/sets"
    path.unlink()
    checkpoints.save(path, state)
    for phase in ("test", "train"):
        assert main.main([f"--phase={phase}", "--save_path=run", "--num_workers=0", "--device=cpu"]) == 2
        errors = capsys.readouterr().err
        assert "no folder disk/sets/tiny" in errors and "--data_path" in errors
    Path("datasets/moved").rename("datasets/data")  # the default is taken where the run's own is gone
    assert main.main(["--phase=test", "--save_path=run", "--num_workers=0", "--device=cpu"]) == 0


def test_a_training_from_an_earlier_checkpoint_is_refused_with_the_way(trained: Path, command) -> None:
    status, _, errors = command("train", *SMALL_RUN, "--pretrained_model=2")
    assert status == 2 and "--pretrained_model" in errors and "copy that to model/" in errors
    Path("logs/again/model").mkdir(parents=True)
    Path("logs/run/model/checkpoint-2.pt").rename("logs/again/model/checkpoint-2.pt")  # the way
    assert command("train", *SMALL_RUN, "--save_path=again")[0] == 0
    again, run = (checkpoints.load(Path(f"logs/{name}/model/checkpoint-4.pt")) for name in ("again", "run"))
    assert equal(again["network"], run["network"])


@pytest.mark.parametrize("loss", ["cosface", "lmcl", "a-softmax", "softmax"])
def test_other_losses_train(prepared: Path, command, loss: str) -> None:
    arguments = [*SMALL_RUN, f"--loss_type={loss}", "--num_steps=1", "--attention=se", "--hash_bits"]
    if loss == "softmax":
        arguments.remove("--annealing_step=2")
    status, output, errors = command("train", *arguments, "--test_distance=angular")
    assert status == 0, errors
    assert "step: 1 | test MAP" in output and "hash MAP" not in output


def test_a_missing_download_is_one_line_before_anything_is_written(
    prepared: Path, command, monkeypatch
) -> None:
    def refuse(url: str, **options: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    status, _, errors = command("train", "--num_steps=1", "--annealing_step=1", "--image_size=64")
    assert status == 2 and "--backbone_weights=FILE" in errors and "legacy_se_resnext101" in errors
    assert not Path("logs").exists()


class Enough(Exception):
    """Raised after a step, to end the training there."""


@pytest.mark.parametrize(("network", "millions"), [("resnext101", 47.98), ("alexnet", 55.99)])
def test_a_step_of_the_published_networks(
    prepared: Path, command, monkeypatch, capsys, network, millions
) -> None:
    """From the command line up to the first step; without the hundreds of megabytes of a checkpoint."""
    steps = []

    def step_and_stop(self: Trainer, *batches: object) -> torch.Tensor:
        steps.append(real_step(self, *batches))
        raise Enough

    real_step = Trainer.training_step
    monkeypatch.setattr(Trainer, "training_step", step_and_stop)
    arguments = [*SMALL_RUN, f"--network={network}", "--f_dim=512"]
    with pytest.raises(Enough):
        command("train", *arguments)
    assert f"{network} (dase, 512 features, {millions:.2f} M parameters)" in capsys.readouterr().out
    assert torch.isfinite(steps[0])


def test_weights_of_a_file_are_counted(prepared: Path, command) -> None:
    from torchvision.models import resnet18

    torch.save(resnet18(weights=None).state_dict(), "imagenet.pth")
    arguments = ["--network=resnet18", *SMALL_RUN[1:], "--num_steps=1"]
    status, output, _ = command("train", *arguments, "--backbone_weights=imagenet.pth")
    assert status == 0
    assert (
        "weights of imagenet.pth: 120 entries loaded, 0 padded with a zero domain column, 34 left" in output
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--margin=0.5"], "--margin 0.5 is out of range for mems: 1 or more"),
        (["--margin=nan"], "--margin: nan is out of range"),
        (["--margin=inf"], "--margin: inf is out of range"),
        (["--scale=32"], "--scale has no meaning for --loss_type=mems"),
        (["--loss_type=cosface", "--margin=2"], "out of range for cosface: 0 to 1"),
        (["--loss_type=cosface", "--scale=0"], "--scale: 0 must be above 0"),
        (["--loss_type=softmax", "--margin=2"], "--margin has no meaning"),
        (["--loss_type=softmax", "--annealing_step=9"], "--annealing_step has no meaning"),
        (["--lr=0"], "--lr: 0 must be above 0"),
        (["--batch_size=7"], "--batch_size 7 is more than the 6"),
        (["--device=tpu"], "--device: 'tpu' is not auto, cpu, cuda or cuda:N"),
        (["--backbone_weights=absent.pth"], "no such file: absent.pth"),
        (["--network=alexnet", "--backbone_weights=imagenet"], "no ImageNet weights for alexnet"),
        (["--dataset=absent"], "no folder datasets/data/absent"),
        (["--pretrained_model=4"], "--pretrained_model has no meaning for --phase=train"),
        (["--force"], "--force has no meaning for --phase=train, only for prepare"),
        (["--pad_pretrained_se"], "--pad_pretrained_se needs --attention=dase"),
        (["--device=meta"], "--device: 'meta' is not"),
        (["--save_path=../outside"], "--save_path '../outside' is not a folder below logs/"),
        (["--save_path=/tmp/x"], "is not a folder below logs/"),
    ],
)
def test_bad_input_is_one_line_and_nothing_written(
    prepared: Path, command, arguments: list[str], message: str
) -> None:
    options = [
        option for option in SMALL_RUN if option.split("=")[0] not in {a.split("=")[0] for a in arguments}
    ]
    if "softmax" in str(arguments):
        options = [option for option in options if "annealing" not in option]
    status, _, errors = command("train", *options, *arguments)
    assert status == 2
    assert message in errors and errors.count("\n") == 1 and errors.startswith("error: ")
    assert not Path("logs").exists()


def test_an_unreadable_image_stops_the_run_and_is_named(prepared: Path, command) -> None:
    (prepared / "photos/cat/0.png").write_bytes(b"torn")
    status, _, errors = command("train", *SMALL_RUN, "--num_steps=40")
    assert status == 2 and "photos/cat/0.png" in errors
    steps = checkpoint_files.saved_steps(Path("logs/run/model"))
    assert len(steps) == 1 and 0 < steps[0] < 40  # what was learned before is kept


def test_lists_that_name_absent_files(prepared: Path, command) -> None:
    (prepared / "photos/cat/0.png").unlink()
    status, _, errors = command("train", *SMALL_RUN)
    assert status == 2 and "names 1 files that are not in" in errors and "photos/cat/0.png" in errors


def test_a_run_of_other_options_or_lists_is_refused(prepared: Path, command) -> None:
    assert command("train", *SMALL_RUN)[0] == 0
    for option in ("--margin=3", "--network=alexnet", "--f_dim=9", "--seed=4", "--num_steps=3"):
        status, _, errors = command("train", *SMALL_RUN, option)
        assert status == 2 and option.split("=")[0] in errors and "--save_path" in errors
    assert command("prepare", "--test_per_category=1", "--force")[0] == 0
    status, _, errors = command("train", *SMALL_RUN)
    assert status == 2 and "other annotation lists" in errors


def test_warns_of_a_margin_that_is_never_reached(prepared: Path, command, monkeypatch) -> None:
    monkeypatch.setattr(train_phase, "train", lambda *_: 143)
    status, output, _ = command("train", *SMALL_RUN, "--annealing_step=40")
    assert status == 143
    assert "annealed over 40 steps, but training ends after 4: only 0.1 of it" in output


def test_a_loss_that_is_not_finite_stops_the_run(prepared: Path, command, monkeypatch) -> None:
    nan = torch.full((), math.nan)
    step = Trainer.training_step
    monkeypatch.setattr(Trainer, "training_step", lambda self, *b: (step(self, *b), nan)[self.step == 3])
    status, _, errors = command("train", *SMALL_RUN, "--model_save_step=2", "--log_step=1")
    assert status == 2 and "the loss became nan" in errors
    assert checkpoint_files.saved_steps(Path("logs/run/model")) == [2]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_run_on_cuda(prepared: Path) -> None:
    options = ["--phase=train", "--dataset=tiny", "--anno_path=anno", "--num_workers=0", *SMALL_RUN]
    assert main.main([*options, "--device=cuda"]) == 0
    record = json.loads(Path("logs/run/log/result.json").read_text())[0]
    assert record["options"]["device"] == "cuda"


def test_training_is_followed_by_the_test_phase(prepared: Path, command, monkeypatch) -> None:
    seen = []
    monkeypatch.setattr(
        test_phase, "evaluate_checkpoint", lambda config: seen.append(config.test.pretrained_model)
    )
    assert command("train", *SMALL_RUN)[0] == 0
    assert seen == [4]


def test_a_folder_in_use_is_refused_before_its_checkpoint_is_read(
    prepared: Path, command, monkeypatch
) -> None:
    monkeypatch.setattr(train_phase, "build_trainer", None)
    with folder_lock(Path("logs/run")):
        status, _, errors = command("train", *SMALL_RUN)
    assert status == 2 and "logs/run is in use by process" in errors
    assert not Path("logs/run").exists()


def test_keep_leaves_the_newest_and_the_best(prepared: Path, command, monkeypatch) -> None:
    """The best of the steps that were tested by the distance of this run."""
    model, whole = Path("logs/run/model"), Trainer.training_step
    given = [*SMALL_RUN, "--num_steps=7", "--model_save_step=1"]

    def stopped(self: Trainer, *batches: object) -> torch.Tensor:
        if self.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return whole(self, *batches)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "training_step", stopped)
        assert command("train", *given)[0] == 143
    assert checkpoint_files.saved_steps(model) == [1, 2, 3, 4]
    path = Path("logs/run/log/result.json")
    for step, distance in ((2, "euclidean"), (3, "euclidean"), (1, "angular")):
        test = ["--save_path=run", f"--pretrained_model={step}", f"--test_distance={distance}"]
        assert command("test", *test)[0] == 0
    records = json.loads(path.read_text())
    for record in records:
        record["metrics"]["MAP"] = {1: 99.0, 2: 90.0, 3: 80.0}[record["step"]]
    path.write_text(json.dumps(records))
    status, _, errors = command("train", *given, "--keep=2")
    assert status == 0, errors
    assert checkpoint_files.saved_steps(model) == [2, 6, 7]
    assert checkpoints.load(model / "checkpoint-7.pt")["options"]["keep"] == 2
    assert command("train", *given, "--keep=1")[0] == 0 and command("test", "--save_path=run")[0] == 0


def test_keep_removes_nothing_before_the_new_checkpoint_is_there(
    prepared: Path, command, monkeypatch
) -> None:
    really = checkpoints.save

    def full(path: Path, state: dict) -> None:
        if state["step"] == 3:
            raise OSError(28, "No space left on device", str(path))
        really(path, state)

    monkeypatch.setattr(checkpoints, "save", full)
    status, _, errors = command("train", *SMALL_RUN, "--model_save_step=1", "--keep=1")
    assert status == 2 and "checkpoint-3.pt: No space left on device; make room on the disk" in errors
    assert checkpoint_files.saved_steps(Path("logs/run/model")) == [2]


def test_keep_is_passed_on_by_reproduce(prepared: Path, command, monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(train_phase, "train_and_test", lambda config: asked.append(config.train.keep) or 143)
    small = [option for option in SMALL_RUN if "margin" not in option]
    assert command("reproduce", "--table=attention", *small, "--keep=3")[0] == 143
    assert asked == [3]
