"""Checkpoints and weights of any making: read bit for bit as written, or refused in one line by name."""

import io
import math
import os
import pickle
import resource
import struct
import time
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import SMALL_RUN
from tests.reliability.equal import equal
from utils import checkpoint_files, checkpoints, tensor_files
from utils.errors import UserError

MIB = 2**20


class Harmful:
    """What leaves the file ran.txt when its pickle is loaded as pickles are."""

    def __reduce__(self) -> tuple:
        return os.system, ("touch ran.txt",)


WHERE = {
    "own": ("logs/run/model/checkpoint-4.pt", ["test", "--save_path=run"]),
    "own, continued": ("logs/run/model/checkpoint-4.pt", ["train", *SMALL_RUN]),
    "own, searched with": ("logs/run/model/checkpoint-4.pt", ["index", "--save_path=run"]),
    "own, handed on": ("logs/run/model/checkpoint-4.pt", ["export", "--save_path=run"]),
    "published": ("logs/run/model/model-net-4.cpkt", ["test", "--save_path=run"]),
    "backbone": ("weights.pt", ["train", *SMALL_RUN, "--backbone_weights=weights.pt"]),
}


@pytest.mark.parametrize("form", ["archive", "legacy", "bare pickle"])
@pytest.mark.parametrize("where", WHERE)
def test_pickles_that_would_run_code(prepared: Path, command, where: str, form: str) -> None:
    name, arguments = WHERE[where]
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    if form == "bare pickle":
        Path(name).write_bytes(pickle.dumps({"step": Harmful()}, 2))
    else:
        torch.save({"step": Harmful()}, name, _use_new_zipfile_serialization=form == "archive")
    status, _, errors = command(*arguments)
    assert status == 2 and errors.startswith(f"error: cannot read {name}: ") and errors.count("\n") == 1
    assert "posix.system" in errors
    assert not Path("ran.txt").exists()
    with suppress(Exception):
        torch.load(name, weights_only=False)
    assert Path("ran.txt").exists()  # the trap is one


def test_the_loss_of_a_published_pair_runs_no_code(trained: Path, command) -> None:
    state = checkpoints.load(Path("logs/run/model/checkpoint-4.pt"))
    folder = Path("logs/pair/model")
    folder.mkdir(parents=True)
    torch.save(state["network"], checkpoint_files.pair_path(folder, "net", 4))
    torch.save({"centers": Harmful()}, checkpoint_files.pair_path(folder, "mems", 4))
    status, _, errors = command("test", "--save_path=pair", "--image_size=64")
    assert status == 2 and "model-mems-4.cpkt" in errors and "posix.system" in errors
    assert not Path("ran.txt").exists()


class Stored:
    """A storage of float32 as a pickle of PyTorch's names it: `numbers` in the part `key`."""

    def __init__(self, key: str, numbers: int) -> None:
        self.key, self.numbers = key, numbers


class Call:
    """What a pickle has done when it is loaded."""

    def __init__(self, function: Callable, *arguments: Any) -> None:
        self.made = function, arguments

    def __reduce__(self) -> tuple:
        return self.made


class Pickler(pickle.Pickler):
    def persistent_id(self, value: object) -> tuple | None:
        if isinstance(value, Stored):
            return "storage", torch.FloatStorage, value.key, "cpu", value.numbers
        return None


def pickled(value: object) -> bytes:
    file = io.BytesIO()
    Pickler(file, 2).dump(value)
    return file.getvalue()


def tensor(shape: tuple, strides: tuple, numbers: int = 10, offset: int = 0) -> Call:
    storage = Stored("0", numbers)
    return Call(torch._utils._rebuild_tensor_v2, storage, offset, shape, strides, False, OrderedDict())


def archive(path: Path, content: bytes, packed: int = zipfile.ZIP_STORED, data: bytes = b"\0" * 40) -> None:
    """A file as `torch.save` writes it, with any pickle and any numbers."""
    with zipfile.ZipFile(path, "w", packed) as file:
        parts = {"data.pkl": content, "byteorder": b"little", "data/0": data, "version": b"3\n"}
        for name, part in parts.items():
            file.writestr(f"archive/{name}", part)


def deep(levels: int) -> bytes:
    """Lists in lists, so deep that whoever goes down step by step falls over."""
    return b"\x80\x02" + b"]" * levels + b"a" * (levels - 1) + b"."


def sizes_changed(path: Path) -> None:
    """The directory says that the numbers are 2 GiB, packed and unpacked."""
    archive(path, pickled({"w": tensor((10,), (1,))}))
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"archive/data/0") - 46  # of the directory, before the name
    content[entry + 20 : entry + 28] = struct.pack("<II", 2**31, 2**31)
    path.write_bytes(content)


def overlapping(path: Path) -> None:
    """A hundred parts that are one and the same MiB."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", pickled({}))
        file.writestr("archive/data/0", bytes(MIB))
        part = file.infolist()[-1]
        for number in range(1, 100):
            again = zipfile.ZipInfo(f"archive/data/{number}")
            for name in ("header_offset", "CRC", "compress_size", "file_size"):
                setattr(again, name, getattr(part, name))
            file.filelist.append(again)
            file.NameToInfo[again.filename] = again


def twice(path: Path) -> None:
    archive(path, pickled({"w": tensor((10,), (1,))}))
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as file:
        file.writestr("archive/data/0", b"\1" * 40)


BOMBS: dict[str, Callable[[Path], object]] = {
    "packed parts": lambda path: archive(
        path, pickled({"w": tensor((2**28,), (1,), 2**28)}), zipfile.ZIP_DEFLATED, bytes(2**24)
    ),
    "sizes beyond the file": sizes_changed,
    "overlapping parts": overlapping,
    "one name twice": twice,
    "more numbers than stored": lambda path: archive(path, pickled({"w": tensor((10**9,), (1,), 10**9)})),
    "a view of one number": lambda path: archive(path, pickled({"w": tensor((10**12,), (0,))})),
    "sides of nothing": lambda path: archive(path, pickled({"w": tensor((10**12, 0), (1, 1))})),
    "beyond its storage": lambda path: archive(path, pickled({"w": tensor((100,), (1,))})),
    "before its storage": lambda path: archive(path, pickled({"w": tensor((10,), (1,), offset=-5)})),
    "memory by number": lambda path: archive(path, pickled({"w": Call(bytearray, 10**10)})),
    "a tensor by number": lambda path: archive(path, pickled({"w": Call(torch.FloatTensor, 10**10)})),
    "lists in lists": lambda path: archive(path, deep(10**6)),
    "a pickle of another protocol": lambda path: archive(path, pickle.dumps({"w": Harmful()}, 5)),
    "no pickle": lambda path: archive(path, b"not a pickle"),
    "an unfinished pickle": lambda path: archive(path, pickled({"w": 1})[:-1]),
    "a list": lambda path: torch.save([1, 2], path),
    "a module": lambda path: torch.save(torch.nn.Linear(2, 2), path),
    "an array": lambda path: torch.save({"w": np.ones(3)}, path),
    "nothing": lambda path: path.touch(),
    "a text": lambda path: path.write_text("weights\n" * 100),
    "another archive": lambda path: zipfile.ZipFile(path, "w").close(),
    "a folder": lambda path: path.mkdir(),
    "a pipe": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
}


def refusal(path: Path) -> tuple[str, float, int]:
    """By what a checkpoint is refused, after how many seconds, and how much memory that took at most.

    To be asked in a new process: a high-water mark never falls, and that of a process with a past is high.
    """
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(UserError) as error:
        checkpoints.load(path)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return str(error.value), time.monotonic() - start, grown * 1024  # of KiB


def test_the_memory_that_a_new_process_takes_is_seen() -> None:
    bytearray(500 * MIB)  # what this one took does not hide it
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
        assert pool.submit(taken, 300 * MIB).result(60) > 290 * MIB


def taken(size: int) -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    bytearray(size)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024


@pytest.mark.parametrize("kind", BOMBS)
def test_files_that_are_no_checkpoints(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "checkpoint-1.pt"
    BOMBS[kind](path)
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
        said, seconds, grown = pool.submit(refusal, path).result(60)
    assert "checkpoint-1.pt" in said and "\n" not in said and len(said) < 600
    assert seconds < 60  # a bomb would take hours
    assert grown < 200 * MIB


def a_training() -> dict[str, Any]:
    """What a checkpoint holds, with so few numbers that what is around them is hit as often."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(12, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 4))
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.randn(6, 12)).square().mean().backward()
    optimizer.step()
    return {
        "step": 7,
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "random": [{"cpu": torch.get_rng_state(), "cuda": []}],
        "options": {"margin": 4.0, "dataset": "tiny", "scale": None, "normalize": False},
        "lists": "0" * 64,
        "categories": ["bear (animal)", "cat"],
    }


def read_or_refused(path: Path, whole: Any) -> bool:
    """Whether it is refused, by name; else it must be read as it was written."""
    try:
        found = tensor_files.read(path)
    except UserError as error:
        assert str(path) in str(error) and "\n" not in str(error)
        return True
    assert equal(found, whole)
    return False


@pytest.mark.parametrize("legacy", [False, True])
def test_cut_off_at_every_tenth(tmp_path: Path, legacy: bool) -> None:
    path, state = tmp_path / "checkpoint-7.pt", a_training()
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    whole = path.read_bytes()
    assert not read_or_refused(path, state)
    for cut in [*(len(whole) * part // 10 for part in range(10)), *range(len(whole) - 100, len(whole))]:
        path.write_bytes(whole[:cut])
        assert read_or_refused(path, state)
    path.write_bytes(whole + b"and more")
    read_or_refused(path, state)


@pytest.mark.parametrize("times", [100, pytest.param(2000, marks=pytest.mark.long)])
def test_flipped_bits(tmp_path: Path, times: int, ledger) -> None:
    path, state = tmp_path / "checkpoint-7.pt", a_training()
    checkpoints.save(path, state)
    whole = path.read_bytes()
    draw = np.random.default_rng(0)
    places = [len(whole) * part // 10 for part in range(10)]
    places += draw.integers(0, len(whole), times - len(places)).tolist()
    refused = 0
    for place in places:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(draw.integers(8))
        path.write_bytes(flipped)
        refused += read_or_refused(path, state)
    assert 0 < refused < times  # between the parts there is padding, and dates
    ledger(
        3,
        "checkpoint: one bit flipped, at random places",
        times=times,
        outcome=f"{refused:,} refused by name, {times - refused:,} read bit for bit (padding was hit)",
    )


def test_a_flipped_bit_of_a_whole_checkpoint(trained: Path, command) -> None:
    path = Path("logs/run/model/checkpoint-4.pt")
    whole = bytearray(path.read_bytes())
    path.unlink()  # a link to the checkpoint of all tests
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)
    for phase in ("test", "train"):
        status, _, errors = command(phase, "--save_path=run")
        assert status == 2 and errors.startswith(f"error: cannot read {path}: its part")
        assert "does not match its checksum" in errors and errors.count("\n") == 1


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("step", "x", "step"),
        ("step", 4.0, "step"),
        ("step", True, "step"),
        ("options", ["--seed=0"], "options"),
        ("options", {}, "--dataset"),
        ("lists", 7, "lists"),
        ("lists", "another", "other annotation lists"),
        ("categories", "cat", "categories"),
        ("categories", [1, 2], "categories"),
        ("left_out", "cat", "left_out"),
        ("versions", ["2.0"], "versions"),
        ("network", {"a": 1}, "network"),
        ("network", {1: torch.ones(1)}, "network"),
        ("network", torch.ones(3), "network"),
        ("network", {"a": torch.ones(1)}, "does not fit"),
        ("loss", {"centers": 5}, "loss"),
        ("loss", {}, "does not fit"),
        ("loss", {"centers": torch.ones(2**18, 0)}, "does not fit"),
        ("options.image_size", "64", "--image_size"),
        ("options.image_size", None, "--image_size"),
        ("options.image_size", ["@anno/tiny_sketch.json"], "--image_size"),
        ("options.f_dim", 2**40, "does not fit"),
        ("options.f_dim", 2**62, "is of an impossible network"),
        ("options.se_reduction", 0, "--se_reduction"),
        ("options.network", "os.system", "--network"),
        ("options.dataset", "../../secret", "--dataset"),
        ("options.dataset", {"a": 1}, "--dataset"),
        ("options.margin", "four", "--margin"),
        ("options.normalize", "yes", "normalize"),
        ("options.seed", -1, "--seed"),
        ("options.top", torch.ones(3), "--top"),
        ("options.image_size", 10**9, "--image_size"),
    ],
)
def test_entries_of_other_types(trained: Path, command, entry: str, value: object, message: str) -> None:
    path = Path("logs/run/model/checkpoint-4.pt")
    state = checkpoints.load(path)
    part, _, option = entry.partition(".")
    if option:
        state[part][option] = value
    else:
        state[part] = value
    checkpoints.save(path, state)  # under the name, beside the file of all tests
    for phase in ("test", "train"):
        status, _, errors = command(phase, "--save_path=run")
        assert status == 2 and errors.startswith("error: ") and errors.count("\n") == 1
        assert "checkpoint-4.pt" in errors and message in errors


def spoiled(state: dict[str, Any], kind: str) -> None:
    optimizer, groups = state["optimizer"], state["optimizer"]["param_groups"]
    match kind:
        case "no optimizer":
            del state["optimizer"]
        case "text for an optimizer":
            state["optimizer"] = "Adam"
        case "one group":
            del groups[1]
        case "a rate of text":
            groups[0]["lr"] = "fast"
        case "moments of another shape":
            optimizer["state"][0]["exp_avg"] = torch.ones(1)
        case "moments of text":
            optimizer["state"][0]["exp_avg"] = "none"
        case "no moments":
            optimizer["state"][0] = {}
        case "moments of no parameter":
            optimizer["state"][10**6] = optimizer["state"][0]
        case "a schedule of text":
            state["schedule"]["last_epoch"] = "now"
        case "no rate":
            del groups[1]["lr"]
        case "no random state":
            del state["random"]
        case "a random state of another length":
            state["random"] = [{"cpu": torch.zeros(7, dtype=torch.uint8), "cuda": []}]
        case "a random state of text":
            state["random"] = [{"cpu": "seed", "cuda": []}]


@pytest.mark.parametrize(
    "kind",
    [
        "no optimizer",
        "text for an optimizer",
        "one group",
        "a rate of text",
        "moments of another shape",
        "moments of text",
        "no moments",
        "moments of no parameter",
        "a schedule of text",
        "no rate",
        "no random state",
        "a random state of another length",
        "a random state of text",
    ],
)
def test_what_a_training_would_continue_from(trained: Path, command, kind: str) -> None:
    Path("logs/run/model/checkpoint-4.pt").unlink()
    path = Path("logs/run/model/checkpoint-2.pt")
    state = checkpoints.load(path)
    spoiled(state, kind)
    checkpoints.save(path, state)
    status, _, errors = command("train", "--save_path=run")
    assert status == 2 and errors.startswith(f"error: {path} cannot be continued"), errors
    assert not Path("logs/run/model/checkpoint-4.pt").exists()


def test_a_published_pair_with_sizes_of_nothing(tmp_path: Path, command, tree: Path) -> None:
    folder = Path("logs/run/model")
    folder.mkdir(parents=True)
    for state in (
        {"last_linear.weight": torch.ones(2**18, 0)},
        {"last_linear.weight": torch.ones(2, 2), "se.fc1.weight": torch.ones(2**18, 2**18, 0, 0)[:, :1]},
        {"last_linear.weight": torch.ones(2)},
        {5: torch.ones(2)},
        {},
    ):
        torch.save(state, folder / "model-net-4.cpkt")
        status, _, errors = command("test", "--save_path=run")
        assert status == 2 and "model-net-4.cpkt" in errors and errors.count("\n") == 1


def test_checksums_cost_little(tmp_path: Path) -> None:
    """A few times what it takes to read the file: 0.20 s for 577 MB that are read in 0.15 s."""
    path = tmp_path / "checkpoint-1.pt"
    torch.save({"w": torch.rand(2**24)}, path)  # 64 MiB
    reading = checking = math.inf
    for _ in range(3):
        start = time.process_time()
        torch.load(path, weights_only=True)
        reading = min(reading, time.process_time() - start)
        start = time.process_time()
        tensor_files.check_file(path)
        checking = min(checking, time.process_time() - start)
    assert checking < 20 * reading
