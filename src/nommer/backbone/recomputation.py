"""Gradient checkpointing: activations of a block are computed again in the backward pass."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from nommer.shapes import TokensOrGrid


def recomputed_in_backward(block: nn.Module, x: TokensOrGrid) -> TokensOrGrid:
    """Return `block(x)`, whose activations are recomputed in the backward pass, not kept.

    The recomputation draws the same noise and drop path, so it nominates the same contexts.
    """
    if torch.compiler.is_compiling():  # statistics change once, at the end of the forward pass
        return checkpoint(block, x, use_reentrant=False)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), frozen_batch_statistics(block)

    return checkpoint(block, x, use_reentrant=False, context_fn=contexts)


@contextmanager
def frozen_batch_statistics(module: nn.Module) -> Iterator[None]:
    """Leave the running statistics of batch norms as they are: a batch must not count twice.

    The batch norms go on tracking, with momentum 0, because the recomputation must save the same
    tensors as the first pass; and they count in copies, because synchronised ones insist on it.
    """
    norms = [norm for norm in module.modules() if isinstance(norm, _BatchNorm)]
    before = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm, _, batches in before:
        norm.momentum, norm.num_batches_tracked = 0.0, None if batches is None else batches.clone()
    try:
        yield
    finally:
        for norm, momentum, batches in before:
            norm.momentum, norm.num_batches_tracked = momentum, batches
