"""Likeness of a student's features to a teacher's: the loss that it learns by, and the measure.

Sources: LightlyTrain's distillation (pooled and dense features of a frozen teacher, no labels);
Li et al., "Locality Guidance" (2022, arXiv 2207.10026), for maps at the same stride.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nommer.settings.pretrain import ImitationOptions
from nommer.shapes import FeatureMap, Images
from nommer.tasks.distillation import Distillation, Teacher, standardised


@dataclass(frozen=True)
class Likeness:
    """Numbers of every image of a batch, (B,) each."""

    loss: Tensor
    """`feature_weight` times the mean over the maps of the squared error, and `pooled_weight` times
    that of the pooled features; both of standardised features."""
    maps: Tensor
    """Cosine of the projected and the teacher's standardised features, the mean over places and
    maps; from -1 to 1."""
    pooled: Tensor
    """The same of the pooled features."""


class Imitation(Distillation):
    """Projections from a student's maps and pooled features to a teacher's, and their losses.

    Args:
        teacher: that pools.
        settings: weights, and the size of the teacher's images.
        features: numbers of pooled features, the student's and the teacher's.
        sizes: of maps and images, as `Distillation` takes them.

    Raises:
        InputError: no map of the teacher has the stride of one of the student's.
    """

    settings: ImitationOptions

    def __init__(
        self,
        teacher: Teacher,
        settings: ImitationOptions,
        *,
        features: tuple[int, int],
        **sizes: Any,
    ) -> None:
        super().__init__(teacher, settings, **sizes)
        self.pooled_projection = nn.Linear(*features)

    def compare(self, images: Images, maps: Sequence[FeatureMap], pooled: Tensor) -> Likeness:
        """Compare a student's maps, finest first, and pooled features with the teacher's."""
        knowledge = self.teacher.to(images.device)(images)
        compared = [
            _compared(projection(maps[own]), knowledge.maps[theirs])
            for projection, (own, theirs) in zip(self.projections, self.pairs, strict=True)
        ]
        errors, cosines = (torch.stack(values).mean(0) for values in zip(*compared, strict=True))
        as_maps = (
            self.pooled_projection(pooled)[..., None, None],
            knowledge.pooled[..., None, None],
        )
        pooled_error, pooled_cosine = _compared(*as_maps)
        weights = self.settings
        loss = weights.feature_weight * errors + weights.pooled_weight * pooled_error
        return Likeness(loss, cosines.detach(), pooled_cosine.detach())


def _compared(given: FeatureMap, teacher: FeatureMap) -> tuple[Tensor, Tensor]:
    """Return the squared error and the cosine of every image, means over its places: (B,) each."""
    wanted, found = standardised(given, teacher), given.float().movedim(1, -1)
    errors = (found - wanted).square().mean((1, 2, 3))
    return errors, F.cosine_similarity(found, wanted, dim=-1).mean((1, 2))
