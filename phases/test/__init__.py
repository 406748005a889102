"""--phase=test: test sketches against all photos, by features and codes (docs/method.md, Evaluation)."""

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
from retrieval.search import code_rankings, feature_rankings, nearest
from run import checkpoint, results
from run.config import Config, config_from_options
from run.contact_sheet import Cell, SheetRow, contact_sheet, save_png
from run.features import Features, embed_test_set
from run.next_command import announce
from run.words import in_words
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
    announce("test", config)


def test_checkpoint(config: Config) -> None:
    """Test in a folder that no other process works in meanwhile."""
    with distributed.process_group(), explain_dead_workers():
        checkpoint.find(config)  # before the folder is made
        with distributed.on_main_process(folder_lock(config.folder)):
            evaluate_checkpoint(config)


def evaluate_checkpoint(config: Config) -> None:
    """What `run` does, in a folder that is this process's own; others help with the features and leave."""
    folder = config.folder
    model = checkpoint.load(config)
    config = model.config
    device = pick_device(config.machine)
    data = model.data
    if model.centers is not None:
        name_other_distance(config)
    results.read_records(folder / "log" / "result.json")  # of no use: better known before hours of work
    log.info(
        "testing step %d of %s on %s: %d test sketches against %d photos",
        model.step,
        folder,
        device,
        len(data.test_sketches),
        len(data.gallery),
    )
    features = embed_test_set(model.network.to(device), data, config, step=model.step, device=device)
    if features is None:
        return
    remove_stale_temporaries(folder / "log")
    sketches, photos = features
    condition = None
    if config.test.margin_condition == "on":
        condition = margin_condition.measure(model, sketches, photos, config, device)
    if config.test.mirror == "off":
        sketches, photos = (replace(side, values=side.values[..., :1]) for side in (sketches, photos))

    rankings = rankings_of(sketches, photos, config, device)
    found = evaluate(rankings, sketches.labels, all_definitions=bool(config.test.all_definitions))
    hashed: dict[int, list[results.HashFit]] = {}
    if model.centers is not None and len(model.centers) < 2 and config.test.hash_bits:
        log.warning("warning: one category has no other to tell apart: no hash codes")
    elif model.centers is not None:
        hashed = {
            bits: evaluate_codes(model.centers, sketches, photos, config, bits)
            for bits in config.test.hash_bits
        }
    sheet = draw_sheet(data, found, sketches, photos, config, device)
    save_png(sheet, folder / "log" / "contact_sheet.png")
    results.write(folder / "log", config, model, found, hashed, condition)  # last: then the test is done
    log.info(
        "results in %s, pictures in %s", folder / "log" / "result.json", folder / "log" / "contact_sheet.png"
    )


def name_other_distance(config: Config) -> None:
    """Log when --test_distance is not the distance that the loss trains for."""
    trained_for = loss_facts(config.loss.loss_type).distance
    if config.test.test_distance != trained_for:
        log.info(
            "distance %s; %s trains for the %s one: --test_distance=%s",
            config.test.test_distance,
            config.loss.loss_type,
            trained_for,
            trained_for,
        )


def rankings_of(
    sketches: Features, photos: Features, config: Config, device: torch.device
) -> Iterator[Ranking]:
    """The ranking of each test sketch, in order, by --test_distance."""
    return feature_rankings(
        sketches.values,
        photos.values,
        sketches.labels,
        photos.labels,
        config.test.test_distance,
        memory=config.test.eval_memory * 2**20,
        device=device,
    )


def evaluate_codes(
    centers: np.ndarray, sketches: Features, photos: Features, config: Config, bits: int
) -> list[results.HashFit]:
    """Hash codes of `bits` bits, fitted with `hashing.FITS` seeds from --seed on: what each fit gave."""
    angular = config.test.test_distance == "angular"
    fits = []
    for seed in range(config.seed, config.seed + hashing.FITS):
        code_map, loss = fit_code_map(
            centers, bits, angular=angular, seed=seed, gradient=config.test.hash_gradient
        )
        query, gallery = (binary_codes(side.values, code_map, angular=angular) for side in (sketches, photos))
        rankings = code_rankings(query, gallery, sketches.labels, photos.labels)
        found = evaluate(rankings, sketches.labels)
        fits.append(results.HashFit(seed, found.metrics["MAP"], loss))
    return fits


def draw_sheet(
    data: Annotation,
    found: Evaluation,
    sketches: Features,
    photos: Features,
    config: Config,
    device: torch.device,
) -> Image.Image:
    """Test sketches drawn by seed, one of each of up to twelve categories, with their nearest photos."""
    draw = random.Random(config.seed)
    by_label: dict[int, list[int]] = {}
    for index, (_, label) in enumerate(data.test_sketches):
        by_label.setdefault(label, []).append(index)
    labels = sorted(draw.sample(sorted(by_label), min(SHEET_QUERIES, len(by_label))))
    queries = [draw.choice(by_label[label]) for label in labels]
    positions, _ = nearest(
        sketches.values[queries],
        photos.values,
        config.test.test_distance,
        SHEET_RESULTS,
        memory=config.test.eval_memory * 2**20,
        device=device,
    )

    def cell(entry: Entry, mode: str) -> Cell:
        path, label = entry
        return Cell(read_image(data.root / path, mode), Path(path).name, data.categories[label])

    rows = [
        SheetRow(
            cell(data.test_sketches[query], "L"), [cell(data.gallery[each], "RGB") for each in nearest_photos]
        )
        for query, nearest_photos in zip(queries, positions, strict=True)
    ]
    score = f"MAP {found.metrics['MAP']:.2f} (chance {found.chance['MAP']:.2f})"
    distance = in_words(config.test.test_distance)
    caption = f"{config.save_path}: {score} over {found.queries} test sketches, {distance} distance"
    return contact_sheet(rows, caption)
