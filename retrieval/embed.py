"""Images -> features, each image as it is and mirrored (SPEC section 4)."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn


@torch.inference_mode()
def embed(
    network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], *, domain: int, device: torch.device
) -> np.ndarray:
    """Features (N, f_dim, 2) float32: [..., 0] as is and [..., 1] mirrored.

    `batches` yields images (B, 3, S, S) and labels (B,), all of `domain` (0 = sketch, 1 = photo). The
    network is left in evaluation mode.
    """
    network.eval()
    features = []
    for images, _ in batches:
        images = images.to(device, non_blocking=True)
        bits = torch.full((len(images),), float(domain), device=device)
        pair = [network(view, bits).float() for view in (images, images.flip(-1))]
        features.append(torch.stack(pair, dim=-1).cpu())  # (B, f_dim, 2)
    return torch.cat(features).numpy()
