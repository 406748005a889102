"""A disk that takes no more: the file of before stays, nothing half-written does, one line names the file."""

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from options.phases import PHASES
from retrieval import hashing
from tests.conftest import SMALL_RUN
from tests.reliability.disks import files_end_at, main_after, mount
from tests.victims import Victim, Zygote
from utils import files

COMMON = ("--anno_path=anno", "--num_workers=0", "--device=cpu", "--dataset=tiny")
RUN = "logs/run"
GALLERY = f"{RUN}/index/dataset"
TEST = ("test", "--save_path=run")
CACHED = (*TEST, "--cache_images")
INDEX = ("index", "--save_path=run", "--hash_bits=8")
SEARCH = ("search", "--save_path=run", "--query=datasets/data/tiny/sketches/cat/0.png")
REPORT = ("report", "--save_path=run")
TABLE = ("report", *SMALL_RUN[:-1], "--save_path=table", "--seeds=1", "--table=mirror")
EXPORT = ("export", "--save_path=run")
LISTS = ("prepare", "--force", "--test_per_category=2")


@dataclass(frozen=True)
class Write:
    """The command that writes `file`, after what is `removed`, and the package it needs."""

    file: str
    arguments: tuple[str, ...]
    removed: tuple[str, ...] = ()
    package: str = ""


VEC, KEY = f"{RUN}/vec/*", f"{RUN}/vec/*.json"
RECORD, SEALS = f"{GALLERY}/gallery.json", f"{GALLERY}/*.sha256"
WRITES = {
    "sketch list": Write("anno/tiny_sketch.json", LISTS),
    "photo list": Write("anno/tiny_photo.json", LISTS),
    "features of sketches": Write(f"{RUN}/vec/sketch-4.npy", TEST, (KEY,)),
    "features of photos": Write(f"{RUN}/vec/photo-4.npy", TEST, (KEY,)),
    "key of features": Write(f"{RUN}/vec/features-4.json", TEST, (KEY,)),
    "kept photos": Write("datasets/cache/tiny-photos-*.npy", CACHED, (VEC, "datasets/cache/*.json")),
    "kept sketches": Write("datasets/cache/tiny-sketches-*.npy", CACHED, (VEC, "datasets/cache/*.json")),
    "key of kept photos": Write("datasets/cache/tiny-photos-*.json", CACHED, (VEC, "datasets/cache/*.json")),
    "result.txt": Write(f"{RUN}/log/result.txt", TEST),
    "result.json": Write(f"{RUN}/log/result.json", TEST),
    "contact sheet": Write(f"{RUN}/log/contact_sheet.png", TEST),
    "margin condition": Write(f"{RUN}/log/margin_condition.png", (*TEST, "--margin_condition=on")),
    "new features of a gallery": Write(f"{GALLERY}/fresh.npy", INDEX, (VEC, RECORD)),
    "features of a gallery": Write(f"{GALLERY}/features.npy", INDEX, (RECORD,)),
    "gallery.json": Write(RECORD, INDEX, (RECORD,)),
    "hnsw": Write(f"{GALLERY}/features.*.hnsw-*-2", (*INDEX, "--index=hnsw"), (SEALS,), "faiss"),
    "checksum": Write(SEALS, (*INDEX, "--index=hnsw"), (SEALS,), "faiss"),
    "codes": Write(f"{GALLERY}/features.*.binary-*-2", (*INDEX, "--index=binary"), (SEALS,)),
    "map of codes": Write(f"{GALLERY}/features.*.map", (*INDEX, "--index=binary"), (SEALS,)),
    "evaluation": Write(f"{RUN}/index/evaluation.json", (*INDEX, "--evaluate")),
    "results of a search": Write(f"{RUN}/search/results.json", SEARCH),
    "sheet of a search": Write("out/contact_sheet.png", (*SEARCH, "--output=out")),
    "figure of a report": Write(f"{RUN}/report/confusion.png", REPORT),
    "numbers of a report": Write(f"{RUN}/report/report.json", REPORT),
    "page of a report": Write(f"{RUN}/report/index.html", REPORT),
    "table": Write("logs/table/tables/mirror.md", TABLE),
    "table as csv": Write("logs/table/tables/mirror.csv", TABLE),
    "table as json": Write("logs/table/tables/mirror.json", TABLE),
    "figure of a table": Write("logs/table/tables/mirror.png", TABLE),
    "published network": Write(f"{RUN}/published/model/model-net-4.cpkt", (*EXPORT, "--format=published")),
    "published centres": Write(f"{RUN}/published/model/model-mems-4.cpkt", (*EXPORT, "--format=published")),
    "onnx": Write(f"{RUN}/export/onnx/photo.onnx", (*EXPORT, "--format=onnx"), (), "onnxruntime"),
    "torchscript": Write(f"{RUN}/export/torchscript/sketch.pt", (*EXPORT, "--format=torchscript")),
    "safetensors": Write(
        f"{RUN}/export/safetensors/model.safetensors", (*EXPORT, "--format=safetensors"), (), "safetensors"
    ),
    "model card": Write(
        f"{RUN}/export/safetensors/model_card.md", (*EXPORT, "--format=safetensors"), (), "safetensors"
    ),
}

QUICK = ("sketch list", "features of photos", "gallery.json", "codes", "results of a search", "table")


def state(home: Path) -> dict[Path, str]:
    return {
        path.relative_to(home): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in home.rglob("*")
        if path.is_file() and not path.is_symlink() and path.suffix != ".pt"
    }


@contextmanager
def full_for(pattern: str) -> Iterator[None]:
    """The disk is full whenever a file of this name is being written."""
    plain = files.temporary_path
    for phase in PHASES.values():
        import_module(phase.module)  # now, while what they import is what it is

    @contextmanager
    def full(path: Path) -> Iterator[Path]:
        with plain(path) as temporary, ExitStack() as stack:
            if path.absolute().match(pattern):
                stack.enter_context(files_end_at(20))
            yield temporary

    with pytest.MonkeyPatch.context() as patch:
        for name, module in list(sys.modules.items()):
            if name.split(".")[0] not in ("utils", "run", "phases"):
                continue
            if getattr(module, "temporary_path", None) is plain:
                patch.setattr(module, "temporary_path", full)
        yield


def remove(home: Path, write: Write) -> None:
    for pattern in write.removed:
        for path in home.glob(pattern):
            path.unlink()


def refused(home: Path, command: Callable[..., tuple[int, str, str]], write: Write, *, again: bool) -> None:
    """Give the command while the disk takes no `write.file`, after it was made once if `again`."""
    if write.arguments is TABLE:  # of a run that is there
        (home / "logs/table").mkdir(parents=True)
    if again:
        assert command(*write.arguments)[0] == 0
    remove(home, write)
    known = state(home)
    with full_for(write.file):
        status, output, errors = command(*write.arguments)
    assert status == 2, (status, output, errors)
    said = errors[errors.index("error: ") :]
    assert len(said.strip().splitlines()) == 1 and "File too large" in said, errors
    assert str(Path(write.file).parent) in said and "Traceback" not in output
    now = state(home)
    assert not [path for path in now if path.name.startswith(".")]
    lost = [path for path in known if path.match(write.file) and now.get(path) != known[path]]
    assert not lost, "the file of before is not what it was"


@pytest.mark.parametrize("name", QUICK)
def test_a_file_that_the_disk_does_not_take(trained: Path, command, name: str) -> None:
    refused(trained, command, WRITES[name], again=True)


@pytest.mark.long
def test_all_files_that_a_disk_does_not_take(
    trained_once: Path, tmp_path: Path, command, ledger: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = 0
    monkeypatch.setattr(hashing, "FIT_STEPS", 100)
    for name, write in WRITES.items():
        if not write.package or find_spec(write.package):
            for again in (False, True):
                home = tmp_path / f"{name}{again}"
                shutil.copytree(trained_once, home)
                monkeypatch.chdir(home)
                refused(home, command, write, again=again)
                shutil.rmtree(home)
                tried += 1
    ledger(
        2,
        f"{len(WRITES)} kinds of files that are written, each when the disk takes no more of it, once before "
        "there is such a file and once after",
        times=tried,
        outcome="exit status 2, one line naming the place; the file of before unchanged, no temporary one",
    )


def select_given(arguments: tuple[str, ...]) -> tuple[str, ...]:
    return (f"--phase={arguments[0]}", *COMMON, *arguments[1:])


def check_line(done: Victim, place: str, reason: str) -> None:
    assert done.status == 2, done.text()
    line = done.text().splitlines()[-1]
    assert line.startswith("error: ") and place in line and reason in line, done.text()
    assert done.text().count("error: ") == 1 and "Traceback" not in done.text(), done.text()


@pytest.mark.parametrize(
    ("place", "arguments"),
    [
        ("anno", LISTS),
        pytest.param(f"{RUN}/vec", TEST, marks=pytest.mark.long),
        pytest.param(f"{RUN}/index", INDEX, marks=pytest.mark.long),
        pytest.param("out", (*SEARCH, "--output=out"), marks=pytest.mark.long),
    ],
)
def test_a_disk_without_room(
    trained: Path, command, zygote: Zygote, place: str, arguments: tuple[str, ...]
) -> None:
    """A real one, of one page that is taken."""
    if place == "out":
        assert command("index", "--save_path=run")[0] == 0
    Path(place).mkdir(exist_ok=True)
    before = state(trained)
    full = mount("size=4k", place, filled=True)
    done = main_after(zygote, full, *select_given(arguments), output=trained.with_name("output.txt"))
    check_line(done, place, "No space left on device")
    assert state(trained) == before


@pytest.mark.parametrize(
    "arguments",
    [
        TEST,
        *(
            pytest.param(each, marks=pytest.mark.long)
            for each in (LISTS, SEARCH, REPORT, (*EXPORT, "--format=torchscript"))
        ),
    ],
)
def test_a_disk_that_can_only_be_read(trained: Path, zygote: Zygote, arguments: tuple[str, ...]) -> None:
    before = state(trained)
    read_only = "mount --bind . . && mount -o remount,ro,bind $PWD"
    done = main_after(zygote, read_only, *select_given(arguments), output=trained.with_name("output.txt"))
    check_line(done, "anno" if "prepare" in arguments else RUN, "Read-only file system")
    assert state(trained) == before


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize(
    ("place", "arguments", "removed"),
    [
        ("anno", LISTS, ()),
        (RUN, TEST, ()),
        (f"{RUN}/vec", TEST, (KEY,)),
        (f"{RUN}/log", TEST, ()),
        (RUN, INDEX, ()),
        (GALLERY, INDEX, (RECORD,)),
        (RUN, SEARCH, ()),
        (RUN, REPORT, ()),
        (RUN, (*EXPORT, "--format=torchscript"), ()),
    ],
)
def test_a_folder_of_somebody_else(
    trained: Path, zygote: Zygote, command, place: str, arguments: tuple[str, ...], removed: tuple[str, ...]
) -> None:
    """Everything can be read, and all but one folder be written to."""
    if place == GALLERY:
        assert command(*INDEX)[0] == 0
    remove(trained, Write(place, arguments, removed))
    before = state(trained)
    for folder in (trained, *(path for path in trained.rglob("*") if path.is_dir())):
        folder.chmod(0o755)
        os.chown(folder, 65534, 65534)
    os.chown(place, 0, 0)
    for folder in trained.parents:  # a lock is opened by its whole path
        if folder.is_relative_to(tempfile.gettempdir()):
            folder.chmod(folder.stat().st_mode | 0o011)
    victim = zygote.start(trained, *select_given(arguments), user=65534)
    victim.wait()
    said = victim.text()
    assert victim.status == 2 and "Traceback" not in said, said
    line = said.splitlines()[-1]
    assert line.startswith(f"error: {place}/") and ": Permission denied; check the owner" in line, said
    victim.output.unlink()
    now = state(trained)
    assert not [path for path in now if path.name.startswith(".")]
    assert {path: now.get(path) for path in before} == before, "nothing of before is lost"
