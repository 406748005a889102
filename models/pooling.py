"""Average pooling to a fixed size whose gradient repeats to the last bit where that is asked for."""

import torch
from torch import Tensor, nn


class AveragePool(nn.AdaptiveAvgPool2d):
    """As PyTorch's, to a square of `output_size`: (B, C, H, W) -> (B, C, output_size, output_size).

    On CUDA its gradient is summed in any order. Where algorithms have to be deterministic, two matrix
    products do the same.
    """

    output_size: int

    def forward(self, images: Tensor) -> Tensor:
        if not (images.is_cuda and torch.are_deterministic_algorithms_enabled()):
            return super().forward(images)
        return pool_by_matmul(images, self.output_size)


def pool_by_matmul(images: Tensor, size: int) -> Tensor:
    """(B, C, H, W) -> (B, C, size, size): equal to adaptive average pooling but for rounding."""
    rows, columns = (averaging_matrix(length, size).to(images) for length in images.shape[-2:])
    return rows @ images @ columns.T


def averaging_matrix(length: int, size: int) -> Tensor:
    """(size, length) float32: what part of each of `size` means comes from each of `length` places."""
    found = torch.zeros(size, length)
    for each in range(size):
        window = slice(each * length // size, -(-(each + 1) * length // size))
        found[each, window] = 1 / (window.stop - window.start)
    return found
