"""Gradient checkpointing: activations inside a block are recomputed in the backward pass, not stored.

Memory then grows with the number of blocks, not with their activations; a step takes about a third longer
(Chen et al., arXiv 1604.06174). Weights and running statistics are the same as without.
"""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def enable_gradient_checkpointing(blocks: Iterable[nn.Module]) -> None:
    """Let each of `blocks` store only its input for the backward pass. Blocks must not contain dropout."""
    for block in blocks:
        block.forward = partial(
            checkpoint,
            block.forward,
            use_reentrant=False,
            preserve_rng_state=False,
            context_fn=partial(pass_contexts, block),
        )


def pass_contexts(block: nn.Module) -> tuple[AbstractContextManager, AbstractContextManager]:
    """Contexts of the first pass through `block` and of the recomputation."""
    return nullcontext(), frozen_statistics(block)


@contextmanager
def frozen_statistics(block: nn.Module) -> Iterator[None]:
    """Do not update running means and variances: the first pass did that already."""
    norms = [module for module in block.modules() if isinstance(module, _BatchNorm)]
    counts = [norm.get_buffer("num_batches_tracked") for norm in norms]
    saved = [(norm.momentum, count.clone()) for norm, count in zip(norms, counts, strict=True)]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, count, (momentum, batches) in zip(norms, counts, saved, strict=True):
            norm.momentum = momentum
            count.copy_(batches)
