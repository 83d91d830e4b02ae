"""People's own parts of a training: callbacks, transforms, a loss, data sets."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning.pytorch import Callback
    from torch import nn
    from torch.utils.data import Dataset


@dataclass(frozen=True, kw_only=True)
class OwnParts:
    """Objects that `nommer.train` takes from Python only, beside its settings."""

    callbacks: "Sequence[Callback]" = ()
    """Lightning's callbacks, called after this package's own."""
    transform: Callable[..., Any] | None = None
    """Random change of the training images, of torchvision's v2 or of albumentations, in place of
    `augment`.
    """
    loss: "nn.Module | Callable[..., Any] | None" = None
    """Loss of the network's outputs and the targets, in place of the task's own."""
    datasets: "Mapping[str, Dataset[Any]] | None" = None
    """Data sets by split, "train" and "val", in place of `data`."""

    @property
    def names(self) -> tuple[str, ...]:
        """Those that are given; none of them can be written down, nor reproduced by `--resume`."""
        return tuple(
            name for name, value in vars(self).items() if value is not None and value != ()
        )
