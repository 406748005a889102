"""Binary codes: a linear map fitted on the class centres alone (docs/method.md, Hash codes).

The map x -> sign(W x / sigma(W) + b) is fitted so that the codes B in {-1, 1} of different classes disagree:
the loss is the mean off-diagonal entry of B B^T. sigma(W), the largest singular value, is followed by one
power iteration a step, as `torch.nn.utils.parametrizations.spectral_norm` does, and the sign passes gradients
as if it were the identity. The problem is a few small matrices over 10,000 steps, so that autograd and
module calls would be most of the time: the gradient is written out here, and a test holds it against
PyTorch's own.
"""

import math
from dataclasses import dataclass

import numpy as np

FIT_STEPS = 10_000
FIT_LR = 1e-3
LR_STEP = 100  # the learning rate falls linearly to 0, once every so many steps
BETAS, EPSILON = (0.9, 0.999), 1e-8  # Adam's defaults
BLOCK = 4096  # images whose codes are taken at a time
WARM_UP = 15  # power iterations before the first step, spectral_norm's default


@dataclass
class CodeMap:
    """A linear map with bias to L bits under spectral normalisation.

    weight (L, D) and bias (L,): before normalisation. u (L,) and v (D,): the singular vectors followed.
    """

    weight: np.ndarray
    bias: np.ndarray
    u: np.ndarray
    v: np.ndarray

    @property
    def sigma(self) -> float:
        """The spectral norm of `weight`, as far as u and v have converged."""
        return float(self.u @ (self.weight @ self.v))

    def power_iteration(self) -> float:
        """Follow `weight` with u and v by one step, and return sigma: W^T u is sigma v by then."""
        self.u = unit(self.weight @ self.v)
        along = self.u @ self.weight
        self.v = unit(along)
        return float(np.linalg.norm(along))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """(N, D) -> (N, L), to be thresholded at 0."""
        return x @ self.weight.T / self.sigma + self.bias


def initial_map(dim: int, bits: int, *, seed: int) -> CodeMap:
    """A map as `torch.nn.Linear` starts: uniform within 1 / sqrt(dim)."""
    rng = np.random.default_rng(seed)
    bound = dim**-0.5
    weight = rng.uniform(-bound, bound, (bits, dim)).astype(np.float32)
    bias = rng.uniform(-bound, bound, bits).astype(np.float32)
    u, v = (unit(rng.standard_normal(size).astype(np.float32)) for size in (bits, dim))
    code_map = CodeMap(weight, bias, u, v)
    for _ in range(WARM_UP):
        code_map.power_iteration()
    return code_map


def fit_code_map(centers: np.ndarray, bits: int, *, angular: bool, seed: int) -> tuple[CodeMap, float]:
    """Fit class centres (C, D) -> `bits` bits with Adam, and return the map and its final loss.

    With `angular` the centres are normalised first. Raises ValueError for a single class.
    """
    if len(centers) < 2:
        raise ValueError("codes need at least two classes to tell apart")
    x = normalised(centers) if angular else centers
    code_map = initial_map(x.shape[1], bits, seed=seed)
    code_map = fit(code_map, x.astype(np.float32), FIT_STEPS)
    return code_map, mean_agreement(signs(code_map(x)))


def fit(code_map: CodeMap, x: np.ndarray, steps: int) -> CodeMap:
    """Minimise the mean agreement of the codes of `x` (C, D), in place, and return the map.

    With s the sum of the codes over classes, the loss is (|s|^2 - C L) / (C (C - 1)), and its gradient with
    respect to the code of one class 2 (s - B) / (C (C - 1)). With z = W x, that of W is
    (slope x - (slope . z / sigma) u v^T) / sigma, because sigma moves with W too: one product, of C + 1 rows.
    """
    count = len(x)
    weight, bias = Adam(code_map.weight), Adam(code_map.bias)
    left = np.empty((len(code_map.bias), count + 1), x.dtype)
    right = np.concatenate([x, np.zeros_like(x[:1])])
    for step in range(steps):
        sigma = code_map.power_iteration()
        z = code_map.weight @ x.T  # (L, C)
        codes = signs(z + sigma * code_map.bias[:, None])
        slope = (codes.sum(1, keepdims=True) - codes) * (2 / (count * (count - 1)))
        left[:, :-1] = slope / sigma
        left[:, -1] = -float(np.vdot(slope, z)) / sigma**2 * code_map.u
        right[-1] = code_map.v
        np.matmul(left, right, out=weight.slope)
        slope.sum(1, out=bias.slope)
        lr = FIT_LR * (1 - step // LR_STEP * LR_STEP / FIT_STEPS)
        weight.update(lr)
        bias.update(lr)
    return code_map


class Adam:
    """Adam (Kingma and Ba, 2015, algorithm 1) on one array, in place and without temporary arrays.

    A step here takes a tenth of a millisecond, of which memory would be most.
    """

    def __init__(self, value: np.ndarray) -> None:
        self.value, self.steps = value, 0
        self.slope = np.empty_like(value)  # to be filled before each update
        self.mean, self.square, self.free = np.zeros_like(value), np.zeros_like(value), np.empty_like(value)

    def update(self, lr: float) -> None:
        """One step against `slope`."""
        self.steps += 1
        free, (decay, square_decay) = self.free, BETAS
        np.multiply(self.slope, 1 - decay, out=free)
        self.mean *= decay
        self.mean += free
        np.square(self.slope, out=free)
        free *= 1 - square_decay
        self.square *= square_decay
        self.square += free
        correction = math.sqrt(1 - square_decay**self.steps)
        np.sqrt(self.square, out=free)
        free += EPSILON * correction
        np.divide(self.mean, free, out=free)
        free *= lr * correction / (1 - decay**self.steps)
        self.value -= free


def signs(z: np.ndarray) -> np.ndarray:
    """1 where z > 0, else -1, in the type of z."""
    return np.where(z > 0, z.dtype.type(1), z.dtype.type(-1))


def mean_agreement(codes: np.ndarray) -> float:
    """Mean off-diagonal entry of B B^T for codes B (C, L) in {-1, 1}; about -L / (C - 1) at best."""
    count, length = codes.shape
    return float((np.square(codes.sum(0)).sum() - count * length) / (count * (count - 1)))


def binary_codes(features: np.ndarray, code_map: CodeMap, *, angular: bool) -> np.ndarray:
    """Features (N, D, 2) -> bits (N, L) uint8: mirrors averaged, mapped, thresholded at 0.

    Block by block: features may be mapped from a file that does not fit into memory.
    """
    codes = np.empty((len(features), len(code_map.bias)), dtype=np.uint8)
    for first in range(0, len(features), BLOCK):
        x = features[first : first + BLOCK].mean(-1)
        codes[first : first + BLOCK] = code_map(normalised(x) if angular else x) > 0
    return codes


def normalised(x: np.ndarray) -> np.ndarray:
    """Rows of unit length; a row of zeros stays."""
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)
