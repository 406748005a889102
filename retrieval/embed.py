"""Images -> features, of each image as it is and flipped (docs/method.md, Evaluation)."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn


@torch.inference_mode()
def embed(
    network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], *, domain: int, device: torch.device
) -> Iterator[Tensor]:
    """Features (2, B, f_dim) float32 on `device` for every batch: [0] of the images, [1] of them flipped.

    `batches` yields images (B, 3, S, S) and labels (B,), all of `domain` (0 = sketch, 1 = photo). The
    network is left in evaluation mode. Convolutions on a GPU are computed in float32, too, not in TF32, so
    that metrics can be compared with those of other machines.
    """
    network.eval()
    for images, _ in batches:
        images = images.to(device, non_blocking=True)
        bits = torch.full((len(images),), float(domain), device=device)
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, allow_tf32=False):
            pair = [network(view, bits).float() for view in (images, images.flip(-1))]
        yield torch.stack(pair)
