"""Whose terms may hold for what is handed on: what is known of them, to be looked up. No legal advice.

The sources of backbones stand in models/se_resnext.py and models/resnet.py too.
"""

from pathlib import Path, PurePath
from typing import Any

from phases.parser import PROJECT

IMAGENET = "ImageNet, whose terms of access are for non-commercial research and education"
BACKBONES = {
    "resnext101": (
        "SE-ResNeXt-101 32x4d of Cadene's pretrained-models.pytorch 0.7.4 (BSD-3-Clause), ported from the "
        "weights of Hu et al. (SENet, Apache-2.0)"
    ),
    "resnet18": "torchvision's ResNet-18, weights IMAGENET1K_V1 (BSD-3-Clause)",
}
DATA = {
    "TUBerlin": (
        "the sketches of TU-Berlin (Eitz, Hays and Alexa, 2012) are offered under CC BY 4.0; the photos "
        "of its extension were collected by others, partly from ImageNet. Check the terms of each source."
    ),
    "sketchy": (
        "the Sketchy Database (Sangkloy, Burnell, Ham and Hays, 2016) is offered for research; its photos "
        f"and those of its extension are of {IMAGENET}. Check the terms of both."
    ),
    "demo": "its images were drawn by the program itself, from nobody else's work.",
}
OWN_DATA = "not one of those that the program knows the terms of. Ask its owner."
NOT_ADVICE = "What is known, to be looked up before the files are used or passed on; it is no legal advice."


def licences(dataset: str, network: str, training: dict[str, Any]) -> str:
    """The notes as a list in Markdown. `training`: options of the training, empty if they are not known."""
    return "\n".join(
        [
            f"{NOT_ADVICE}\n",
            f"- **Weights it started from**: {backbone(network, training)}",
            f"- **Data**: {dataset}: {DATA.get(dataset, OWN_DATA)}",
            f"- **Program**: {program_licence(PROJECT)}",
        ]
    )


def backbone(network: str, training: dict[str, Any]) -> str:
    """What the training started from, as a sentence."""
    start = training.get("backbone_weights")
    pretrained = f"{BACKBONES.get(network, '')}, learned on {IMAGENET}. Check both terms."
    if start == "imagenet":
        return pretrained
    if start == "none":
        return "none, the training started at random."
    if start is not None:
        return f"those of a file, {PurePath(start).name}. Check the terms of its source."
    if network in BACKBONES:
        return f"the checkpoint does not say. The published program starts from {pretrained}"
    return "the checkpoint does not say. The published program starts this network at random."


def program_licence(project: Path) -> str:
    """Where the program's own licence stands, if it has one in its main folder."""
    names = sorted(path.name for kind in ("LICEN[CS]E*", "COPYING*") for path in project.glob(kind))
    if names:
        return f"the licence of the program that trained the network stands in its {' and '.join(names)}."
    return "the program that trained the network states no licence of its own. Ask its authors."
