"""Networks of ensembles: the members' calibrated answers, and their mean.

Source of the mean: Lakshminarayanan et al., "Simple and Scalable Predictive Uncertainty Estimation
using Deep Ensembles", NeurIPS 2017; of boxes: Solovyev et al., "Weighted boxes fusion", Image and
Vision Computing 2021.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import batched_nms, box_iou

from nommer.models.decisions import EDGE
from nommer.models.inference import DenseNetwork
from nommer.models.rcnn import Image, ObjectNetwork
from nommer.models.upernet import enlarge
from nommer.shapes import ClassMap, Images, Logits, PixelLogits

_MAJORITY = 0.5


class Ensemble(nn.Module):
    """Networks of several models as one.

    Each member's scores are calibrated by what was found on the images that it held back.
    """

    def __init__(self, members: Sequence[Any]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.num_classes = len(members[0].class_names)

    @property
    def each(self) -> list[Any]:
        """The models."""
        return list(self.members)

    @property
    def backbone(self) -> "Ensemble":
        """Itself, for there is no single network to look into."""
        return self


class ClassEnsemble(Ensemble):
    """Classifiers: the logarithm of the mean probability, or its logit where classes are many."""

    def forward(self, images: Images) -> Logits:
        """Class scores (B, classes) of prepared images (B, 3, H, W)."""
        return self.scored(images, refuse=False)[0]

    def scored(self, images: Images, *, refuse: bool) -> tuple[Logits, Tensor | None]:
        """Return the scores, and (B,) bool: images that more than half of the members refuse.

        None where none of them knows.
        """
        each = [model.scored(images, refuse=refuse) for model in self.each]
        chances = [m.probabilities(logits) for m, (logits, _) in zip(self.each, each, strict=True)]
        together = torch.stack(chances).mean(0).clamp(EDGE, 1 - EDGE)
        votes = [refused.double() for _, refused in each if refused is not None]
        unlike = torch.stack(votes).mean(0) > _MAJORITY if votes else None
        return together.log() if self.each[0].has_one_answer else together.logit(), unlike


class PixelEnsemble(Ensemble, DenseNetwork):
    """Segmenters: the logarithm of the mean probability of every cell."""

    def __init__(self, members: Sequence[Any]) -> None:
        super().__init__(members)
        self.stride, self.fixed_size = members[0].network.stride, members[0].network.fixed_size

    def forward(self, images: Images) -> PixelLogits:
        """Class scores (B, classes, H, W) of prepared images (B, 3, H, W)."""
        return enlarge(self.scores(images), images, self.stride)

    def scores(self, images: Images) -> ClassMap:
        """Class scores of the cells, see `DenseNetwork`."""
        each = [model.decisions.scaled(_last(model.network.scores(images))) for model in self.each]
        together = torch.stack([scores.float().softmax(-1) for scores in each]).mean(0)
        return together.clamp_min(EDGE).log().movedim(-1, 1)


class ObjectEnsemble(Ensemble, ObjectNetwork):
    """Detectors: of boxes that show one object the mean, weighted by their scores.

    The score is the mean over the members, 0 of those that do not find it.
    """

    def __init__(self, members: Sequence[Any]) -> None:
        super().__init__(members)
        network = members[0].network
        self.has_masks, self.protocol = network.has_masks, network.protocol

    def detect(
        self, images: Sequence[Image], *, threshold: float, most: int
    ) -> list[dict[str, Tensor]]:
        """The objects in each image; see `RCNN.detect`.

        Members answer from the lowest score on, for a mean lies below its largest part.
        """
        least = min(threshold, self.protocol.threshold)
        found = [
            model.network.detect(images, threshold=least, most=max(most, self.protocol.most))
            for model in self.each
        ]
        for model, answers in zip(self.each, found, strict=True):
            for one in answers:
                one["scores"] = model.decisions.calibrated(one["scores"], one["labels"] - 1)
        return [
            _from(mean_objects(parts, iou=self.protocol.nms), threshold, most)
            for parts in zip(*found, strict=True)
        ]


def mean_objects(parts: Sequence[dict[str, Tensor]], *, iou: float) -> dict[str, Tensor]:
    """Return the objects that several models found, each once, the best first.

    Args:
        parts: boxes, scores, labels and perhaps masks in cells of the boxes, of each model.
        iou: from which on two boxes of a class show one object.
    """
    joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    boxes, scores, labels = (joined[name] for name in ("boxes", "scores", "labels"))
    if not len(scores):
        return joined
    origin = torch.cat([torch.full_like(p["labels"], at) for at, p in enumerate(parts)])
    kept = batched_nms(boxes.float(), scores.float(), labels, iou)
    overlap = box_iou(boxes, boxes[kept]) * (labels[:, None] == labels[kept])
    overlap[kept, torch.arange(len(kept), device=kept.device)] = 2.0  # each is its own
    shared, owner = overlap.max(1)
    weights = scores * (shared >= iou)
    found = {"labels": labels[kept]}
    for name in joined.keys() - {"scores", "labels"}:
        found[name] = _mean(joined[name], weights, owner, len(kept))
    best = scores.new_zeros(len(kept), len(parts)).flatten()
    best.scatter_reduce_(0, owner * len(parts) + origin, weights, "amax")
    found["scores"] = best.reshape(len(kept), len(parts)).mean(1)
    order = found["scores"].argsort(descending=True, stable=True)
    return {name: values[order] for name, values in found.items()}


def _mean(values: Tensor, weights: Tensor, owner: Tensor, count: int) -> Tensor:
    """Return (count, ...) weighted means of the values (n, ...) that each owner has."""
    spread = weights.reshape(-1, *[1] * (values.ndim - 1))
    sums = values.new_zeros(count, *values.shape[1:]).index_add_(0, owner, values * spread)
    total = weights.new_zeros(count).index_add_(0, owner, weights)
    return sums / total.clamp_min(EDGE).reshape(-1, *[1] * (values.ndim - 1))


def _from(found: dict[str, Tensor], threshold: float, most: int) -> dict[str, Tensor]:
    """Return the objects above a score, at most so many."""
    kept = (found["scores"] > threshold).nonzero()[:most, 0]
    return {name: values[kept] for name, values in found.items()}


def _last(scores: ClassMap) -> Tensor:
    return scores.movedim(1, -1)
