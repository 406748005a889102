"""--phase=test: rank all photos for each test sketch (docs/method.md, Evaluation)."""

import argparse
import logging
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from datasets.annotations import Annotation, Entry
from datasets.images import read_image
from datasets.workers import explain_dead_workers
from losses import loss_facts
from phases.test import margin_condition
from retrieval import hashing
from retrieval.hashing import binary_codes, fit_code_map
from retrieval.metrics import Evaluation, evaluate
from retrieval.ranking import Ranking
from retrieval.search import code_rankings, feature_rankings, find_nearest
from run import checkpoint, results
from run.config import Config, config_from_options
from run.contact_sheet import Cell, SheetRow, contact_sheet, save_png
from run.features import Features, embed_test_set
from run.next_command import log_next_command
from run.words import get_display_name
from utils import distributed
from utils.device import pick_device
from utils.files import remove_stale_temporaries
from utils.locks import folder_lock

log = logging.getLogger(__name__)

SHEET_QUERIES, SHEET_RESULTS = 12, 10


def run(options: argparse.Namespace) -> None:
    """Test the checkpoint of --pretrained_model and write result.txt, result.json and a contact sheet."""
    config = config_from_options(options)
    test_checkpoint(config)
    log_next_command("test", config)


def test_checkpoint(config: Config) -> None:
    """Test the checkpoint of --pretrained_model, with the run's folder locked."""
    with distributed.process_group(), explain_dead_workers():
        checkpoint.find_file(config)  # fails if there is none, before the lock makes the folder
        with distributed.on_main_process(folder_lock(config.folder)):
            evaluate_checkpoint(config)


def evaluate_checkpoint(config: Config) -> None:
    """What `test_checkpoint` does once the folder is locked.

    Several processes embed the images together; only the main one goes on from there.
    """
    log_folder = config.folder / "log"
    model = checkpoint.load(config)
    config, data = model.config, model.data
    device = pick_device(config.machine)
    if model.centers is not None:
        report_other_distance(config)
    results.read_records(log_folder / "result.json")  # if broken, fail before hours of work
    log.info(
        "testing step %d of %s on %s: %d test sketches against %d photos",
        model.step,
        config.folder,
        device,
        len(data.test_sketches),
        len(data.gallery),
    )
    features = embed_test_set(model.network.to(device), data, config, step=model.step, device=device)
    if features is None:
        return
    sketches, photos = features
    remove_stale_temporaries(log_folder)
    margin_record = None
    if config.test.margin_condition == "on":
        margin_record = margin_condition.measure(model, sketches, photos, config, device)
    if config.test.mirror == "off":
        sketches, photos = drop_mirrored(sketches), drop_mirrored(photos)
    evaluation = evaluate(
        rank_photos(sketches, photos, config, device),
        sketches.labels,
        all_definitions=bool(config.test.all_definitions),
    )
    hash_fits = evaluate_hash_codes(model.centers, sketches, photos, config)
    sheet = draw_sheet(data, evaluation, sketches, photos, config, device)
    save_png(sheet, log_folder / "contact_sheet.png")
    # the results come last: once they are written, the test counts as done
    results.write_result(log_folder, config, model, evaluation, hash_fits, margin_record)
    log.info("results in %s, pictures in %s", log_folder / "result.json", log_folder / "contact_sheet.png")


def report_other_distance(config: Config) -> None:
    """Log if --test_distance is not the distance that the loss trains for."""
    trained_for = loss_facts(config.loss.loss_type).distance
    if config.test.test_distance != trained_for:
        log.info(
            "distance %s; %s trains for the %s one: --test_distance=%s",
            config.test.test_distance,
            config.loss.loss_type,
            trained_for,
            trained_for,
        )


def drop_mirrored(features: Features) -> Features:
    """The features of the images as they are, (N, f_dim, 1), without those of their mirror images."""
    return replace(features, values=features.values[..., :1])


def rank_photos(
    sketches: Features, photos: Features, config: Config, device: torch.device
) -> Iterator[Ranking]:
    """The ranking of all photos for each test sketch, in order, by --test_distance."""
    return feature_rankings(
        sketches.values,
        photos.values,
        sketches.labels,
        photos.labels,
        config.test.test_distance,
        memory=config.test.eval_memory * 2**20,
        device=device,
    )


def evaluate_hash_codes(
    centers: np.ndarray | None, sketches: Features, photos: Features, config: Config
) -> dict[int, list[results.HashFit]]:
    """The fits of hash codes by their number of bits; none without class centres to fit them on."""
    if centers is None:
        return {}
    if len(centers) < 2:
        if config.test.hash_bits:
            log.warning("warning: no hash codes: they need the class centres of at least two categories")
        return {}
    return {bits: evaluate_bits(centers, sketches, photos, config, bits) for bits in config.test.hash_bits}


def evaluate_bits(
    centers: np.ndarray, sketches: Features, photos: Features, config: Config, bits: int
) -> list[results.HashFit]:
    """MAP by hash codes of `bits` bits, for each of `hashing.FITS` fits with the seeds from --seed on."""
    is_angular = config.test.test_distance == "angular"
    fits = []
    for seed in range(config.seed, config.seed + hashing.FITS):
        code_map, loss = fit_code_map(
            centers, bits, angular=is_angular, seed=seed, gradient=config.test.hash_gradient
        )
        query_codes = binary_codes(sketches.values, code_map, angular=is_angular)
        gallery_codes = binary_codes(photos.values, code_map, angular=is_angular)
        rankings = code_rankings(query_codes, gallery_codes, sketches.labels, photos.labels)
        evaluation = evaluate(rankings, sketches.labels)
        fits.append(results.HashFit(seed, evaluation.metrics["MAP"], loss))
    return fits


def draw_sheet(
    data: Annotation,
    evaluation: Evaluation,
    sketches: Features,
    photos: Features,
    config: Config,
    device: torch.device,
) -> Image.Image:
    """A random test sketch of each of up to twelve categories, by --seed, with the photos nearest to it."""
    rng = random.Random(config.seed)
    by_label: dict[int, list[int]] = {}  # label -> positions of its test sketches
    for index, (_, label) in enumerate(data.test_sketches):
        by_label.setdefault(label, []).append(index)
    labels = sorted(rng.sample(sorted(by_label), min(SHEET_QUERIES, len(by_label))))
    queries = [rng.choice(by_label[label]) for label in labels]
    positions, _ = find_nearest(
        sketches.values[queries],
        photos.values,
        config.test.test_distance,
        SHEET_RESULTS,
        memory=config.test.eval_memory * 2**20,
        device=device,
    )

    def make_cell(entry: Entry, mode: str) -> Cell:
        path, label = entry
        return Cell(read_image(data.root / path, mode), Path(path).name, data.categories[label])

    rows = [
        SheetRow(
            make_cell(data.test_sketches[query], "L"),
            [make_cell(data.gallery[photo], "RGB") for photo in nearest_photos],
        )
        for query, nearest_photos in zip(queries, positions, strict=True)
    ]
    score = f"MAP {evaluation.metrics['MAP']:.2f} (chance {evaluation.chance['MAP']:.2f})"
    distance = get_display_name(config.test.test_distance)
    caption = f"{config.save_path}: {score} over {evaluation.queries} test sketches, {distance} distance"
    return contact_sheet(rows, caption)
