"""Is every category closer together than it is to any other? (docs/method.md, Losses)

MEMS asks for m |f - c_y| < |f - c_j| for every feature f of class y and every other class j. For two centres
at distance D that is a ball of diameter 2 m D / (m^2 - 1) around each, with a gap of D (m - 1) / (m + 1)
between them; the diameter is less than the gap exactly when m > 2 + sqrt(3). Whether features do lie in those
balls is another question. Distances here are Euclidean, not squared.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

MARGIN_NEEDED = 2 + math.sqrt(3)
BLOCK = 2048  # rows and columns of a block of distances: 32 MiB in float64


@dataclass(frozen=True)
class Separation:
    """Per category, (C,) float64: NaN where it has no feature, inf where there is no other category."""

    max_intra: np.ndarray  # largest distance inside the category, 0 for a single feature
    min_inter: np.ndarray  # smallest distance to another category

    @property
    def percent_separated(self) -> float:
        """Percent of the categories with features whose max_intra is below their min_inter."""
        known = ~np.isnan(self.max_intra)
        return float(100 * np.mean(self.max_intra[known] < self.min_inter[known]))


def measure_separation(
    features: np.ndarray, labels: np.ndarray, classes: int, device: str | torch.device
) -> Separation:
    """Measure features (N, D) with labels (N,) in [0, classes): all pairs, in float64, block by block.

    Takes N^2 D operations: for 200,000 features minutes on a CPU with many cores, seconds on a GPU.
    """
    x = torch.from_numpy(np.ascontiguousarray(features)).to(device)
    y = torch.from_numpy(np.asarray(labels)).to(device)
    origin = x.mean(dim=0, dtype=torch.float64)  # subtracted because |a|^2 + |b|^2 - 2 ab cancels far from 0
    max_intra = torch.full((classes,), -torch.inf, dtype=torch.float64, device=device)  # squared
    min_inter = torch.full((classes,), torch.inf, dtype=torch.float64, device=device)  # squared
    blocks = list(zip(x.split(BLOCK), y.split(BLOCK), strict=True))
    for number, (rows, row_labels) in enumerate(blocks):
        for columns, column_labels in blocks[: number + 1]:  # distances are symmetric
            distances = squared_distances(rows - origin, columns - origin)
            same = row_labels[:, None] == column_labels
            farthest = distances.masked_fill(~same, -torch.inf)
            nearest = distances.masked_fill(same, torch.inf)
            for axis, group in ((1, row_labels), (0, column_labels)):
                max_intra.scatter_reduce_(0, group, farthest.amax(axis), "amax")
                min_inter.scatter_reduce_(0, group, nearest.amin(axis), "amin")
    is_absent = torch.isinf(max_intra)
    max_intra = max_intra.clamp(min=0).sqrt().masked_fill(is_absent, torch.nan)
    min_inter = min_inter.clamp(min=0).sqrt().masked_fill(is_absent, torch.nan)
    return Separation(max_intra.cpu().numpy(), min_inter.cpu().numpy())


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """(A, D), (B, D) -> (A, B), never below 0."""
    return (a.square().sum(1, keepdim=True) + b.square().sum(1) - 2 * a @ b.T).clamp_(min=0)


def implied_separation(centers: np.ndarray, margin: float) -> Separation:
    """The bounds of features inside the boundaries that `margin` draws between centres (C, D), C >= 2.

    The distance to the nearest other centre bounds both. A margin of 1 bounds nothing: inf and 0.
    """
    nearest = nearest_center_distances(centers)
    with np.errstate(divide="ignore"):
        max_intra = nearest * np.divide(2 * margin, margin**2 - 1)
    return Separation(max_intra, nearest * (margin - 1) / (margin + 1))


def nearest_center_distances(centers: np.ndarray) -> np.ndarray:
    """Distance of every centre (C, D) to the nearest other one, (C,) float64."""
    labels = np.arange(len(centers))
    return measure_separation(centers, labels, len(centers), "cpu").min_inter


def percent_inside_boundaries(
    features: np.ndarray, labels: np.ndarray, centers: np.ndarray, margin: float
) -> float:
    """Percent of features (N, D) with m |f - c_y| < |f - c_j| for every other class j."""
    x = torch.from_numpy(np.ascontiguousarray(features)).double()
    y = torch.from_numpy(np.asarray(labels))
    c = torch.from_numpy(np.ascontiguousarray(centers)).double()
    inside = 0
    for rows, row_labels in zip(x.split(BLOCK), y.split(BLOCK), strict=True):
        distances = squared_distances(rows, c)  # (n, C)
        own = distances.gather(1, row_labels[:, None])
        others = distances.scatter(1, row_labels[:, None], torch.inf)
        inside += int((margin**2 * own[:, 0] < others.amin(1)).sum())
    return 100 * inside / len(x)
