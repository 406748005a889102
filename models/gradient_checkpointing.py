"""Gradient checkpointing: what a block computes is computed again in the backward pass, not kept until then.

Memory then grows with the number of blocks, not with what they hold; a step takes about a third longer
(Chen et al., arXiv 1604.06174). Weights and running statistics come out the same.
"""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def recompute(blocks: Iterable[nn.Module]) -> None:
    """Let each of `blocks` keep its input alone for the backward pass. They must not hold dropout."""
    for block in blocks:
        block.forward = partial(
            checkpoint,
            block.forward,
            use_reentrant=False,
            preserve_rng_state=False,
            context_fn=partial(contexts, block),
        )


def contexts(block: nn.Module) -> tuple[AbstractContextManager, AbstractContextManager]:
    """For the first pass through `block`, and for the second."""
    return nullcontext(), frozen_statistics(block)


@contextmanager
def frozen_statistics(block: nn.Module) -> Iterator[None]:
    """Running means and variances have seen this batch already, in the first pass."""
    norms = [each for each in block.modules() if isinstance(each, _BatchNorm)]
    counts = [norm.get_buffer("num_batches_tracked") for norm in norms]
    usual = [(norm.momentum, count.clone()) for norm, count in zip(norms, counts, strict=True)]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, count, (momentum, batches) in zip(norms, counts, usual, strict=True):
            norm.momentum = momentum
            count.copy_(batches)
