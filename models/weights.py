"""Weights a training starts from: fetched or read, checked by entry (docs/method.md, Networks).

A published fault is not repeated: `strict=False` hid every missing and mismatched weight. Here an entry may
stay at its random start only if it belongs to the head (another number of outputs) or to an attention
module (absent from the source, or with the domain column that the source lacks).
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from pickle import UnpicklingError
from typing import Any
from urllib.parse import urlparse

import torch
from torch import Tensor, nn

from models import READY, network_module, ready_network
from utils.checkpoints import load
from utils.checksums import sha256
from utils.errors import UserError, one_line
from utils.tensor_files import PREFIXES, is_state_dict

log = logging.getLogger(__name__)

NAMED_HASH = re.compile(r"-([0-9a-f]{8,64})\.")  # the first digits of a file's SHA-256, in its name
NESTS = ("network", "state_dict", "model", "model_state_dict", "model_state", "net", "ema", "state_dict_ema")
ATTENTION_PARTS = (".se_module.", "dase1.", "dase2.", "dase3.", "dase4.")


@dataclass(frozen=True)
class LoadReport:
    """Names of the entries of a network's state dict by what became of them."""

    loaded: list[str]
    padded: list[str]  # domain columns added as zeros
    randomly_initialised: list[str]
    ignored: list[str]  # entries of the source that this network has no place for

    def __str__(self) -> str:
        counts = f"{len(self.loaded)} entries loaded, {len(self.padded)} padded with a zero domain column, "
        counts += (
            f"{len(self.randomly_initialised)} left at random, {len(self.ignored)} of the source not used"
        )
        named = ", ".join(self.randomly_initialised[:4]) + (
            ", ..." if len(self.randomly_initialised) > 4 else ""
        )
        return counts + (f" (at random: {named})" if named else "")


def load_pretrained(network: nn.Module, name: str, source: str, *, pad_se: bool = False) -> LoadReport:
    """Load `source` into `network` (one of NETWORKS, called `name`), as `load_backbone` does.

    `source` is "imagenet", "ready" (the network that comes with the program) or the path of a state dict.
    Raises UserError if it cannot be had or does not fit.
    """
    module = network_module(name)
    if source == "imagenet":
        if not has_imagenet_weights(name):
            raise UserError(f"there are no ImageNet weights for {name}; use --backbone_weights=none")
        packaged = getattr(module, "imagenet_weights", None)
        state = packaged(network, name) if packaged else fetch(module.IMAGENET_URLS)
    elif source == READY and not Path(source).exists():
        state = weights_of_ready(name)
    else:
        target = network.state_dict()
        state = without_prefixes(state_dict_in(load(Path(source)), source), target)
        bad = next((name for name, value in state.items() if not bool(value.isfinite().all())), None)
        if bad:
            raise UserError(f"{source} has numbers that are not finite, first in {bad}: pass other weights")
        if hasattr(module, "converted_weights"):
            state = module.converted_weights(network, name, state)
    return load_backbone(network, state, head=module.HEAD, pad_se=pad_se)


def weights_of_ready(name: str) -> dict[str, Tensor]:
    """The state dict of the network that comes with the program. Raises UserError if it is not a `name`."""
    ready = ready_network.read_ready()
    own = ready["options"]["network"]
    if own != name:
        raise UserError(f"--backbone_weights=ready is of {own}, not of {name}: give --network={own}, too")
    return ready["network"]


def has_imagenet_weights(name: str) -> bool:
    """Whether there are ImageNet weights of the network `name`, to be downloaded or in a package."""
    module = network_module(name)
    if hasattr(module, "has_imagenet_weights"):
        return module.has_imagenet_weights(name)
    return bool(module.IMAGENET_URLS) or hasattr(module, "imagenet_weights")


def state_dict_in(content: dict[str, Any], source: str) -> dict[str, Tensor]:
    """The state dict in what a file holds, alone or in a nest of the usual names.

    Raises UserError that lists the entries if there is none.
    """
    for _ in range(3):
        if content and is_state_dict(content):
            return content
        inner = next((content[name] for name in NESTS if isinstance(content.get(name), dict)), None)
        if inner is None:
            break
        content = inner
    listed = ", ".join(str(name)[:40] for name in list(content)[:8]) or "nothing"
    raise UserError(
        f"{source} holds no state dict: --backbone_weights needs names and tensors, alone or as one of "
        f"{', '.join(NESTS)}; it has {one_line(listed)}"
    )


def without_prefixes(source: dict[str, Tensor], target: dict[str, Tensor]) -> dict[str, Tensor]:
    """`source` without what wrappers put before all names, where more of them are of `target` then."""
    while True:
        shorter = [
            {name.removeprefix(prefix): value for name, value in source.items()} for prefix in PREFIXES
        ]
        best = max(shorter, key=lambda each: (len(each.keys() & target.keys()), shortened(each, source)))
        if len(best) < len(source) or not shortened(best, source):
            return source
        if len(best.keys() & target.keys()) < len(source.keys() & target.keys()):
            return source
        source = best


def shortened(names: dict[str, Tensor], before: dict[str, Tensor]) -> int:
    """How many of the names are not those of `before`."""
    return len(names.keys() - before.keys())


def fetch(urls: Sequence[str]) -> dict[str, Tensor]:
    """Download the first of `urls` that answers, or read it from torch.hub's cache.

    Either is checked against the start of its SHA-256 that ends its name. Raises UserError that lists what
    was tried, or names the file in the cache that is not what its name says.
    """
    failures = []
    for url in urls:
        check_cached(url)
        try:
            return torch.hub.load_state_dict_from_url(
                url, map_location="cpu", check_hash=True, weights_only=True
            )
        except (OSError, RuntimeError, HTTPException, UnpicklingError) as error:
            failures.append(f"{url} ({error})")
            log.warning("could not fetch %s: %s", url, error)
    raise UserError(
        f"no ImageNet weights could be had; tried {'; '.join(failures)}. Download one of these files on "
        "another machine and pass it as --backbone_weights=FILE, or start at random with "
        "--backbone_weights=none"
    )


def check_cached(url: str) -> None:
    """Raise UserError if what torch.hub's cache has of `url` is damaged, or another file under that name.

    torch.hub checks what it downloads, and later takes from its cache whatever lies there.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / PurePosixPath(urlparse(url).path).name
    said = NAMED_HASH.search(path.name)
    if said and path.is_file() and not sha256(path).startswith(said[1]):
        raise UserError(
            f"{path} is damaged, or another file: its SHA-256 does not begin with the {said[1]} of its name; "
            "remove it, and it is downloaded anew"
        )


def load_backbone(
    network: nn.Module, source: dict[str, Tensor], *, head: str, pad_se: bool = False
) -> LoadReport:
    """Copy the entries of `source` into `network` where name and shape agree.

    `head` is the prefix of the last layer. With `pad_se`, an attention weight that lacks only the domain
    column gets a zero one, so that the network computes at first what the source did; without, it stays at
    random, as in the published program. Raises UserError for any other entry that is missing, superfluous or
    of another shape.
    """
    source = without_prefixes(source, network.state_dict())
    target = {name: value.clone() for name, value in network.state_dict().items()}  # all or nothing
    report = LoadReport([], [], [], [])
    wrong = []
    for name, value in target.items():
        given = source.get(name)
        free = name.startswith(head) or is_attention(name)
        if given is not None and given.shape == value.shape:
            value.copy_(given)
            report.loaded.append(name)
        elif given is not None and pad_se and lacks_domain_column(given, value):
            value.zero_()[:, :-1].copy_(given)
            report.padded.append(name)
        elif free or name.endswith("num_batches_tracked"):
            report.randomly_initialised.append(name)
        else:
            wrong.append(f"{name} {shape_of(given)}, expected {shape_of(value)}")
    for name in source.keys() - target.keys():
        if name.startswith(head) or is_attention(name):
            report.ignored.append(name)
        else:
            wrong.append(f"{name} {shape_of(source[name])}, which the network does not have")
    if wrong:
        raise UserError(
            f"the weights are of another network: {len(wrong)} entries do not fit, first {wrong[0]}"
        )
    network.load_state_dict(target)
    return report


def is_attention(name: str) -> bool:
    return any(part in f".{name}" for part in ATTENTION_PARTS)


def lacks_domain_column(given: Tensor, value: Tensor) -> bool:
    return given.shape[0] == value.shape[0] and given.dim() == 4 and given.shape[1] + 1 == value.shape[1]


def shape_of(value: Tensor | None) -> str:
    return "missing" if value is None else str(tuple(value.shape))
