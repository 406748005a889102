"""Search from Python."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

import main
from phases.search.searcher import Hit, open_searcher
from tests.phases.search.test_gallery import COMMON
from tests.victims import Zygote
from utils.errors import UserError

PROJECT = Path(main.__file__).parent
CAT = Path("datasets/data/tiny/sketches/cat")


def test_files_names_and_pictures_are_queries(trained: Path) -> None:
    searcher = open_searcher("run", **COMMON)
    by_path = searcher.search(CAT / "0.png", top=3)
    assert by_path == searcher.search(str(CAT / "0.png"), top=3)
    with Image.open(CAT / "0.png") as picture:
        assert by_path == searcher.search(picture, top=3)
    assert [hit.rank for hit in by_path] == [1, 2, 3] and all(isinstance(hit, Hit) for hit in by_path)
    assert all(hit.file.is_file() and hit.file.parent.name == hit.category for hit in by_path)
    assert searcher.unit() == "squared Euclidean distance"
    assert searcher.unit("binary") == "bits that differ, of 128"


def test_flips_count_or_not(trained: Path) -> None:
    both, one = (open_searcher("run", mirror=mirror, **COMMON) for mirror in ("on", "off"))
    assert both.gallery.values.shape[2] == 2 and one.gallery.values.shape[2] == 1
    near, far = (searcher.search(CAT / "0.png", top=1)[0].distance for searcher in (both, one))
    assert near <= far


def test_options_are_checked_as_on_the_command_line(trained: Path) -> None:
    searcher = open_searcher("run", top=3, mirror=False, hash_bits=[8, 16], **COMMON)
    assert searcher.gallery.values.shape[2] == 1 and searcher.config.test.hash_bits == (8, 16)
    assert len(searcher.search(CAT / "0.png")) == 3
    assert open_searcher("run", mirror=True, hash_bits=8, **COMMON).gallery.values.shape[2] == 2
    for options, message in (
        ({"test_distance": "cosine"}, "'cosine' is not one of euclidean, angular"),
        ({"mirror": "perhaps"}, "'perhaps' is not one of on, off"),
        ({"top": 0}, "0 is less than 1"),
        ({"table": ["attention"]}, "--table has no meaning"),
    ):
        with pytest.raises(UserError, match=message):
            open_searcher("run", **COMMON, **options)
    with pytest.raises(UserError, match="top=0 photos cannot be shown"):
        searcher.search(CAT / "0.png", top=0)


def test_a_transparent_picture_is_laid_on_paper_also_if_it_is_not_cleaned(trained: Path) -> None:
    ink = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    ink.paste((0, 0, 0, 255), (20, 20, 44, 24))
    ink.save("ink.png")
    searcher = open_searcher("run", clean_query=False, **COMMON)
    assert searcher.search(ink) == searcher.search("ink.png")


def test_several_threads_find_the_same(trained: Path) -> None:
    searcher = open_searcher("run", hash_bits=[8], **COMMON)
    queries = [(path, index) for path in sorted(CAT.iterdir()) for index in ("flat", "binary")] * 3
    expected = [searcher.search(path, 5, index=index) for path, index in queries]
    fresh = open_searcher("run", hash_bits=[8], **COMMON)
    with ThreadPoolExecutor(4) as pool:
        hits = list(pool.map(lambda query: fresh.search(query[0], 5, index=query[1]), queries))
    assert hits == expected


def test_mistakes_are_user_errors(trained: Path) -> None:
    with pytest.raises(UserError, match="there is no option colour"):
        open_searcher("run", colour="red")
    with pytest.raises(UserError, match=r"there is no run .*/logs/nothing; runs in logs: run;"):
        open_searcher("nothing")
    with pytest.raises(UserError, match="no index tree; there are flat, hnsw"):
        open_searcher("run", **COMMON).search(CAT / "0.png", index="tree")


@pytest.mark.parametrize("page", ["README.md", "phases/search/__init__.py"])
def test_the_documented_lines_run(trained: Path, zygote: Zygote, page: str) -> None:
    text = (PROJECT / page).read_text()
    start = text.index("    from phases.search import open_searcher")
    lines = re.match(r"(?:    .*\n|\n)+", text[start:])[0].replace("\n    ", "\n").strip()
    assert len(lines.splitlines()) <= 12
    lines = lines.replace('"demo"', '"run", anno_path=Path("anno"), num_workers=0')
    Path("drawing.png").write_bytes((CAT / "0.png").read_bytes())
    done = zygote.run(trained, program=f"from pathlib import Path\n{lines}")
    assert done.status == 0, done.text()
    assert [line.split()[0] for line in done.text().splitlines()[-5:]] == ["1", "2", "3", "4", "5"]
