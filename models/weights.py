"""Load pretrained weights, downloaded or from a file, and check every entry (docs/method.md, Networks).

The published program uses `strict=False`, which hides every missing and mismatched weight. Here an entry may
keep its random values only if it belongs to the head (another number of outputs) or to an attention module
(not in the source, or without the domain column there).
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

HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.")  # names of files end with the start of their SHA-256
STATE_DICT_KEYS = (
    "network",
    "state_dict",
    "model",
    "model_state_dict",
    "model_state",
    "net",
    "ema",
    "state_dict_ema",
)
ATTENTION_PARTS = (".se_module.", "dase1.", "dase2.", "dase3.", "dase4.")


@dataclass(frozen=True)
class LoadReport:
    """Names of the entries of a network's state dict by what happened to them."""

    loaded: list[str]
    padded: list[str]  # loaded with a zero domain column
    randomly_initialised: list[str]
    ignored: list[str]  # entries of the source that the network does not have

    def __str__(self) -> str:
        counts = f"{len(self.loaded)} entries loaded, {len(self.padded)} padded with a zero domain column, "
        counts += (
            f"{len(self.randomly_initialised)} left at random, {len(self.ignored)} of the source not used"
        )
        if not self.randomly_initialised:
            return counts
        names = ", ".join(self.randomly_initialised[:4])
        if len(self.randomly_initialised) > 4:
            names += ", ..."
        return f"{counts} (at random: {names})"


def load_pretrained(network: nn.Module, name: str, source: str, *, pad_se: bool = False) -> LoadReport:
    """Load `source` into `network` whose name in NETWORK_NAMES is `name`, with `load_backbone`.

    `source` is "imagenet", "ready" (the network that comes with the program) or the path of a state dict.
    Raises UserError if it is not available or does not fit.
    """
    module = network_module(name)
    if source == "imagenet":
        if not has_imagenet_weights(name):
            raise UserError(f"there are no ImageNet weights for {name}; use --backbone_weights=none")
        if hasattr(module, "load_imagenet_weights"):
            state = module.load_imagenet_weights(network, name)
        else:
            state = download_weights(module.IMAGENET_URLS)
    elif source == READY and not Path(source).exists():
        state = load_ready_weights(name)
    else:
        target = network.state_dict()
        state = strip_prefixes(find_state_dict(load(Path(source)), source), target)
        for key, value in state.items():
            if not bool(value.isfinite().all()):
                raise UserError(
                    f"{source} has numbers that are not finite, first in {key}: pass other weights"
                )
        if hasattr(module, "convert_weights"):
            state = module.convert_weights(network, name, state)
    return load_backbone(network, state, head=module.HEAD, pad_se=pad_se)


def load_ready_weights(name: str) -> dict[str, Tensor]:
    """The state dict of the network that comes with the program. Raises UserError unless it is a `name`."""
    ready = ready_network.read_ready()
    own = ready["options"]["network"]
    if own != name:
        raise UserError(f"--backbone_weights=ready is of {own}, not of {name}: give --network={own}, too")
    return ready["network"]


def has_imagenet_weights(name: str) -> bool:
    """Whether there are ImageNet weights of the network `name`, to download or in a package."""
    module = network_module(name)
    if hasattr(module, "has_imagenet_weights"):
        return module.has_imagenet_weights(name)
    return bool(module.IMAGENET_URLS) or hasattr(module, "load_imagenet_weights")


def find_state_dict(content: dict[str, Any], source: str) -> dict[str, Tensor]:
    """The state dict in the `content` of a file: all of it, or nested under one of STATE_DICT_KEYS.

    Raises UserError that lists the entries if there is none.
    """
    for _ in range(3):
        if content and is_state_dict(content):
            return content
        inner = next((content[name] for name in STATE_DICT_KEYS if isinstance(content.get(name), dict)), None)
        if inner is None:
            break
        content = inner
    listed = ", ".join(str(name)[:40] for name in list(content)[:8]) or "nothing"
    raise UserError(
        f"{source} holds no state dict: --backbone_weights needs names and tensors, alone or as one of "
        f"{', '.join(STATE_DICT_KEYS)}; it has {one_line(listed)}"
    )


def strip_prefixes(source: dict[str, Tensor], target: dict[str, Tensor]) -> dict[str, Tensor]:
    """`source` without the prefixes that wrappers add to names, as long as no fewer names match `target`."""
    while True:
        candidates = [
            {name.removeprefix(prefix): value for name, value in source.items()} for prefix in PREFIXES
        ]
        scores = [
            (len(state.keys() & target.keys()), len(state.keys() - source.keys())) for state in candidates
        ]
        best = max(scores)
        stripped = candidates[scores.index(best)]
        matches, new_names = best
        has_clashes = len(stripped) < len(source)  # two names became the same
        if has_clashes or new_names == 0 or matches < len(source.keys() & target.keys()):
            return source
        source = stripped


def download_weights(urls: Sequence[str]) -> dict[str, Tensor]:
    """The first of `urls` that can be downloaded, or is in torch.hub's cache.

    Files are verified by the start of their SHA-256, which ends their name. Raises UserError that lists what
    was tried, or names a damaged file in the cache.
    """
    failures = []
    for url in urls:
        verify_hub_cache(url)
        try:
            return torch.hub.load_state_dict_from_url(
                url, map_location="cpu", check_hash=True, weights_only=True
            )
        except (OSError, RuntimeError, HTTPException, UnpicklingError) as error:
            failures.append(f"{url} ({error})")
            log.warning("cannot download %s: %s", url, error)
    raise UserError(
        f"no ImageNet weights could be downloaded; tried {'; '.join(failures)}. Download one of these "
        "files on another machine and pass it as --backbone_weights=FILE, or start at random with "
        "--backbone_weights=none"
    )


def verify_hub_cache(url: str) -> None:
    """Raise UserError if the file of `url` in torch.hub's cache is damaged, or is another file.

    torch.hub verifies what it downloads, but not what it finds in its cache later.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / PurePosixPath(urlparse(url).path).name
    match = HASH_IN_NAME.search(path.name)
    if match and path.is_file() and not sha256(path).startswith(match[1]):
        raise UserError(
            f"{path} is damaged, or another file: its SHA-256 does not begin with {match[1]} as in its name; "
            "remove it, and it is downloaded again"
        )


def load_backbone(
    network: nn.Module, source: dict[str, Tensor], *, head: str, pad_se: bool = False
) -> LoadReport:
    """Copy the entries of `source` into `network` where name and shape agree.

    `head` is the prefix of the last layer. With `pad_se`, an attention weight that lacks only the domain
    column gets a column of zeros, so that the network starts with the outputs of the source; without, it
    keeps its random values, as in the published program. Raises UserError, and changes nothing, if any other
    entry is missing, superfluous or of another shape.
    """
    source = strip_prefixes(source, network.state_dict())
    target = {
        name: value.clone() for name, value in network.state_dict().items()
    }  # copies, so that an error changes nothing
    report = LoadReport([], [], [], [])
    wrong = []
    for name, value in target.items():
        source_value = source.get(name)
        may_be_random = name.startswith(head) or is_attention(name)
        if source_value is not None and source_value.shape == value.shape:
            value.copy_(source_value)
            report.loaded.append(name)
        elif source_value is not None and pad_se and lacks_domain_column(source_value, value):
            value.zero_()[:, :-1].copy_(source_value)
            report.padded.append(name)
        elif may_be_random or name.endswith("num_batches_tracked"):
            report.randomly_initialised.append(name)
        else:
            wrong.append(f"{name} {describe_shape(source_value)}, expected {describe_shape(value)}")
    for name in source.keys() - target.keys():
        if name.startswith(head) or is_attention(name):
            report.ignored.append(name)
        else:
            wrong.append(f"{name} {describe_shape(source[name])}, which the network does not have")
    if wrong:
        raise UserError(
            f"the weights are of another network: {len(wrong)} entries do not fit, first {wrong[0]}"
        )
    network.load_state_dict(target)
    return report


def is_attention(name: str) -> bool:
    return any(part in f".{name}" for part in ATTENTION_PARTS)


def lacks_domain_column(source: Tensor, target: Tensor) -> bool:
    """Whether `source` is a convolution with one input less than `target`."""
    return source.dim() == 4 and source.shape[0] == target.shape[0] and source.shape[1] + 1 == target.shape[1]


def describe_shape(value: Tensor | None) -> str:
    return "missing" if value is None else str(tuple(value.shape))
