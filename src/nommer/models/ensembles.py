"""Ensembles: the models of several folds as one, whose answers are the mean of theirs.

An ensemble is a network whose members are models, so everything that answers with a network answers
with it too. Source of the mean: Lakshminarayanan et al., "Simple and Scalable Predictive
Uncertainty Estimation using Deep Ensembles", NeurIPS 2017; of boxes: Solovyev et al., "Weighted
boxes fusion", Image and Vision Computing 2021.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import batched_nms, box_iou

from nommer.errors import InputError
from nommer.models.classification import Classifier
from nommer.models.decisions import EDGE, Decisions
from nommer.models.detection import Detector
from nommer.models.inference import DenseNetwork
from nommer.models.rcnn import Image, ObjectNetwork
from nommer.models.recogniser import Recogniser
from nommer.models.segmentation import Segmenter
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

    def __init__(self, members: Sequence[Segmenter]) -> None:
        super().__init__(members)
        self.stride, self.fixed_size = members[0].network.stride, members[0].network.fixed_size

    def forward(self, images: Images) -> PixelLogits:
        """Class scores (B, classes, H, W) of prepared images (B, 3, H, W)."""
        return enlarge(self.scores(images), images, self.stride)

    def scores(self, images: Images) -> ClassMap:
        """Class scores of the cells, see `DenseNetwork`."""
        each = [model.decisions.cooled(_last(model.network.scores(images))) for model in self.each]
        together = torch.stack([scores.float().softmax(-1) for scores in each]).mean(0)
        return together.clamp_min(EDGE).log().movedim(-1, 1)


class ObjectEnsemble(Ensemble, ObjectNetwork):
    """Detectors: of boxes that show one object the mean, weighted by their scores.

    The score is the mean over the members, 0 of those that do not find it.
    """

    def __init__(self, members: Sequence[Detector]) -> None:
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


_NETWORKS: dict[type[Recogniser], Any] = {
    Classifier: ClassEnsemble,
    Segmenter: PixelEnsemble,
    Detector: ObjectEnsemble,
}


def folds_of(folder: Path) -> list[Path]:
    """Return the run folders of a finished training in folds; none of any other folder.

    Raises:
        InputError: it is not finished.
    """
    if not (folder / "fold-0").is_dir():
        return []
    try:
        told = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        return [folder / f"fold-{one['fold']}" for one in told["folds"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder}: is a training in folds that has not finished; go on with it by --resume, "
            "or give one of its folds, such as fold-0 in it"
        ) from error


def ensemble_of(members: Sequence[Recogniser], names: Sequence[Path]) -> Recogniser:
    """Return models as one, of the kind that they are.

    Args:
        members: of one task, in evaluation mode.
        names: their folders, for errors.

    Raises:
        InputError: models that differ in classes or in how images are prepared.
    """
    first = members[0]
    if type(first) not in _NETWORKS:
        raise InputError(f"{names[0]}: answers nothing, so there is no ensemble of such models")
    for other, name in zip(members, names, strict=True):
        mine, its = (
            {
                "task": one.task,
                "classes": list(one.class_names),
                "preprocessing": one.preprocessing.to_dict(),
            }
            for one in (first, other)
        )
        for what, value in mine.items():
            if its[what] != value:
                raise InputError(
                    f"{name}: has another {what} than {names[0]}, {its[what]} in the place of "
                    f"{value}; an ensemble is of models of one training"
                )
    description = {
        "class_names": first.class_names,
        "preprocessing": first.preprocessing.to_dict(),
        **first.labels(),
    }
    together = type(first).of(_NETWORKS[type(first)](members), description)
    together.decisions = _decisions([one.decisions for one in members])
    return together.eval()


def _decisions(each: Sequence[Decisions]) -> Decisions:
    """Return the mean of the members' thresholds; their temperatures are applied before."""
    thresholds = [one.threshold for one in each if one.threshold is not None]
    classes = [one.class_thresholds for one in each]
    of_classes = zip(*classes, strict=True) if all(classes) else ()
    return Decisions(
        threshold=mean(thresholds) if len(thresholds) == len(each) else None,
        class_thresholds=tuple(map(mean, of_classes)),
        images=sum(one.images for one in each),
    )
