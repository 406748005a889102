"""Binary codes: a linear map fitted on the class centres alone (paper, section 3.4; SPEC section 4)."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

FIT_STEPS = 10_000
FIT_LR = 1e-3
LR_STEP = 100  # the learning rate falls linearly to 0, once every so many steps


def fit_code_map(centers: Tensor, bits: int, *, angular: bool, seed: int) -> tuple[nn.Module, float]:
    """Fit (num_classes, f_dim) centres -> `bits` bits, and return the map and its final loss.

    A linear map with bias, under spectral normalisation. The loss is the mean off-diagonal entry of B B^T
    over the classes' codes B in {-1, 1}: the codes of two classes shall differ. With `angular` the centres
    are normalised first. Runs on the CPU: the matrices are small. Raises ValueError for one class.
    """
    if len(centers) < 2:
        raise ValueError("codes need at least two classes to tell apart")
    centers = centers.detach().float().cpu()
    if angular:
        centers = F.normalize(centers)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.default_generator.manual_seed(seed)
        code_map = spectral_norm(nn.Linear(centers.shape[1], bits))
    optimizer = torch.optim.Adam(code_map.parameters(), lr=FIT_LR)
    loss = torch.zeros(())
    for step in range(FIT_STEPS):
        for group in optimizer.param_groups:
            group["lr"] = FIT_LR * (1 - step // LR_STEP * LR_STEP / FIT_STEPS)
        loss = mean_agreement(straight_through_sign(code_map(centers)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    code_map.eval()
    with torch.no_grad():
        return code_map, float(mean_agreement(straight_through_sign(code_map(centers))))


def straight_through_sign(x: Tensor) -> Tensor:
    """1 where x > 0, else -1; the gradient passes as if it were x."""
    sign = (x > 0).to(x.dtype) * 2 - 1
    return x + (sign - x).detach()


def mean_agreement(codes: Tensor) -> Tensor:
    """Mean off-diagonal entry of B B^T for codes B (C, bits) in {-1, 1}: from about -bits/(C-1) to bits."""
    count = len(codes)
    total = codes.sum(0).square().sum()  # the sum over all of B B^T
    return (total - codes.square().sum()) / (count * (count - 1))


@torch.no_grad()
def codes(features: np.ndarray, code_map: nn.Module, *, angular: bool) -> np.ndarray:
    """Features (N, f_dim, 2) -> bits (N, L) uint8: mirrors averaged, mapped, thresholded at 0."""
    x = torch.from_numpy(features).float().mean(-1)
    if angular:
        x = F.normalize(x)
    return (code_map(x) > 0).to(torch.uint8).numpy()
