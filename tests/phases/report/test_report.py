"""--phase=report of one run: a complete page in one file, whose numbers are those of the test."""

import base64
import io
import json
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datasets import transforms
from datasets.images import read_image
from models import build_network
from phases.report.measures import choose_queries
from phases.report.record import find_published
from retrieval import hashing
from retrieval.metrics import average_precision
from run.config import make_config
from tests.conftest import SMALL_RUN
from tests.figures import lines
from utils import checkpoints

SECTIONS = [
    "results",
    "training",
    "curves",
    "categories",
    "queries",
    "confusion",
    "map",
    "distances",
    "hash",
    "bit",
    "made",
]
VOID = {"meta", "link", "img", "br"}


class Page(HTMLParser):
    """A parsed page: its tags with attributes and its text. Fails at a tag that does not close."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def images(self) -> list[Image.Image]:
        found: list[Image.Image] = []
        for attributes in self.of("img"):
            kind, _, data = str(attributes["src"]).partition(",")
            assert kind == "data:image/png;base64" and attributes["alt"]
            found.append(Image.open(io.BytesIO(base64.b64decode(data, validate=True))))
            found[-1].load()
        return found


def check_complete(page: Page, sections: list[str]) -> None:
    """All tags are closed, all sections linked, all pictures embedded; nothing is fetched."""
    assert page.open == []
    assert [attributes["id"] for attributes in page.of("section")] == sections
    assert [attributes["href"] for attributes in page.of("a")] == [f"#{name}" for name in sections]
    assert all(min(image.size) > 100 for image in page.images())
    assert len(page.of("figcaption")) == len(page.of("img")) > 5
    assert not page.of("script") and not page.of("iframe")
    for _, attributes in page.tags:
        for name in ("src", "href", "srcset", "data", "action"):
            assert str(attributes.get(name, "#")).startswith(("data:", "#"))
    assert "url(" not in page.source and "@import" not in page.source
    (policy,) = [each["content"] for each in page.of("meta") if "http-equiv" in each]
    assert str(policy).startswith("default-src 'none'")


def read(run: str = "run") -> tuple[Page, dict]:
    folder = Path(f"logs/{run}/report")
    return Page(folder / "index.html"), json.loads((folder / "report.json").read_text())


@pytest.mark.plots
def test_the_page_is_complete_and_agrees_with_the_test(trained: Path, command) -> None:
    status, output, errors = command("report", "--save_path=run", "--hash_bits=4")
    assert status == 0, errors
    assert "page in logs/run/report/index.html" in output and "features loaded from" in output
    page, record = read()
    check_complete(page, SECTIONS)
    drawn = sorted(path.name for path in Path("logs/run/report").glob("*.png"))
    assert len(drawn) == len(page.of("img")) == 16
    assert sorted(path.name for path in Path("logs/run/report").iterdir()) == sorted(
        [*drawn, "index.html", "report.json"]
    )

    (tested,) = json.loads(Path("logs/run/log/result.json").read_text())
    assert record["metrics"] == tested["metrics"] and record["differs_from_result_json"] == {}
    assert record["hash"] == {"4": tested["hash"]["4"]["MAP"]}
    assert record["per_category_MAP"] == tested["per_category_MAP"]
    assert record["lists"] == tested["lists"] and record["versions"] == tested["versions"]
    for each in ("photos", "test sketches", "photos and test sketches"):
        name = {"photos": "photos", "test sketches": "sketches"}.get(each, "all")
        assert record["separation"][each]["share"] == tested["margin_condition"][name]["share"]
    assert f"{tested['metrics']['MAP']:.1f}" in page.text and "equal to log/result.json" in page.text
    for name in ("MAP", "precision_recall", "confusion", "gates"):
        assert record["definitions"][name] in page.text
    expected = " ".join(f"{value:.1f}" for value in record["chance"].values())
    assert f" chance {record['chance']['MAP']:.1f} {expected.partition(' ')[2]} " in page.text, "as a row"
    assert "tiny with DASE modules, 8 features, trained with MEMS, margin 4, on tiny" in page.text
    assert page.text.index("The worst") < page.text.index("The best") and len(page.of("main")) == 1


def test_its_charts_show_its_numbers(trained: Path, command, figures) -> None:
    assert command("report", "--save_path=run", "--hash_bits=4")[0] == 0
    _, record = read()
    (loss,) = figures["training-loss"].axes
    assert lines(loss)["run"] == (record["training"]["step"], record["training"]["loss"])
    assert "chance: ln 3 = 1.10" in lines(loss)
    (by_rank,) = figures["precision-at-k"].axes
    assert lines(by_rank)["run"][1] == record["precision_at"]["precision"]
    assert lines(by_rank)["chance"][1] == pytest.approx([100 / 3] * 2)
    (categories,) = figures["categories"].axes
    assert sorted(lines(categories)["MAP"][0]) == sorted(record["per_category_MAP"].values())
    assert lines(categories)["chance"][0] == [record["chance"]["MAP"]] * 2
    (codes,) = figures["hash"].axes
    assert lines(codes)["hash codes"] == (["4 bits"], [record["hash"]["4"]])
    (gates,) = figures["gates"].axes
    modules = record["domain_bit"]["modules"]
    assert lines(gates)["photos, module alone"][1] == [each["photos"]["alone"] for each in modules]
    confusion = figures["confusion"].axes[0].images[0].get_array()
    assert np.asarray(confusion).tolist() == record["confusion"]["share"]
    assert np.std(record["AP"], ddof=1) / np.sqrt(6) * 1.96 == pytest.approx(record["MAP_interval"])


def test_its_numbers_follow_from_the_features(trained: Path, command) -> None:
    assert command("report", "--save_path=run", "--hash_bits=4")[0] == 0
    _, record = read()
    sketches, photos = (np.load(f"logs/run/vec/{side}-4.npy").astype(float) for side in ("sketch", "photo"))
    squares = ((sketches[:, None, :, None] - photos[None, :, None]) ** 2).sum(-1).min((0, 1))  # (6, 9)
    lists = (json.loads(Path(f"anno/tiny_{side}.json").read_text())["test"] for side in ("sketch", "photo"))
    labels, photo_labels = (np.array([label for _, label in entries]) for entries in lists)
    hits = photo_labels[np.argsort(squares, axis=1)] == labels[:, None]
    by_rank = 100 * np.cumsum(hits, axis=1) / np.arange(1, 10)
    assert record["precision_at"]["precision"] == pytest.approx(by_rank.mean(0).tolist())
    assert record["precision_recall"]["precision"][-1] == pytest.approx(
        100 * np.mean([3 / (1 + np.flatnonzero(row)[-1]) for row in hits])
    )
    assert record["precision_recall"]["chance"] == pytest.approx(100 / 3)
    assert [sum(row) for row in record["confusion"]["share"]] == pytest.approx([100] * 3)
    same = labels[:, None] == photo_labels
    assert record["distances"]["median"]["same category"] == pytest.approx(
        np.median(np.sqrt(squares[same])), rel=1e-4
    )
    assert sum(record["distances"]["share"]["other category"]) == pytest.approx(100)
    aps = [np.mean([(1 + n) / (1 + rank) for n, rank in enumerate(np.flatnonzero(row))]) for row in hits]
    assert record["queries"]["worst"][0]["AP"] == pytest.approx(100 * min(aps))
    assert record["queries"]["best"][0]["AP"] == pytest.approx(100 * max(aps))
    assert {point["domain"] for point in record["map"]["points"]} == {"photo", "sketch"}
    assert len(record["map"]["points"]) == 15
    assert record["domain_bit"]["MAP"]["right bit"] == pytest.approx(record["metrics"]["MAP"])
    assert len(record["domain_bit"]["modules"]) == 2


@pytest.mark.parametrize("options", [["--mirror=off"], ["--test_distance=angular"]])
def test_it_measures_what_a_test_with_these_options_does(trained: Path, command, options) -> None:
    options = ["--save_path=run", "--hash_bits=4", "--pretrained_model=2", *options]
    assert command("report", *options)[0] == 0
    page, record = read()
    assert "no record of this test" in page.text and record["differs_from_result_json"] is None
    assert command("test", *options)[0] == 0
    tested = json.loads(Path("logs/run/log/result.json").read_text())
    (own,) = [each for each in tested if each["step"] == 2 and each["distance"] == record["distance"]]
    assert record["step"] == 2 and record["metrics"] == own["metrics"]
    assert record["hash"]["4"] == own["hash"]["4"]["MAP"]


def test_warns_of_metrics_that_differ_from_the_test(trained: Path, command) -> None:
    path = Path("logs/run/log/result.json")
    (record,) = json.loads(path.read_text())
    record["metrics"]["MAP"] += 0.5
    path.write_text(json.dumps([record]))
    assert command("report", "--save_path=run", "--hash_bits=4")[0] == 0
    page, record = read()
    assert list(record["differs_from_result_json"]) == ["MAP"]
    assert f"run: MAP is {record['metrics']['MAP']:.4f} here" in page.text
    assert "equal to log/result.json" not in page.text


def test_missing_parts_are_named_and_the_rest_is_shown(trained: Path, command, monkeypatch) -> None:
    """Without scikit-learn, training log, hash codes and margin condition."""
    assert command("report", "--save_path=run", "--hash_bits=4")[0] == 0
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    Path("logs/run/log/scalars.csv").unlink()
    status, output, _ = command("report", "--save_path=run", "--hash_bits", "--margin_condition=off")
    assert status == 0 and "warning: no map of the features" in output
    page, _ = read()
    check_complete(page, SECTIONS)
    assert "which is not installed: pip install -r requirements/report.txt" in page.text
    assert "no log/scalars.csv" in page.text and "There are no hash codes" in page.text
    drawn = {path.stem for path in Path("logs/run/report").glob("*.png")}
    assert not drawn & {"map", "hash", "margin-condition", "training-loss"}, "earlier ones are gone"
    assert {"confusion", "gates", "precision-recall"} <= drawn


HOSTILE = ('"><img src=x onerror=alert(1)>', "<script>alert(1)", "$x_{$ & 'co'")


def test_names_of_categories_stay_names(tree: Path, command, monkeypatch) -> None:
    monkeypatch.setattr(hashing, "FIT_STEPS", 10)
    for old, new in zip(("bear (animal)", "cat", "hot-dog"), HOSTILE, strict=True):
        for domain in ("sketches", "photos"):
            (tree / domain / old).rename(tree / domain / new)
    assert command("prepare", "--test_per_category=2")[0] == 0
    plain = ["--attention=none", "--loss_type=softmax", "--save_path=a<b>&c"]
    small = [each for each in SMALL_RUN if not each.startswith(("--annealing", "--save_path"))]
    status, _, errors = command("train", *small, *plain)
    assert status == 0, errors
    assert command("report", "--save_path=a<b>&c", "--hash_bits=4")[0] == 0
    page, record = read("a<b>&c")
    check_complete(page, SECTIONS)
    assert set(record["per_category_MAP"]) == set(HOSTILE)
    assert all(name in page.text for name in ("Report of a<b>&c", *HOSTILE))
    assert "Without domain-aware modules (--attention=dase)" in page.text
    assert "tiny with no attention" in page.text and "trained with softmax, on tiny" in page.text
    assert record["domain_bit"] is None and not Path("logs/a<b>&c/report/gates.png").exists()


def test_a_table_is_written_even_for_the_folder_of_a_run(trained: Path, command) -> None:
    status, _, errors = command("report", "--save_path=run", "--table=mirror", *SMALL_RUN[:-1])
    assert status == 0, errors
    assert Path("logs/run/tables/mirror.md").is_file() and not Path("logs/run/report").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--save_path=run", "--pretrained_model=3"], "no checkpoint for step 3"),
        (["--save_path=run", "--margin=9"], "was made with --margin=4.0, not 9.0"),
        (["--save_path=run", "--seeds=2"], "--seeds is for tables of experiments"),
        (["--save_path=nowhere"], "logs/nowhere; runs in logs: run; check --save_path"),
    ],
)
def test_mistakes_are_one_line(trained: Path, command, arguments: list[str], message: str) -> None:
    status, _, errors = command("report", *arguments)
    assert status == 2 and message in errors and len(errors.strip().splitlines()) == 1
    assert not Path("logs/run/report").exists() and not Path("logs/nowhere").exists()


def test_a_run_without_its_checkpoint_is_refused(trained: Path, command) -> None:
    for path in Path("logs/run/model").iterdir():
        path.unlink()
    status, _, errors = command("report", "--save_path=run")
    assert status == 2 and f"no checkpoint in {Path.cwd()}/logs/run/model; there are no runs in" in errors


def test_the_queries_shown_are_extreme_and_of_many_categories() -> None:
    ap = np.array([0.1, 0.2, 0.3, np.nan, 0.9, 0.8, 0.7, 0.6])
    labels = np.array([0, 0, 1, 1, 0, 0, 2, 1])
    assert choose_queries(ap, labels, best=False) == [0, 2, 6], "three of seven, one of each category"
    assert choose_queries(ap, labels, best=True) == [4, 6, 7]
    assert choose_queries(ap[:3], np.zeros(3), best=False) == [0]
    many = np.linspace(0, 1, 100)
    assert choose_queries(many, np.arange(100) // 50, best=False) == [0, 1, 2, 3, 4, 5, 6, 50]


def test_published_numbers_are_shown_only_where_they_compare() -> None:
    config = make_config(dataset="sketchy")
    rows = find_published(config, 125, zero_shot=False)["rows"]
    assert not any("Lu et al." in each["method"] for each in rows), "the paper's own numbers are not known"
    by_method = {each["method"]: each for each in rows}
    assert by_method["Triplet-AlexNet"]["MAP"] == 57.3
    assert by_method["GDH"]["64"] is None and by_method["GDH"]["128"] == 78.4
    assert "zero-shot" in find_published(config, 125, zero_shot=True)["missing"]
    assert "these lists have 25" in find_published(config, 25, zero_shot=False)["missing"]
    config = make_config(dataset="demo")
    assert "data set demo" in find_published(config, 12, zero_shot=False)["missing"]


def test_the_wrong_bit_is_that_of_photos(trained: Path, command) -> None:
    """With a much larger weight of the bit than trained, so that it changes the MAP."""
    path = Path("logs/run/model/checkpoint-4.pt")
    state = checkpoints.load(path)
    generator = torch.Generator().manual_seed(0)
    for name, value in state["network"].items():
        if name.endswith("fc2.weight"):
            value[:, -1] = 9 * torch.randn(value[:, -1].shape, generator=generator)
    checkpoints.save(path, state)
    assert command("report", "--save_path=run", "--hash_bits")[0] == 0
    found = read()[1]["domain_bit"]

    network = build_network("tiny", attention="dase", f_dim=8).eval()
    network.load_state_dict(state["network"])
    entries = json.loads(Path("anno/tiny_sketch.json").read_text())["test"]
    transform = transforms.sketch_test(64)
    images = torch.stack(
        [transform(read_image(trained / "datasets/data/tiny" / name, "L")) for name, _ in entries]
    )
    photos = np.load("logs/run/vec/photo-4.npy").astype(float)
    photo_labels = np.array(
        [label for _, label in json.loads(Path("anno/tiny_photo.json").read_text())["test"]]
    )
    for bit, name in ((0.0, "right bit"), (1.0, "wrong bit")):
        with torch.inference_mode():
            views = [
                network(each, torch.full((6,), bit)).double().numpy() for each in (images, images.flip(-1))
            ]
        squares = ((np.stack(views)[:, None, :, None] - photos[None, :, None]) ** 2).sum(-1).min((0, 1))
        expected = [
            average_precision(row, photo_labels == label)
            for row, (_, label) in zip(squares, entries, strict=True)
        ]
        assert found["MAP"][name] == pytest.approx(100 * np.mean(expected), abs=1e-6)
    assert found["MAP"]["right bit"] != found["MAP"]["wrong bit"]
    first = found["modules"][0]
    assert first["sketches"]["network"] == pytest.approx(first["sketches"]["alone"], rel=1e-3) and (
        first["sketches"]["alone"] > 0.3
    )
