"""Binary codes: a linear map fitted to the class centres alone (docs/method.md, Hash codes).

The map z = W x / sigma(W) + b is fitted so that the codes B of different classes disagree: the loss is the
mean off-diagonal entry of B B^T. As published, B = z / (|z| + 1e-8) with |z| taken as a constant, which
scales the gradient that passes the sign by 1 / |z|. sigma(W), the largest singular value, is estimated by one
power iteration before every step.

The problem is a few small matrices over 10,000 steps, and autograd and module calls would take most of the
time. So the gradient is written out here; tests compare it with PyTorch's autograd and with numbers of the
published program.
"""

import math
from dataclasses import dataclass

import numpy as np

FIT_STEPS = 10_000
FIT_LR = 1e-3
LR_STEP = 100  # steps at one learning rate, which falls linearly to 0
ADAM_BETAS, ADAM_EPSILON = (0.9, 0.999), 1e-8  # PyTorch's defaults
SIGN_EPSILON = 1e-8  # what the published program adds to |z|
WARM_UP = 15  # power iterations before the first step
FITS = 3  # fits per evaluation, each with its own seed
BLOCK = 4096  # images whose codes are computed at a time
# how the gradient passes the sign of z
GRADIENTS = {
    "published": "scaled by 1 / |z|, as the published program does",
    "identity": "as it is",
}


@dataclass
class CodeMap:
    """A linear map with bias to L bits under spectral normalisation.

    `weight` (L, D) and `bias` (L,): before normalisation. `u` (L,) and `v` (D,): estimates of the singular
    vectors of `weight` that belong to its largest singular value.
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
        """Update v and then u by one step, and return sigma."""
        self.v = normalise_vector(self.u @ self.weight)
        sigma_u = self.weight @ self.v
        self.u = normalise_vector(sigma_u)
        return float(self.u @ sigma_u)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """(N, D) -> (N, L), to be thresholded at 0."""
        return x @ self.weight.T / self.sigma + self.bias


def initialise_map(dim: int, bits: int, *, seed: int) -> CodeMap:
    """A map initialised as `torch.nn.Linear` is: uniform within 1 / sqrt(dim)."""
    rng = np.random.default_rng(seed)
    bound = dim**-0.5
    weight = rng.uniform(-bound, bound, (bits, dim)).astype(np.float32)
    bias = rng.uniform(-bound, bound, bits).astype(np.float32)
    u = normalise_vector(rng.standard_normal(bits).astype(np.float32))
    v = normalise_vector(rng.standard_normal(dim).astype(np.float32))
    code_map = CodeMap(weight, bias, u, v)
    for _ in range(WARM_UP):
        code_map.power_iteration()
    return code_map


def fit_code_map(
    centers: np.ndarray, bits: int, *, angular: bool, seed: int, gradient: str = "published"
) -> tuple[CodeMap, float]:
    """Fit a map of class centres (C, D) to `bits` bits with Adam, and return it and its final loss.

    With `angular` the centres are normalised first. `gradient`: see GRADIENTS. Raises ValueError for a single
    class.
    """
    if len(centers) < 2:
        raise ValueError("codes need at least two classes to tell apart")
    x = normalise_rows(centers) if angular else centers
    code_map = initialise_map(x.shape[1], bits, seed=seed)
    fit_steps(code_map, x.astype(np.float32), FIT_STEPS, gradient=gradient)
    return code_map, mean_agreement(binarise(code_map(x)))


def fit_steps(code_map: CodeMap, x: np.ndarray, steps: int, *, gradient: str = "published") -> None:
    """Change `code_map` in place so that the codes of `x` (C, D) agree less: `steps` steps of Adam."""
    weight, bias = Adam(code_map.weight), Adam(code_map.bias)
    agreement = AgreementGradient(code_map, x, gradient)
    for step in range(steps):
        sigma = code_map.power_iteration()
        agreement.compute(sigma, weight.gradient, bias.gradient)
        steps_at_earlier_rates = step // LR_STEP * LR_STEP
        lr = FIT_LR * (1 - steps_at_earlier_rates / FIT_STEPS)
        weight.update(lr)
        bias.update(lr)


class AgreementGradient:
    """The gradient of the mean agreement of the codes of `x` (C, D) with respect to a map's weight and bias.

    With s the sum of the codes B over classes, the loss is (|s|^2 - |B|^2) / (C (C - 1)), and its gradient
    with respect to the code of one class is 2 (s - B) / (C (C - 1)); `gradient` says how that passes the sign
    of z. Let G (L, C) be the result, the gradient with respect to z, and w = W x^T. Because sigma = u^T W v
    moves with W, too, the gradient with respect to W is

        (G x - (<G, w> / sigma) u v^T) / sigma

    which is one product of an (L, C + 1) and a (C + 1, D) matrix.
    """

    def __init__(self, code_map: CodeMap, x: np.ndarray, gradient: str) -> None:
        if gradient not in GRADIENTS:
            raise ValueError(f"gradient {gradient!r} is none of {', '.join(GRADIENTS)}")
        self.code_map, self.x, self.is_scaled = code_map, x, gradient == "published"
        self.left = np.empty((len(code_map.bias), len(x) + 1), x.dtype)  # [G / sigma, -<G, w> / sigma^2 u]
        self.right = np.concatenate([x, np.zeros_like(x[:1])])  # [x; v]

    def compute(self, sigma: float, of_weight: np.ndarray, of_bias: np.ndarray) -> None:
        """Write the gradient into `of_weight` (L, D) and `of_bias` (L,); `sigma` is that of the map."""
        code_map, classes = self.code_map, len(self.x)
        product = code_map.weight @ self.x.T  # (L, C)
        z = product / sigma + code_map.bias[:, None]
        if self.is_scaled:
            size = np.abs(z) + SIGN_EPSILON
            codes = z / size
        else:
            codes = binarise(z)
        gradient = (codes.sum(1, keepdims=True) - codes) * (2 / (classes * (classes - 1)))
        if self.is_scaled:
            gradient /= size
        self.left[:, :-1] = gradient / sigma
        self.left[:, -1] = -float(np.vdot(gradient, product)) / sigma**2 * code_map.u
        self.right[-1] = code_map.v
        np.matmul(self.left, self.right, out=of_weight)
        gradient.sum(1, out=of_bias)


class Adam:
    """Adam (Kingma and Ba, 2015, algorithm 1) on one array, in place and without temporary arrays.

    A step takes a tenth of a millisecond, most of which allocations would take.
    """

    def __init__(self, value: np.ndarray) -> None:
        self.value, self.steps = value, 0
        self.gradient = np.empty_like(value)  # to be filled before each update
        self.mean, self.mean_square = np.zeros_like(value), np.zeros_like(value)
        self.scratch = np.empty_like(value)

    def update(self, lr: float) -> None:
        """One step against `gradient`."""
        self.steps += 1
        scratch, (beta1, beta2) = self.scratch, ADAM_BETAS
        np.multiply(self.gradient, 1 - beta1, out=scratch)
        self.mean *= beta1
        self.mean += scratch
        np.square(self.gradient, out=scratch)
        scratch *= 1 - beta2
        self.mean_square *= beta2
        self.mean_square += scratch
        # value -= lr * (mean / (1 - beta1^t)) / (sqrt(mean_square / (1 - beta2^t)) + epsilon)
        correction = math.sqrt(1 - beta2**self.steps)
        np.sqrt(self.mean_square, out=scratch)
        scratch += ADAM_EPSILON * correction
        np.divide(self.mean, scratch, out=scratch)
        scratch *= lr * correction / (1 - beta1**self.steps)
        self.value -= scratch


def binarise(z: np.ndarray) -> np.ndarray:
    """1 where z > 0, else -1, in the dtype of z."""
    return np.where(z > 0, z.dtype.type(1), z.dtype.type(-1))


def mean_agreement(codes: np.ndarray) -> float:
    """Mean off-diagonal entry of B B^T for codes B (C, L) in {-1, 1}; about -L / (C - 1) at best."""
    classes, length = codes.shape
    return float((np.square(codes.sum(0)).sum() - classes * length) / (classes * (classes - 1)))


def binary_codes(features: np.ndarray, code_map: CodeMap, *, angular: bool) -> np.ndarray:
    """Features (N, D, M) -> bits (N, L) uint8: the mean over mirrors, mapped, 1 where that is above 0.

    Block by block: features may be mapped from a file that does not fit into memory.
    """
    codes = np.empty((len(features), len(code_map.bias)), dtype=np.uint8)
    for first in range(0, len(features), BLOCK):
        x = features[first : first + BLOCK].mean(-1)
        codes[first : first + BLOCK] = code_map(normalise_rows(x) if angular else x) > 0
    return codes


def normalise_rows(x: np.ndarray) -> np.ndarray:
    """`x` (N, D) with rows of length 1; a row of zeros stays."""
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def normalise_vector(vector: np.ndarray) -> np.ndarray:
    """`vector` at length 1, by the published formula."""
    return vector / (float(np.linalg.norm(vector)) + 1e-12)
