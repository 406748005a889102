"""What must hold for every input: figures, rankings and losses against `naive`, and what is read is what was
written."""

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from datasets.annotations import load_annotation, read_list
from losses import LOSSES, loss_class, loss_facts
from retrieval import metrics
from retrieval.binary import BinaryIndex
from retrieval.hashing import CodeMap
from retrieval.ranking import Ranking, rank_positives
from retrieval.search import code_rankings, feature_rankings, pack_bits
from tests.reliability import naive
from tests.reliability.equal import equal
from utils import checkpoints
from utils.errors import UserError

LISTS = Path("datasets/data/set")


def examples(many: int) -> pytest.MarkDecorator:
    """The number of examples: a few seconds' worth, and `many` in the long version."""
    return pytest.mark.parametrize("count", [25, pytest.param(many, marks=pytest.mark.long)])


def hold(count: int, check: Callable[..., None], *strategies: st.SearchStrategy) -> None:
    """Call `check` with `count` examples of `strategies`; the same ones every time."""
    settings(max_examples=count)(given(*strategies)(check))()


# --- lists ----------------------------------------------------------------------------------------------

folders = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\\\0"), min_size=1).filter(
    lambda part: part not in (".", "..")
)
labels = st.integers(0, 2**70)
entries = st.lists(st.tuples(st.lists(folders, min_size=2, max_size=4).map("/".join), labels), max_size=5)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
wrong_names = st.sampled_from(["", ".", "/", "x.png", "/a/b.png", "../b.png", "a/../b.png", "a\\b/c", "a/\0"])
wrong_labels = st.integers(max_value=-1) | st.floats() | st.booleans() | st.none() | st.text()
wrong_entries = st.one_of(
    st.tuples(wrong_names, labels),
    st.tuples(st.just("sketches/cat/1.png"), wrong_labels),
    st.tuples(labels, st.just("sketches/cat/1.png")),
    json_values.filter(lambda value: not isinstance(value, list) or len(value) != 2),
)


@examples(3000)
def test_a_valid_list_is_read_as_it_was_written(tmp_path: Path, count: int, ledger) -> None:
    path = tmp_path / "set_sketch.json"

    def check(train: list, test: list) -> None:
        path.write_text(json.dumps({"train": train, "test": test}), encoding="utf-8")
        assert read_list(path) == {"train": train, "test": test}

    hold(count, check, entries, entries)
    ledger(8, "annotation lists written and read", times=count, outcome="all as they were written")


@examples(3000)
def test_a_list_with_a_wrong_entry_is_refused_by_name(tmp_path: Path, count: int, ledger) -> None:
    path = tmp_path / "set_photo.json"

    def check(parts: dict[str, list], part: str, wrong: Any, place: int) -> None:
        parts[part].insert(place, wrong)
        path.write_text(json.dumps(parts), encoding="utf-8")
        with pytest.raises(UserError, match=r"set_photo\.json"):
            read_list(path)

    parts = st.fixed_dictionaries({"train": entries, "test": entries})
    hold(count, check, parts, st.sampled_from(["train", "test"]), wrong_entries, st.integers(0, 5))
    ledger(8, "annotation lists with one wrong entry", times=count, outcome="all refused in one line")


@examples(2000)
def test_any_json_is_a_list_or_refused(tmp_path: Path, count: int, ledger) -> None:
    path = tmp_path / "set_photo.json"
    half = st.dictionaries(st.sampled_from(["train", "test", "more"]), json_values)

    def check(value: Any) -> None:
        path.write_text(json.dumps(value), encoding="utf-8")
        try:
            assert set(read_list(path)) == {"train", "test"}
        except UserError as error:
            assert "set_photo.json" in str(error) and "\n" not in str(error)

    hold(count, check, json_values | half)
    ledger(
        8, "JSON of any content as an annotation list", times=count, outcome="read, or refused in one line"
    )


@examples(500)
def test_label_ids_mean_nothing_but_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, ledger
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "c"):
        for kind in ("sketches", "photos"):
            (LISTS / kind / name).mkdir(parents=True)
            for number in (1, 2):
                (LISTS / kind / name / f"{number}.png").touch()

    def loaded(ids: list[int]) -> Any:
        def of(kind: str, *numbers: int) -> list:
            return [
                [f"{kind}/{name}/{number}.png", label]
                for name, label in zip("abc", ids, strict=True)
                for number in numbers
            ]

        lists = {
            "sketch": {"train": of("sketches", 1), "test": of("sketches", 2)},
            "photo": {"train": of("photos", 1, 2), "test": of("photos", 1, 2)},
        }
        for domain, content in lists.items():
            Path(f"set_{domain}.json").write_text(json.dumps(content))
        return load_annotation(LISTS.parent, Path(), LISTS.name)

    plain = loaded([0, 1, 2])

    def check(ids: list[int]) -> None:
        found = loaded(sorted(ids))
        assert found == plain and found.digest() == plain.digest()
        found = loaded(ids)
        in_order = [
            PurePosixPath(name).parts[-2] for name, _ in sorted(found.test_sketches, key=lambda e: e[1])
        ]
        assert found.categories == in_order == [name for _, name in sorted(zip(ids, "abc", strict=True))]

    hold(count, check, st.lists(labels, min_size=3, max_size=3, unique=True))
    ledger(8, "label ids replaced by others", times=count, outcome="the same data set, by its digest")


# --- figures and rankings -------------------------------------------------------------------------------

galleries = st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=6)


@examples(1500)
def test_figures_are_means_over_all_orders_of_ties(count: int, ledger) -> None:
    def check(gallery: list[tuple[int, bool]], k: int) -> None:
        distances, positive = map(list, zip(*gallery, strict=True))
        ranking = rank_positives(np.array(distances, float), np.array(positive))
        total = sum(positive)
        whole, _ = naive.expected(distances, positive, len(gallery))
        summed, hits = naive.expected(distances, positive, k)
        found = metrics.average_precision(np.array(distances, float), np.array(positive))
        assert math.isnan(found) if not total else found == pytest.approx(float(whole / total), abs=1e-12)
        assert metrics.precision_at(ranking, k) == pytest.approx(float(hits / k), abs=1e-12)
        if total:
            wanted = {"min": min(k, total), "hits": hits or 1, "positives": total, "k": k}
            wanted = {name: float(summed / divisor) for name, divisor in wanted.items()}
            assert metrics.average_precisions_at(ranking, k) == pytest.approx(wanted, abs=1e-12)

    hold(count, check, galleries, st.integers(1, 8))
    ledger(8, "AP, P@K and mAP@K with ties", times=count, outcome="equal to the mean over all orders")


def as_groups(ranking: Ranking) -> list[tuple[int, ...]]:
    columns = (ranking.before, ranking.size, ranking.hits_before, ranking.hits)
    return [tuple(map(int, row)) for row in zip(*columns, strict=True)]


@st.composite
def labelled(draw: st.DrawFn, shape: tuple[int, ...], values: st.SearchStrategy, dtype: type) -> Any:
    """Queries and photos of one shape, with labels."""
    counts = draw(st.integers(1, 4)), draw(st.sampled_from([1, 2, 4, 8, 16]))
    features = [draw(arrays(dtype, (number, *shape), elements=values)) for number in counts]
    marks = [draw(arrays(np.int64, number, elements=st.integers(0, 2))) for number in counts]
    return *features, *marks


@examples(2000)
def test_hamming_rankings_are_those_of_counting_bits(count: int, ledger) -> None:
    def check(given_: Any, top: int) -> None:
        query, gallery, query_labels, gallery_labels = given_
        length = query.shape[1]
        ones = np.eye(length, dtype=np.float32)
        code_map = CodeMap(ones, np.zeros(length, np.float32), ones[0], ones[0])
        index = BinaryIndex(pack_bits(gallery), code_map, angular=False)
        rankings = code_rankings(query, gallery, query_labels, gallery_labels)
        for code, label, ranking in zip(query, query_labels, rankings, strict=True):
            distances = np.array([sum(a != b for a, b in zip(code, photo, strict=True)) for photo in gallery])
            assert as_groups(ranking) == naive.groups(distances, gallery_labels == label)
            nearest = sorted(range(len(gallery)), key=lambda i: (distances[i], i))[:top]
            found, far = index.search(np.repeat(2.0 * code[:, None] - 1, 2, axis=1), top)
            assert found.tolist() == nearest and far.tolist() == [distances[i] for i in nearest]

    codes = st.sampled_from([1, 4, 63, 64, 65, 130]).flatmap(
        lambda length: labelled((length,), st.integers(0, 1), np.uint8)
    )
    hold(count, check, codes, st.integers(1, 15))
    ledger(8, "rankings and searches by Hamming distance", times=count, outcome="equal to counting bits")


@examples(2000)
def test_feature_rankings_are_those_of_all_pairs(count: int, ledger) -> None:
    def check(given_: Any) -> None:
        query, gallery, query_labels, gallery_labels = given_
        rankings = feature_rankings(query, gallery, query_labels, gallery_labels, "euclidean", memory=1 << 20)
        for sketch, label, ranking in zip(query, query_labels, rankings, strict=True):
            distances = np.array([naive.squared_distance(sketch, photo) for photo in gallery])
            assert as_groups(ranking) == naive.groups(distances, gallery_labels == label)

    # whole numbers, by two to some power of photos: their mean, which is subtracted first, is exact, and so
    # are distances; else the last bit of float64 may order different photos at one distance
    whole = st.integers(-4, 4).map(np.float32)
    hold(count, check, labelled((2, 2), whole, np.float32))
    ledger(
        8, "rankings by features, with ties", times=count, outcome="equal to those of all pairs in float64"
    )


# --- losses ---------------------------------------------------------------------------------------------

NEUTRAL = {"mems": 1.0, "cosface": 0.0, "a-softmax": 1.0, "softmax": None}
MARGINS = {
    "mems": st.floats(1, 5),
    "cosface": st.floats(0, 1),
    "a-softmax": st.floats(1, 5),
    "softmax": st.none(),
}
numbers = st.floats(-8, 8, width=32).filter(lambda value: value == 0 or abs(value) > 2**-10)


@st.composite
def batches(draw: st.DrawFn) -> naive.Batch:
    """Features (B, D), centres (C, D), neither with a row of zeros, and labels (B,)."""
    size, classes, dim = draw(st.integers(1, 5)), draw(st.integers(1, 5)), draw(st.integers(1, 4))
    features, centers = (draw(arrays(np.float32, (rows, dim), elements=numbers)) for rows in (size, classes))
    for rows in (features, centers):
        rows[~rows.any(1)] = 1
    return features, centers, draw(arrays(np.int64, size, elements=st.integers(0, classes - 1)))


def losses_of(name: str, batch: naive.Batch, margin: float | None, alpha: float = 1.0) -> np.ndarray:
    """The loss of every image, (B,), when the share `alpha` of the margin applies."""
    features, centers, targets = (torch.tensor(each) for each in batch)
    criterion = loss_class(name)(*centers.shape, margin=margin, annealing_step=1000)
    criterion.centers.data = centers
    criterion.step.fill_(round(1000 * alpha))
    return criterion(features, targets, reduction="none").detach().double().numpy()


def tolerance(name: str, batch: naive.Batch, margin: float | None) -> float:
    """What float32 may change: a share of the largest logit, by m^2 where a margin widens an angle.

    It knows a cosine to 2e-7: the nearer that is to 1 or -1, the less is known of the angle.
    """
    scale = loss_facts(name).default_scale or 1.0
    largest = np.abs(naive.logits(name, batch, 1.0 if margin is None else margin, scale)).max()
    allowed = 1e-5 * max(1.0, float(largest)) * max(1.0, (margin or 1.0) ** 2)
    if name == "a-softmax" and margin:
        units = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (batch[0], batch[1])]
        sine = np.sqrt(1 - ((units[0] * units[1][batch[2]]).sum(1) ** 2).clip(max=1)).min()
        allowed += margin * 2e-7 / max(float(sine), 3e-4) * float(np.linalg.norm(batch[0], axis=1).max())
    return allowed


@pytest.mark.parametrize("name", sorted(LOSSES))
@examples(1500)
def test_losses_are_those_of_their_formulas(name: str, count: int, ledger) -> None:
    def check(batch: naive.Batch, margin: float | None, alpha: float) -> None:
        scale = loss_facts(name).default_scale or 1.0
        if name == "a-softmax":  # it mixes logits, not margins
            plain, full = (naive.logits(name, batch, each, scale) for each in (1.0, margin or 1.0))
            wanted = (1 - alpha) * plain + alpha * full
        else:
            neutral = NEUTRAL[name] or 0.0
            wanted = naive.logits(name, batch, neutral + ((margin or 0.0) - neutral) * alpha, scale)
        found = losses_of(name, batch, margin, alpha)
        expected = naive.cross_entropy(wanted, batch[2])
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance(name, batch, margin))

    hold(count, check, batches(), MARGINS[name], st.integers(0, 1000).map(lambda step: step / 1000))
    ledger(8, f"{name} against its formula in float64", times=count, outcome="equal within float32")


@pytest.mark.parametrize("name", sorted(LOSSES))
@examples(1500)
def test_losses_know_no_order_and_a_neutral_margin_is_none(name: str, count: int, ledger) -> None:
    def check(batch: naive.Batch, margin: float | None, random: Any) -> None:
        features, centers, targets = batch
        check_near = partial(np.testing.assert_allclose, rtol=0, atol=tolerance(name, batch, margin))
        losses = losses_of(name, batch, margin)
        order = random.sample(range(len(features)), len(features))
        check_near(losses_of(name, (features[order], centers, targets[order]), margin), losses[order])
        classes = np.array(random.sample(range(len(centers)), len(centers)))  # new number -> old one
        renamed = np.argsort(classes)[targets]
        check_near(losses_of(name, (features, centers[classes], renamed), margin), losses)
        none = losses_of(name, batch, margin, alpha=0.0)  # before annealing begins
        check_near(losses_of(name, batch, NEUTRAL[name]), none)

    hold(count, check, batches(), MARGINS[name], st.randoms(use_true_random=False))
    outcome = "the same in every order; a neutral margin is none"
    ledger(8, f"{name} of classes and batches in another order", times=count, outcome=outcome)


# --- checkpoints ----------------------------------------------------------------------------------------

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.uint8, torch.int8]
DTYPES += [torch.int16, torch.int32, torch.int64, torch.bool, torch.complex64]


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    """Of any bits, NaN among them, of no element to some, and also with gaps between rows."""
    dtype, shape = draw(st.sampled_from(DTYPES)), draw(st.lists(st.integers(0, 3), max_size=3))
    size = math.prod(shape) * dtype.itemsize
    content = draw(st.binary(min_size=size, max_size=size))
    if dtype is torch.bool:
        content = bytes(each % 2 for each in content)
    flat = torch.frombuffer(bytearray(content), dtype=dtype) if size else torch.empty(0, dtype=dtype)
    tensor = flat.reshape(shape)
    return tensor.transpose(0, -1) if tensor.dim() > 1 and draw(st.booleans()) else tensor


plain_values = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text()
states = st.dictionaries(
    st.text() | st.integers(0, 99),
    st.recursive(
        tensors() | plain_values,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.integers(0, 99), inner),
        max_leaves=8,
    ),
    max_size=4,
)


@examples(2000)
def test_a_checkpoint_is_read_as_it_was_written(tmp_path: Path, count: int, ledger) -> None:
    path = tmp_path / "checkpoint-1.pt"

    def check(state: dict) -> None:
        checkpoints.save(path, state)
        assert equal(checkpoints.load(path), state)

    hold(count, check, states)
    ledger(8, "checkpoints of any content written and read", times=count, outcome="equal bit for bit")
