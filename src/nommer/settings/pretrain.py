"""Everything that `nommer pretrain` is told: a training's settings, but for what is of labels."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from nommer.errors import InputError
from nommer.settings.addresses import whole
from nommer.settings.augmentation import Augmentation
from nommer.settings.classification import ClassificationOptions
from nommer.settings.detection import DetectionOptions
from nommer.settings.distillation import DistillationOptions
from nommer.settings.labels import LabelOptions
from nommer.settings.schema import Takes, given, required
from nommer.settings.segmentation import SegmentationOptions
from nommer.settings.train import TrainSettings


@dataclass(frozen=True, kw_only=True)
class ImitationOptions(DistillationOptions):
    """Imitation of a teacher by a network without classes.

    Raises:
        InputError: a value out of range; the message names it.
    """

    imitate: ClassVar[Literal["features"]] = "features"  # type: ignore[misc]  # nothing else here
    temperature: ClassVar[float] = 1.0  # type: ignore[misc]
    share: ClassVar[float] = 0.0  # type: ignore[misc]

    pooled_weight: float = 1.0
    """Weight of the loss of the pooled features, beside that of the maps."""

    def check(self) -> None:
        """Refuse values out of range."""
        super().check()
        if not self.pooled_weight >= 0:
            raise InputError(
                f"distillation.pooled_weight must be 0 or more, got {self.pooled_weight}"
            )
        if not self.pooled_weight + self.feature_weight > 0:
            raise InputError(
                "distillation.feature_weight and distillation.pooled_weight are both 0: nothing "
                "would be imitated; give one of them"
            )


@dataclass(frozen=True)
class PretrainSettings(TrainSettings):
    """Settings of a pretraining without labels.

    They are those of a training; what is of labels is a constant here and no option.

    Raises:
        InputError: a value of another type, or out of range; the message names it.
    """

    command: ClassVar[str] = "pretrain"
    task: ClassVar[str | None] = "features"
    rare: ClassVar[frozenset[str]] = TrainSettings.rare | {"neighbours", "nodes", "cache"}

    classes: ClassVar[None] = None  # type: ignore[misc]  # constants in the place of options
    compile: ClassVar[bool] = False  # type: ignore[misc]
    freeze: ClassVar[int] = 0  # type: ignore[misc]
    reinit_head: ClassVar[bool] = False  # type: ignore[misc]
    folds: ClassVar[None] = None  # type: ignore[misc]
    fold: ClassVar[None] = None  # type: ignore[misc]
    labels: ClassVar[LabelOptions] = LabelOptions()  # type: ignore[misc]
    classification: ClassVar[ClassificationOptions] = ClassificationOptions()  # type: ignore[misc]
    segmentation: ClassVar[SegmentationOptions] = SegmentationOptions()  # type: ignore[misc]
    detection: ClassVar[DetectionOptions] = DetectionOptions()  # type: ignore[misc]

    data: Takes[Path, str] = required()
    """Images: a folder, searched deeply, an archive, or shards; labels are ignored.
    Archives in a folder are looked into. Folders of masks beside folders of images, and splits
    called test, are left out and listed; a split called val is held back."""
    _: KW_ONLY
    teacher: Takes[str, Path] = required()
    """Model whose features are imitated: a run, a name of the zoo, or timm:NAME."""
    more_data: tuple[Path, ...] = ()
    """More images, besides those of --data; as many places as wanted."""
    out: Takes[Path, str] = given(Path("runs/pretrain"))
    """Run folder, made by this command."""
    batch_size: int | Literal["auto"] | None = None
    """Images per step and process. auto is the largest that fits into 90 % of a GPU's free memory
    or half of a CPU's, at most a tenth of the training images. By default 64."""
    image_size: int | None = None
    """Side of the square input in pixels.
    32 or more. Smaller images keep their own size. By default 224."""
    augment: Takes[Augmentation, Mapping[str, Any]] = given(Augmentation())
    """Random changes of the training images, which the teacher sees too."""
    val_fraction: float = 0.05
    """Share of the images held back where there is no val folder, to evaluate the imitation on."""
    probe: Takes[Path | None, str] = given(None)
    """Images with classes, to tell each epoch how many are known by their neighbours.
    Anything that train takes for classes. The best epoch is the best by this; without it, the one
    that is most like the teacher on the images held back."""
    neighbours: int = 20
    """Nearest training images of the probe that vote."""
    linear_probe: bool = False
    """Besides, a linear classifier on the frozen features of the probe, each epoch."""
    licence: str | None = None
    """Terms of images and teacher, for the card of the result. By default unknown."""
    distillation: Takes[ImitationOptions, Mapping[str, Any]] = given(ImitationOptions())
    """Imitation of the teacher."""

    def check(self) -> None:
        """Refuse values out of range, and what is of labels."""
        super().check()
        optim: Any = self.optim
        if optim.label_smoothing:
            raise InputError("--optim.label-smoothing: there are no labels; leave it out")
        if self.neighbours < 1:
            raise InputError(f"--neighbours must be 1 or more, got {self.neighbours}")
        if self.linear_probe and self.probe is None:
            raise InputError("--linear-probe: does nothing without --probe; give both or none")

    @property
    def places(self) -> tuple[Path, ...]:
        """The places of all images."""
        return (self.data, *self.more_data)

    def with_whole_paths(self) -> "PretrainSettings":
        """Return a copy with absolute paths, so that they hold wherever the settings are read."""
        here: Any = super().with_whole_paths()
        return replace(
            here,
            more_data=tuple(whole(path) for path in self.more_data),
            probe=self.probe and whole(self.probe),
        )
