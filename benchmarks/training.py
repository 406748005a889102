"""One training step: this program beside a plain one, on batches that are there already.

The plain step is eager PyTorch in float32, tensors in PyTorch's own layout, Adam as it comes, and the loss
read after every step, as the published program does. Its loss over 200 steps on the demo set, with several
seeds, shows whether the fast ways learn the same.
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


def trainer_of(data: Annotation, device: torch.device, *given: str) -> Trainer:
    """A run of these options on the lists `data`, from random weights."""
    common = ["--phase=train", "--dataset=demo", "--backbone_weights=none", "--num_workers=1"]
    options = program.parse([*common, f"--device={device}", "--annealing_step=200", *given])
    return Trainer(resolve_training(config_from_options(options)), data)


class Plain:
    """The plain step on the network and loss of a trainer."""

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
    def half() -> tuple[Tensor, Tensor]:
        images = torch.rand(batch_size, 3, image_size, image_size, device=device)
        return images, torch.randint(classes, (batch_size,), device=device)

    return half(), half()


def compared(
    data: Annotation, device: torch.device, ways: dict[str, list[str]], common: list[str], repeats: int = 3
) -> dict[str, Any]:
    """Seconds a step of the plain way and of `ways`, options each, all with the options `common`."""
    trainers = {name: trainer_of(data, device, *common, *given) for name, given in ways.items()}
    plain = Plain(trainer_of(data, device, *common))
    config = next(iter(trainers.values())).config
    batch = random_batch(config.data.batch_size, config.input.image_size, data.num_train_classes, device)

    def steps(each: Trainer | Plain) -> None:
        for _ in range(BATCHES):
            each.training_step(*batch)

    variants = [Variant(name, partial(steps, each), BATCHES) for name, each in trainers.items()]
    variants.append(Variant("plain", partial(steps, plain), BATCHES, "baseline"))
    result = compare(variants, unit="step", repeats=repeats, device=device)
    size, batch_size = config.input.image_size, config.data.batch_size
    what = f"{config.network.network}, {size} px, {batch_size} + {batch_size} images a step, {device.type}"
    return {**result, "input": what, "images_per_step": 2 * batch_size}


def curves(data: Annotation, device: torch.device, fast: list[str]) -> dict[str, Any]:
    """The loss over 200 steps of plain and fast training, several seeds each, on the same batches."""
    common = ["--network=resnet18", "--image_size=64", "--f_dim=128", "--batch_size=12", "--margin=2"]
    common += ["--lr=2e-4", f"--num_steps={10 * CURVE_STEPS}"]  # far from where the rate falls
    found: dict[str, list[list[float]]] = {"plain": [], "fast": []}
    for seed in range(CURVE_SEEDS):
        trainer = trainer_of(data, device, *common, f"--seed={seed}", *fast)
        batches = trainer.batches()
        taken = [next(batches) for _ in range(CURVE_STEPS)]
        plain = Plain(trainer_of(data, device, *common, f"--seed={seed}"))
        for name, each in (("plain", plain), ("fast", trainer)):
            found[name].append([float(each.training_step(*batch)) for batch in taken])
    means = {name: torch.tensor(values).unflatten(1, (-1, 20)).mean(2) for name, values in found.items()}
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


def growth(
    data: Annotation, device: torch.device, network: str, sizes: list[int], batches: list[int]
) -> dict:
    """Images a second over batch and image sizes; None where the memory does not suffice."""
    found: dict[str, list[float | None]] = {}
    for size in sizes:
        row: list[float | None] = []
        for batch_size in batches:
            given = [f"--network={network}", f"--image_size={size}", f"--batch_size={batch_size}"]
            given += ["--amp=bf16"] if device.type == "cuda" else []
            try:
                trainer = trainer_of(data, device, *given)
                batch = random_batch(batch_size, size, data.num_train_classes, device)
                trainer.training_step(*batch)
                times = sorted(time_run(partial(trainer.training_step, *batch)) for _ in range(3))
                row.append(2 * batch_size / times[1])
            except torch.OutOfMemoryError:
                row.append(None)
        found[str(size)] = row
    return {"input": f"{network}, {device.type}", "batch sizes": batches, "images per second by size": found}


def on_cpu(data: Annotation) -> None:
    small = ["--network=resnet18", "--image_size=64", "--batch_size=22"]
    ways = {
        "this program": [],
        "--compile": ["--compile"],
        "--amp=bf16": ["--amp=bf16"],
        "--accumulate=2": ["--accumulate=2"],
    }
    save_results("training, resnet18", compared(data, CPU, ways, small, repeats=7))
    large = ["--network=resnext101", "--image_size=64", "--batch_size=8"]
    ways = {
        "this program": [],
        "--amp=bf16": ["--amp=bf16"],
        "--gradient_checkpointing": ["--gradient_checkpointing"],
        "--accumulate=4": ["--accumulate=4"],
    }
    save_results("training, resnext101", compared(data, CPU, ways, large, repeats=2))
    save_results("loss curves", curves(data, CPU, ["--amp=bf16"]))
    save_results("training growth", growth(data, CPU, "resnet18", [32, 64, 96, 128], [4, 8, 16, 32]))


def on_gpu(data: Annotation, device: torch.device) -> None:
    published = ["--network=resnext101", "--image_size=224"]
    ways = {
        "this program": [],
        "--amp=bf16": ["--amp=bf16"],
        "--amp=fp16": ["--amp=fp16"],
        "--amp=bf16 --compile": ["--amp=bf16", "--compile"],
        "--amp=bf16 --gradient_checkpointing": ["--amp=bf16", "--gradient_checkpointing"],
    }
    for batch_size in (22, 128):
        found = compared(data, device, ways, [*published, f"--batch_size={batch_size}"], repeats=5)
        save_results(f"training, resnext101, batch {batch_size}", found, device)
        torch._dynamo.reset()
        torch.cuda.empty_cache()
    save_results("loss curves", curves(data, device, ["--amp=bf16", "--compile"]), device)
    sizes, batches = [128, 224], [22, 44, 88, 176, 352]
    save_results("training growth", growth(data, device, "resnext101", sizes, batches), device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    device = torch.device(parser.parse_args().device)
    with tempfile.TemporaryDirectory() as folder:
        place = [f"--data_path={folder}", f"--anno_path={folder}/anno"]
        if program.main(["--phase=prepare", "--dataset=demo", "--num_workers=0", *place]):
            raise SystemExit("the demo set could not be made")
        data = load_annotation(Path(folder), Path(folder) / "anno", "demo")
        on_cpu(data) if device.type == "cpu" else on_gpu(data, device)


if __name__ == "__main__":
    main()
