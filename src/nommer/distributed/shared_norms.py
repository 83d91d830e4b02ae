"""Batch norms that see the batches of all processes.

Torch's on GPUs, and the same on CPUs, where torch has none.

Torch's `SyncBatchNorm` refuses tensors of a CPU, and `DistributedDataParallel` every model on a CPU
that holds one.
"""

from typing import Any, cast

import torch
import torch.distributed as dist
from lightning.pytorch.plugins import LayerSync
from timm.layers import BatchNormAct2d, SyncBatchNormAct
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class SharedNorms(LayerSync):
    """Lets Lightning share the batch norms of a model while it is trained.

    Afterwards they are what they were.

    A batch norm that is shared is the same object of another class: who holds it, its weights or
    its statistics, still does, and its names in a state dict stay. Those of timm that have an
    activation in them keep it.

    Args:
        on_gpus: whether the model is trained on GPUs.
    """

    def __init__(self, *, on_gpus: bool) -> None:
        self.on_gpus = on_gpus
        self.plain: dict[_BatchNorm, type[nn.Module]] = {}

    def apply(self, model: nn.Module) -> nn.Module:
        """Share every batch norm of `model`."""
        plain, active = (
            (nn.SyncBatchNorm, SyncBatchNormAct) if self.on_gpus else (SharedNorm, SharedNormAct)
        )
        for norm in model.modules():
            if isinstance(norm, _BatchNorm):
                self.plain[norm] = type(norm)
                norm.process_group = None  # type: ignore[assignment]  # that is, all processes
                norm.__class__ = active if isinstance(norm, BatchNormAct2d) else plain
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """Let every batch norm be what it was."""
        for norm, kind in self.plain.items():
            norm.__class__ = kind  # type: ignore[assignment]
            del norm.process_group
        self.plain = {}
        return model


class SharedNorm(nn.BatchNorm2d):
    """A batch norm over the batches of all processes, which may differ in size, or be empty."""

    def forward(self, maps: Tensor) -> Tensor:
        """Normalised maps (B, width, ...).

        With running statistics in evaluation mode, as any batch norm.
        """
        if not (self.training and dist.is_initialized()):
            return super().forward(maps)
        count, mean, variance = everyones_statistics(maps)
        self._follow(count, mean.detach(), variance.detach())
        shape = (1, -1, *[1] * (maps.ndim - 2))
        normal = (maps - mean.view(shape)) * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            normal = normal * self.weight.view(shape) + self.bias.view(shape)
        return normal.to(maps.dtype)

    def _follow(self, count: Tensor, mean: Tensor, variance: Tensor) -> None:
        """Let the running statistics follow those of a batch of `count` values per channel, as
        torch does.
        """
        if not self.track_running_stats:
            return
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked or 1) if self.momentum is None else self.momentum
        unbiased = variance * (count / (count - 1).clamp(min=1)).to(variance)
        cast("Tensor", self.running_mean).lerp_(mean, share)
        cast("Tensor", self.running_var).lerp_(unbiased, share)


class SharedNormAct(SharedNorm):
    """The same, with what timm's `BatchNormAct2d` does afterwards."""

    drop: nn.Module
    act: nn.Module

    def forward(self, maps: Tensor) -> Tensor:
        """Normalised maps after the activation."""
        return cast("Tensor", self.act(self.drop(super().forward(maps))))


@torch.compiler.disable  # type: ignore[untyped-decorator]  # what processes exchange is outside of any compiled pass
def everyones_statistics(maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Values per channel over the maps of all processes, and their mean and variance (width,), at
    least in float32.

    Each process sums around its own mean; what is exchanged, and put together, are float64 sums.
    """
    maps = maps.to(torch.promote_types(maps.dtype, torch.float32))
    axes = [axis for axis in range(maps.ndim) if axis != 1]
    own = maps.numel() // maps.shape[1]
    mean = maps.sum(axes, keepdim=True) / max(own, 1)
    spread = (maps - mean).square().sum(axes).double()
    mean = mean.flatten().double()
    squares, count = spread + own * mean.square(), mean.new_full((1,), own)
    sums = cast("Tensor", EveryonesSum.apply(torch.cat([own * mean, squares, count])))
    count = sums[-1:].detach().clamp(min=1)
    mean, square = (sums[:-1] / count).chunk(2)
    return count, mean.to(maps), (square - mean.square()).clamp(min=0).to(maps)


class EveryonesSum(torch.autograd.Function):
    """The sum of a tensor over all processes.

    Its gradient is that of the sum of all processes' losses.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        """The sum, the same in every process."""
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """What every process's loss asks of this process's values."""
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total
