"""Features of images and their mirrors."""

import numpy as np
import torch

from retrieval.embed import embed


class Corner(torch.nn.Module):
    """Two features: the top left and top right red values, offset by the domain."""

    def forward(self, images: torch.Tensor, domain: torch.Tensor) -> torch.Tensor:
        return torch.stack([images[:, 0, 0, 0], images[:, 0, 0, -1]], dim=1) + 10 * domain[:, None]


def test_mirrors_domain_and_order() -> None:
    images = torch.rand(5, 3, 4, 4)
    batches = [(images[:3], torch.zeros(3)), (images[3:], torch.zeros(2))]
    for domain in (0, 1):
        parts = list(embed(Corner(), batches, domain=domain, device=torch.device("cpu")))
        assert [part.shape for part in parts] == [(2, 3, 2), (2, 2, 2)]
        found = torch.cat(parts, dim=1).numpy()
        assert found.dtype == np.float32
        left, right = images[:, 0, 0, 0].numpy(), images[:, 0, 0, -1].numpy()
        np.testing.assert_allclose(found[0, :, 0], left + 10 * domain)
        np.testing.assert_allclose(found[0, :, 1], right + 10 * domain)
        np.testing.assert_allclose(found[1, :, 1], left + 10 * domain)
