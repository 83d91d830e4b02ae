"""People's own parts of a training: callbacks, transforms, a loss, data sets."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nommer.errors import InputError
from nommer.settings.schema import Takes, given
from nommer.settings.train import OWN_DATA, TrainSettings

if TYPE_CHECKING:
    from lightning.pytorch import Callback
    from torch import nn
    from torch.utils.data import Dataset


@dataclass(frozen=True, kw_only=True)
class OwnParts:
    """Objects that `nommer.train` takes from Python only, beside its settings."""

    callbacks: "Sequence[Callback]" = ()
    transform: Callable[..., Any] | None = None
    loss: "nn.Module | Callable[..., Any] | None" = None
    datasets: "Mapping[str, Dataset[Any]] | None" = None

    @property
    def names(self) -> tuple[str, ...]:
        """Those that are given; none of them can be written down, nor reproduced by `--resume`."""
        return tuple(
            name for name, value in vars(self).items() if value is not None and value != ()
        )


@dataclass(frozen=True)
class TrainCall(TrainSettings):
    """Arguments of `nommer.train`: the settings of a training, and people's own parts."""

    data: Takes[Path, str] = given(OWN_DATA)
    """Labelled images, as `nommer train --data`; left out where `datasets` are given."""
    callbacks: Any = ()
    """Lightning's callbacks, called after this package's own."""
    transform: Any = None
    """Random change of the training images, in place of `augment`.
    One of torchvision's v2 or of albumentations."""
    loss: Any = None
    """Loss of the network's outputs and the targets, in place of the task's own."""
    datasets: Any = None
    """Torch data sets by split, "train" and maybe "val", in place of `data`.
    Map-style, of pairs of an image and its target (docs/extend.md). Names of classes are
    `datasets["classes"]`, or the attribute `classes` of "train"."""

    def check(self) -> None:
        """Refuse values out of range, and a training on nothing or on two things."""
        super().check()
        if (self.data == OWN_DATA) == (self.datasets is None):
            raise InputError(
                "nommer.train: needs data or datasets, got "
                f"{'neither' if self.datasets is None else 'both'}; give one of them"
            )

    def settings(self) -> TrainSettings:
        """Return the settings alone, which are written down."""
        return TrainSettings(**{one.name: getattr(self, one.name) for one in fields(TrainSettings)})

    def own_parts(self) -> OwnParts:
        """Return what is given besides the settings."""
        return OwnParts(**{one.name: getattr(self, one.name) for one in fields(OwnParts)})
