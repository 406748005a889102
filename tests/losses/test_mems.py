"""MEMS: its boundary, and its distances far from the origin. Its formula: reliability/test_properties.py."""

import numpy as np
import pytest
import torch

from losses.mems import MEMS, squared_distances


def test_distances_far_from_the_origin_do_not_cancel() -> None:
    rng = np.random.default_rng(0)
    features, centers = (rng.standard_normal((n, 64)) + 300 for n in (10, 5))
    exact = ((features[:, None] - centers[None]) ** 2).sum(-1)
    distances = squared_distances(torch.from_numpy(features).float(), torch.from_numpy(centers).float())
    np.testing.assert_allclose(distances.numpy(), exact, rtol=1e-4)


@pytest.mark.parametrize(("margin", "is_separated"), [(3.7, False), (2 + 3**0.5 + 1e-4, True)])
def test_the_boundary_keeps_classes_apart_from_two_plus_root_three(margin: float, is_separated: bool) -> None:
    """On the line through two centres at distance 1, the ends of a class region are where its logits tie."""
    criterion = MEMS(2, 1, margin=margin).double()
    criterion.centers.data = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    line = torch.linspace(-1, 2, 300_001, dtype=torch.float64)[:, None]
    regions = []
    for label in (0, 1):
        logits = criterion.logits(line, torch.full((len(line),), label))
        regions.append(line[logits[:, label] >= logits[:, 1 - label]])
    largest_intra = max(float(region.max() - region.min()) for region in regions)
    smallest_inter = float(regions[1].min() - regions[0].max())
    assert largest_intra == pytest.approx(2 * margin / (margin**2 - 1), abs=1e-4)
    assert smallest_inter == pytest.approx((margin - 1) / (margin + 1), abs=1e-4)
    assert (largest_intra < smallest_inter) == is_separated
