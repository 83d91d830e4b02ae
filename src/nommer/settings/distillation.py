"""Settings of learning from a teacher: `nommer train --teacher` and `nommer pretrain`."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from nommer.errors import InputError, check_share
from nommer.settings.schema import Settings, Takes, given


@dataclass(frozen=True, kw_only=True)
class DistillationOptions(Settings):
    """Imitation of a teacher by the student.

    Raises:
        InputError: a value out of range; the message names it.
    """

    prefix: ClassVar[str] = "distillation."

    imitate: Literal["auto", "answers", "hard", "features", "both"] = "auto"
    """Part that is imitated: the teacher's soft answers, its hard ones (DeiT), its feature maps, or
    soft answers and maps. By default both where the classes are the same, else the maps."""
    temperature: float = 2.0
    """Temperature of the soft answers, of student and teacher alike."""
    share: float = 0.8
    """Share of the answers' loss, from 0 to 1; the rest is the loss of the labels."""
    feature_weight: float = 1.0
    """Weight of the loss of the feature maps, which is added."""
    image_size: int | None = None
    """Side in pixels to which images are enlarged for the teacher. By default they are left as the
    student sees them."""
    weights: Takes[Path | None, str] = given(None)
    """For a teacher timm:NAME: file of its weights. By default timm's own, through its hub."""

    def check(self) -> None:
        """Refuse values out of range."""
        if not self.temperature > 0:
            raise InputError(f"distillation.temperature must be above 0, got {self.temperature}")
        check_share("distillation.share", self.share)
        if not self.feature_weight >= 0:
            raise InputError(
                f"distillation.feature_weight must be 0 or more, got {self.feature_weight}"
            )
        if self.image_size is not None and self.image_size < 32:
            raise InputError(f"distillation.image_size must be 32 or more, got {self.image_size}")
