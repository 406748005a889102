"""Binary codes: a linear map fitted on the class centres alone (docs/method.md, Hash codes).

The map z = W x / sigma(W) + b is fitted so that the codes B of different classes disagree: the loss is the
mean off-diagonal entry of B B^T. As published, B = z / (|z| + 1e-8) with |z| taken as a constant, which
scales the gradient that passes the sign by 1 / |z|. sigma(W), the largest singular value, is followed by one
power iteration before every step. The problem is a few small matrices over 10,000 steps, so that autograd and
module calls would be most of the time: the gradient is written out here, and tests hold it against PyTorch's
own and against numbers of the published program.
"""

import math
from dataclasses import dataclass

import numpy as np

FIT_STEPS = 10_000
FIT_LR = 1e-3
LR_STEP = 100  # the learning rate falls linearly to 0, once every so many steps
BETAS, EPSILON = (0.9, 0.999), 1e-8  # Adam's defaults
BLOCK = 4096  # images whose codes are taken at a time
WARM_UP = 15  # power iterations before the first step
FITS = 3  # fits of a test, each with a seed of its own
GRADIENTS = {
    "published": "scaled by 1 / |z|, as the published program does",
    "identity": "as it is",
}  # how the gradient passes the sign of z
TINY = 1e-8  # what the published program adds to |z|


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
        """Follow `weight` with v and then u by one step, and return sigma: W v is sigma u by then."""
        self.v = unit(self.u @ self.weight)
        along = self.weight @ self.v
        self.u = unit(along)
        return float(self.u @ along)

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


def fit_code_map(
    centers: np.ndarray, bits: int, *, angular: bool, seed: int, gradient: str = "published"
) -> tuple[CodeMap, float]:
    """Fit class centres (C, D) -> `bits` bits with Adam, and return the map and its final loss.

    With `angular` the centres are normalised first. `gradient`: see GRADIENTS. Raises ValueError for a single
    class.
    """
    if len(centers) < 2:
        raise ValueError("codes need at least two classes to tell apart")
    x = normalised(centers) if angular else centers
    code_map = initial_map(x.shape[1], bits, seed=seed)
    code_map = fit(code_map, x.astype(np.float32), FIT_STEPS, gradient=gradient)
    return code_map, mean_agreement(signs(code_map(x)))


def fit(code_map: CodeMap, x: np.ndarray, steps: int, *, gradient: str = "published") -> CodeMap:
    """Minimise the mean agreement of the codes of `x` (C, D), in place, and return the map."""
    weight, bias = Adam(code_map.weight), Adam(code_map.bias)
    slopes = Slopes(code_map, x, gradient)
    for step in range(steps):
        slopes.at_next_step(weight.slope, bias.slope)
        lr = FIT_LR * (1 - step // LR_STEP * LR_STEP / FIT_STEPS)
        weight.update(lr)
        bias.update(lr)
    return code_map


class Slopes:
    """The gradient of the mean agreement of the codes of `x` (C, D) with respect to a map's weight and bias.

    With s the sum of the codes B over classes, the loss is (|s|^2 - |B|^2) / (C (C - 1)), and its gradient
    with respect to the code of one class 2 (s - B) / (C (C - 1)); `gradient` says how that passes the sign.
    With w = W x, that of W is (slope x - (slope . w / sigma) u v^T) / sigma, because sigma moves with W too:
    one product, of C + 1 rows.
    """

    def __init__(self, code_map: CodeMap, x: np.ndarray, gradient: str) -> None:
        if gradient not in GRADIENTS:
            raise ValueError(f"gradient {gradient!r} is none of {', '.join(GRADIENTS)}")
        self.code_map, self.x, self.scaled = code_map, x, gradient == "published"
        self.left = np.empty((len(code_map.bias), len(x) + 1), x.dtype)
        self.right = np.concatenate([x, np.zeros_like(x[:1])])

    def at_next_step(self, of_weight: np.ndarray, of_bias: np.ndarray) -> None:
        """Take one power iteration, then write the gradient into `of_weight` (L, D) and `of_bias` (L,)."""
        count, left = len(self.x), self.left
        sigma = self.code_map.power_iteration()
        product = self.code_map.weight @ self.x.T  # (L, C)
        z = product / sigma + self.code_map.bias[:, None]
        if self.scaled:
            size = np.abs(z) + TINY
            codes = z / size
        else:
            codes = signs(z)
        slope = (codes.sum(1, keepdims=True) - codes) * (2 / (count * (count - 1)))
        if self.scaled:
            slope /= size
        left[:, :-1] = slope / sigma
        left[:, -1] = -float(np.vdot(slope, product)) / sigma**2 * self.code_map.u
        self.right[-1] = self.code_map.v
        np.matmul(left, self.right, out=of_weight)
        slope.sum(1, out=of_bias)


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
    """`vector` at length 1, by the published formula."""
    return vector / (float(np.linalg.norm(vector)) + 1e-12)
