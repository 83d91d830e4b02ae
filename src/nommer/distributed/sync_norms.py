"""Synchronised batch norms: on GPUs, torch's `SyncBatchNorm` over the batches of all processes."""

from lightning.pytorch.plugins import LayerSync
from timm.layers import BatchNormAct2d, SyncBatchNormAct
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from nommer.errors import InputError
from nommer.settings.choices import SyncNorms as SyncNormsChoice


def synchronises_norms(sync_norms: SyncNormsChoice, accelerator: str, *, usual: bool) -> bool:
    """Return whether batch norms are synchronised; `usual` is the choice of "auto" on GPUs.

    Raises:
        InputError: "on" for another device than a GPU.
    """
    if sync_norms == "on" and accelerator != "cuda":
        raise InputError(
            f"--sync-norms on: works on cuda devices only, and this run is on {accelerator}; use "
            "auto or off"
        )
    return accelerator == "cuda" and (sync_norms == "on" or (sync_norms == "auto" and usual))


class SyncNorms(LayerSync):
    """Synchronises the batch norms of a model while it is trained; afterwards they are as before.

    A synchronised batch norm is the same object of another class, so whoever holds it, its weights
    or its statistics, still does, and names in the state dict stay. Lightning's own plugin makes
    new ones, and those of timm lose the activation in them.
    """

    def __init__(self) -> None:
        self.plain: dict[_BatchNorm, type[nn.Module]] = {}

    def apply(self, model: nn.Module) -> nn.Module:
        """Synchronise every batch norm of `model`."""
        for norm in model.modules():
            if isinstance(norm, _BatchNorm):
                self.plain[norm] = type(norm)
                norm.process_group = None  # type: ignore[assignment]  # that is, all processes
                active = isinstance(norm, BatchNormAct2d)
                norm.__class__ = SyncBatchNormAct if active else nn.SyncBatchNorm
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """Give every batch norm its own class back."""
        for norm, kind in self.plain.items():
            norm.__class__ = kind  # type: ignore[assignment]
            del norm.process_group
        self.plain = {}
        return model
