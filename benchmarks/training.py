"""One training step of this program and of a plain one, on batches that are already loaded.

The plain step is eager PyTorch in float32 with contiguous tensors and default Adam, and reads the loss after
every step, as the published program does. The loss curves over 200 steps on the demo set, with several seeds,
show whether the faster options train as well.
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import main as program
from benchmarks.measure import CPU, Variant, compare, save_results, time_run
from datasets import SKETCH
from datasets.annotations import Annotation, load_annotation
from phases.train.trainer import WEIGHT_DECAY, Trainer
from run.config import config_from_options, resolve_training

BATCHES = 4  # per timed run
CURVE_STEPS, CURVE_SEEDS = 200, 3

Batch = tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]


def make_trainer(data: Annotation, device: torch.device, *arguments: str) -> Trainer:
    """A trainer with these options on the lists `data`, from random weights."""
    common = ["--phase=train", "--dataset=demo", "--backbone_weights=none", "--num_workers=1"]
    options = program.parse([*common, f"--device={device}", "--annealing_step=200", *arguments])
    return Trainer(resolve_training(config_from_options(options)), data)


class PlainTrainer:
    """The plain training step on the network and loss of a trainer."""

    def __init__(self, trainer: Trainer) -> None:
        self.device, self.criterion = trainer.device, trainer.criterion
        self.network = trainer.network.to(memory_format=torch.contiguous_format)
        groups: list[dict[str, Any]] = [
            {"params": self.network.parameters(), "weight_decay": WEIGHT_DECAY},
            {"params": self.criterion.parameters()},
        ]
        self.optimizer = torch.optim.Adam(groups, lr=trainer.config.train.lr)

    def training_step(self, sketches: tuple[Tensor, Tensor], photos: tuple[Tensor, Tensor]) -> float:
        images = torch.cat([sketches[0], photos[0]]).to(self.device)
        labels = torch.cat([sketches[1], photos[1]]).to(self.device)
        domain = torch.ones(len(labels), device=self.device)
        domain[: len(sketches[1])] = SKETCH
        loss = self.criterion(self.network(images, domain), labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.criterion.step += 1
        return loss.item()


def random_batch(batch_size: int, image_size: int, classes: int, device: torch.device) -> Batch:
    def random_images() -> tuple[Tensor, Tensor]:
        images = torch.rand(batch_size, 3, image_size, image_size, device=device)
        return images, torch.randint(classes, (batch_size,), device=device)

    return random_images(), random_images()


def compare_steps(
    data: Annotation,
    device: torch.device,
    variants: dict[str, list[str]],
    common: list[str],
    repeats: int = 3,
) -> dict[str, Any]:
    """Time a step of the plain trainer and of each of `variants`: options by name, beside `common` ones."""
    trainers = {name: make_trainer(data, device, *common, *options) for name, options in variants.items()}
    plain = PlainTrainer(make_trainer(data, device, *common))
    config = next(iter(trainers.values())).config
    batch = random_batch(config.data.batch_size, config.input.image_size, data.num_train_classes, device)

    def run_steps(trainer: Trainer | PlainTrainer) -> None:
        for _ in range(BATCHES):
            trainer.training_step(*batch)

    timed = [Variant(name, partial(run_steps, trainer), BATCHES) for name, trainer in trainers.items()]
    timed.append(Variant("plain", partial(run_steps, plain), BATCHES, "baseline"))
    result = compare(timed, unit="step", repeats=repeats, device=device)
    size, batch_size = config.input.image_size, config.data.batch_size
    what = f"{config.network.network}, {size} px, {batch_size} + {batch_size} images a step, {device.type}"
    return {**result, "input": what, "images_per_step": 2 * batch_size}


def measure_loss_curves(data: Annotation, device: torch.device, fast: list[str]) -> dict[str, Any]:
    """The loss over 200 steps of plain and fast training on the same batches, with several seeds."""
    common = ["--network=resnet18", "--image_size=64", "--f_dim=128", "--batch_size=12", "--margin=2"]
    common += ["--lr=2e-4", f"--num_steps={10 * CURVE_STEPS}"]  # long before the learning rate decays
    losses: dict[str, list[list[float]]] = {"plain": [], "fast": []}
    for seed in range(CURVE_SEEDS):
        trainer = make_trainer(data, device, *common, f"--seed={seed}", *fast)
        batches = trainer.batches()
        loaded = [next(batches) for _ in range(CURVE_STEPS)]
        plain = PlainTrainer(make_trainer(data, device, *common, f"--seed={seed}"))
        for name, stepper in (("plain", plain), ("fast", trainer)):
            losses[name].append([float(stepper.training_step(*batch)) for batch in loaded])
    means = {name: torch.tensor(values).unflatten(1, (-1, 20)).mean(2) for name, values in losses.items()}
    difference = (means["fast"].mean(0) - means["plain"].mean(0)).abs()
    return {
        "input": f"demo set, resnet18, 64 px, 12 + 12 images, {CURVE_STEPS} steps, {CURVE_SEEDS} seeds",
        "options of the fast way": fast,
        "loss of the last 20 steps, plain, by seed": means["plain"][:, -1].tolist(),
        "loss of the last 20 steps, fast, by seed": means["fast"][:, -1].tolist(),
        "largest difference of the mean curves": float(difference.max()),
        "largest standard deviation over seeds of the plain curve": float(means["plain"].std(0).max()),
        "every 20 steps": {name: values.tolist() for name, values in means.items()},
    }


def measure_growth(
    data: Annotation, device: torch.device, network: str, sizes: list[int], batches: list[int]
) -> dict:
    """Images per second by image size and batch size; None where memory runs out."""
    speeds: dict[str, list[float | None]] = {}
    for size in sizes:
        row: list[float | None] = []
        for batch_size in batches:
            options = [f"--network={network}", f"--image_size={size}", f"--batch_size={batch_size}"]
            if device.type == "cuda":
                options.append("--amp=bf16")
            try:
                trainer = make_trainer(data, device, *options)
                batch = random_batch(batch_size, size, data.num_train_classes, device)
                trainer.training_step(*batch)
                times = sorted(time_run(partial(trainer.training_step, *batch)) for _ in range(3))
                row.append(2 * batch_size / times[1])
            except torch.OutOfMemoryError:
                row.append(None)
        speeds[str(size)] = row
    return {"input": f"{network}, {device.type}", "batch sizes": batches, "images per second by size": speeds}


def run_on_cpu(data: Annotation) -> None:
    small = ["--network=resnet18", "--image_size=64", "--batch_size=22"]
    variants = {
        "this program": [],
        "--compile": ["--compile"],
        "--amp=bf16": ["--amp=bf16"],
        "--accumulate=2": ["--accumulate=2"],
    }
    save_results("training, resnet18", compare_steps(data, CPU, variants, small, repeats=7))
    large = ["--network=resnext101", "--image_size=64", "--batch_size=8"]
    variants = {
        "this program": [],
        "--amp=bf16": ["--amp=bf16"],
        "--gradient_checkpointing": ["--gradient_checkpointing"],
        "--accumulate=4": ["--accumulate=4"],
    }
    save_results("training, resnext101", compare_steps(data, CPU, variants, large, repeats=2))
    save_results("loss curves", measure_loss_curves(data, CPU, ["--amp=bf16"]))
    save_results("training growth", measure_growth(data, CPU, "resnet18", [32, 64, 96, 128], [4, 8, 16, 32]))


def run_on_gpu(data: Annotation, device: torch.device) -> None:
    published = ["--network=resnext101", "--image_size=224"]
    variants = {
        "this program": [],
        "--amp=bf16": ["--amp=bf16"],
        "--amp=fp16": ["--amp=fp16"],
        "--amp=bf16 --compile": ["--amp=bf16", "--compile"],
        "--amp=bf16 --gradient_checkpointing": ["--amp=bf16", "--gradient_checkpointing"],
    }
    for batch_size in (22, 128):
        results = compare_steps(data, device, variants, [*published, f"--batch_size={batch_size}"], repeats=5)
        save_results(f"training, resnext101, batch {batch_size}", results, device)
        torch._dynamo.reset()
        torch.cuda.empty_cache()
    save_results("loss curves", measure_loss_curves(data, device, ["--amp=bf16", "--compile"]), device)
    sizes, batches = [128, 224], [22, 44, 88, 176, 352]
    save_results("training growth", measure_growth(data, device, "resnext101", sizes, batches), device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    device = torch.device(parser.parse_args().device)
    with tempfile.TemporaryDirectory() as folder:
        place = [f"--data_path={folder}", f"--anno_path={folder}/anno"]
        if program.main(["--phase=prepare", "--dataset=demo", "--num_workers=0", *place]):
            raise SystemExit("the demo set could not be prepared")
        data = load_annotation(Path(folder), Path(folder) / "anno", "demo")
        if device.type == "cpu":
            run_on_cpu(data)
        else:
            run_on_gpu(data, device)


if __name__ == "__main__":
    main()
