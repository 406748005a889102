"""Average pooling to a fixed size, with a deterministic gradient where deterministic algorithms are on."""

import torch
from torch import Tensor, nn


class AveragePool(nn.AdaptiveAvgPool2d):
    """As PyTorch's, to a square of `output_size`: (B, C, H, W) -> (B, C, output_size, output_size).

    On CUDA the gradient of PyTorch's is summed in random order. Where deterministic algorithms are on, two
    matrix products are used instead.
    """

    output_size: int

    def forward(self, images: Tensor) -> Tensor:
        if not (images.is_cuda and torch.are_deterministic_algorithms_enabled()):
            return super().forward(images)
        return pool_by_matmul(images, self.output_size)


def pool_by_matmul(images: Tensor, size: int) -> Tensor:
    """(B, C, H, W) -> (B, C, size, size): adaptive average pooling, equal but for rounding."""
    rows, columns = (averaging_matrix(length, size).to(images) for length in images.shape[-2:])
    return rows @ images @ columns.T


def averaging_matrix(length: int, size: int) -> Tensor:
    """(size, length) float32: the weights of `length` inputs in each of `size` averages; rows sum to 1."""
    matrix = torch.zeros(size, length)
    for row in range(size):
        window = slice(row * length // size, -(-(row + 1) * length // size))
        matrix[row, window] = 1 / (window.stop - window.start)
    return matrix
