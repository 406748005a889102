"""Writes the results of a test: text as the published program prints it, and JSON with all settings."""

import logging
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from datasets.annotations import Annotation
from retrieval.metrics import DEFINITIONS, DENOMINATORS, Evaluation
from run.checkpoint import TestableCheckpoint
from run.config import Config
from run.provenance import provenance
from utils.errors import UserError
from utils.files import atomic_write, read_json, write_json

log = logging.getLogger(__name__)

HASH_DEFINITION = (
    "MAP as above, by Hamming distance between codes; their linear map is fitted on the class centres alone. "
    "Mean over fits with several seeds; std: the sample standard deviation over them"
)
GALLERY = "all photos of the data set, training photos among them"
ZERO_SHOT_GALLERY = "all photos of the unseen categories, of which none was trained on"
REQUIRED_COUNTS = ("queries", "queries_without_positives", "gallery", "categories", "trained_categories")
NEAR_CHANCE = 0.25  # of chance: untrained networks are up to a tenth of it above
# what every record has, beside others
REQUIRED_ENTRIES = {
    "step": int,
    "distance": str,
    "mirror": str,
    "lists": str,
    "seed": int,
    "metrics": dict,
    "chance": dict,
    "hash": dict,
    "hash_gradient": str,
    "definitions": dict,
    "counts": dict,
    "per_category_MAP": dict,
    "options": dict,
    "training_options": dict,
    "training_machine": dict,
}


@dataclass(frozen=True)
class HashFit:
    """The result of one fit of hash codes: MAP in percent, and the final loss of the fit."""

    seed: int
    MAP: float
    fit_loss: float


def summarize_fits(fits: list[HashFit]) -> dict[str, Any]:
    """The fits of one length of codes: mean and sample standard deviation of MAP, and each fit."""
    values = [fit.MAP for fit in fits]
    return {
        "MAP": statistics.fmean(values),
        "std": statistics.stdev(values) if len(values) > 1 else 0.0,
        "fit_loss": statistics.fmean(fit.fit_loss for fit in fits),
        "fits": [asdict(fit) for fit in fits],
    }


def write_result(
    folder: Path,
    config: Config,
    model: TestableCheckpoint,
    evaluation: Evaluation,
    hash_fits: dict[int, list[HashFit]],
    condition: dict[str, Any] | None,
) -> None:
    """Append to `folder`/result.txt in the published format, and store the record in `folder`/result.json.

    The JSON holds one record per step, distance and use of mirror images; testing again replaces it.
    """
    codes = {bits: summarize_fits(fits) for bits, fits in hash_fits.items()}
    lines = {
        f"test {name}: {value:.3f}": evaluation.chance[name] for name, value in evaluation.metrics.items()
    }
    for bits, summary in codes.items():
        lines[f"code length: {bits} | hash MAP: {summary['MAP']:.3f}"] = evaluation.chance["MAP"]
    lines = {f"step: {model.step} | {line}": chance for line, chance in lines.items()}
    append_lines(folder / "result.txt", list(lines))
    for line, chance in lines.items():
        log.info("%s (chance %.3f)", line, chance)
    report_conditions(config, evaluation, codes)
    record = make_record(config, model, evaluation, codes)
    if condition is not None:
        record["margin_condition"] = condition
    path = folder / "result.json"
    others = [other for other in read_records(path) if get_record_key(other) != get_record_key(record)]
    write_json(path, sorted([*others, record], key=get_record_key))


def report_conditions(config: Config, evaluation: Evaluation, codes: dict[int, dict[str, Any]]) -> None:
    """Log how the metrics were computed, and a warning where they are near chance or leave queries out."""
    log.info(
        "(in percent; MAP over the whole ranking, mAP@200 divided by min(200, positives); ties averaged; "
        "chance: photos in random order; %d queries, %d photos)",
        evaluation.queries,
        evaluation.gallery,
    )
    for bits, summary in codes.items():
        log.info(
            "(%d bits: mean of fits with the seeds from %d on, %s; standard deviation %.3f; gradient %s)",
            bits,
            config.seed,
            ", ".join(f"{fit['MAP']:.3f}" for fit in summary["fits"]),
            summary["std"],
            config.test.hash_gradient,
        )
    values = {"MAP": evaluation.metrics["MAP"]}
    values |= {f"hash MAP, {bits} bits": summary["MAP"] for bits, summary in codes.items()}
    warn_about_chance(values, evaluation.chance["MAP"])
    if evaluation.without_positives:
        log.warning(
            "warning: %d test sketches have no photo of their category: left out",
            evaluation.without_positives,
        )


def make_record(
    config: Config, model: TestableCheckpoint, evaluation: Evaluation, codes: dict[int, dict[str, Any]]
) -> dict[str, Any]:
    """The record of a test in result.json; the metrics are in percent."""
    data = model.data
    return {
        "step": model.step,
        "distance": config.test.test_distance,
        "mirror": config.test.mirror,
        "metrics": evaluation.metrics,
        "chance": evaluation.chance,
        "hash": {str(bits): summary for bits, summary in codes.items()},
        "hash_gradient": config.test.hash_gradient,
        "definitions": {
            **DEFINITIONS,
            **{name: text for name, text in DENOMINATORS.items() if name in evaluation.metrics},
            "hash MAP": HASH_DEFINITION,
            "gallery": ZERO_SHOT_GALLERY if data.zero_shot else GALLERY,
        },
        "counts": build_counts(evaluation, data),
        "per_category_MAP": {
            data.categories[label]: value for label, value in evaluation.per_category.items()
        },
        "checkpoint": str(model.path),
        "training_options": model.options,
        "training_machine": model.machine,
        "lists": data.digest(),
        "left_out": list(data.excluded),
        **provenance(config),
    }


def append_lines(path: Path, lines: list[str]) -> None:
    """Append `lines` to a text file atomically. Completes an unfinished last line first."""
    before = path.read_bytes() if path.is_file() else b""
    if before and not before.endswith(b"\n"):
        before += b"\n"
    with atomic_write(path) as temporary:
        temporary.write_bytes(before + "".join(f"{line}\n" for line in lines).encode())


def compare_with_chance(value: float, chance: float) -> str | None:
    """A verdict on a percentage that photos in random order or an untrained network reach as well.

    None if it exceeds `chance` by a quarter of it, or by a quarter of the distance from chance to 100.
    """
    if value <= chance:
        return "not above chance"
    if value - chance < NEAR_CHANCE * min(chance, 100 - chance):
        return "hardly above chance"
    return None


def warn_about_chance(values: dict[str, float], chance: float) -> None:
    """Log a warning for each of `values`, percentages by name, that is not clearly above `chance`."""
    for name, value in values.items():
        verdict = compare_with_chance(value, chance)
        if verdict:
            log.warning(
                "warning: %s %.3f is %s (%.3f, photos in random order): an untrained network does as well",
                name,
                value,
                verdict,
                chance,
            )


def build_counts(evaluation: Evaluation, data: Annotation) -> dict[str, int]:
    """The counts that the metrics of a test were computed from."""
    return {
        "queries": evaluation.queries,
        "queries_without_positives": evaluation.without_positives,
        "gallery": evaluation.gallery,
        "categories": len(data.categories),
        "trained_categories": data.num_train_classes,
    }


def get_record_key(record: dict[str, Any]) -> tuple[int, str, str]:
    """The key that identifies a record of a run: step, distance and use of mirror images."""
    return record["step"], record["distance"], record["mirror"]


def read_records(path: Path) -> list[dict[str, Any]]:
    """The records of a result.json; empty without a file. Raises UserError if the file is invalid."""
    if not path.is_file():
        return []
    try:
        records = read_json(path)
        if not isinstance(records, list) or not all(map(is_record, records)):
            raise ValueError("it does not hold the records of tests")
    except ValueError as error:
        raise UserError(f"cannot read {path}: {error}; remove it; the next test writes a new one") from error
    return records


def is_record(value: object) -> bool:
    """Whether `value` has the entries that all records have."""
    return (
        isinstance(value, dict)
        and all(type(value.get(name)) is expected for name, expected in REQUIRED_ENTRIES.items())
        and all(are_numbers(value[name]) for name in ("metrics", "chance", "counts", "per_category_MAP"))
        and all(map(is_hash_record, value["hash"].values()))
        and set(REQUIRED_COUNTS) <= set(value["counts"])
        and "MAP" in value["metrics"]
        and value["metrics"].keys() == value["chance"].keys()
        and value["mirror"] in ("on", "off")
    )


def is_hash_record(value: object) -> bool:
    """Whether `value` is a record's entry for one length of hash codes."""
    if not isinstance(value, dict) or not isinstance(fits := value.get("fits"), list):
        return False
    numbers = {name: each for name, each in value.items() if name != "fits"}
    return "MAP" in numbers and all(map(are_numbers, [numbers, *fits]))


def are_numbers(values: object) -> bool:
    return isinstance(values, dict) and all(type(number) in (int, float) for number in values.values())


def best_step(path: Path, distance: str) -> int | None:
    """The step with the highest MAP by `distance` in a result.json; None if none was tested."""
    tested = [record for record in read_records(path) if record["distance"] == distance]
    return max(tested, key=lambda each: each["metrics"]["MAP"])["step"] if tested else None
