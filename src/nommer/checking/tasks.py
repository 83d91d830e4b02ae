"""What `nommer check` asks of each task.

What is counted of a class, what tells labels apart, how a sample looks.
"""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from nommer.data.audit import ImageReport
from nommer.data.formats.labelled import LabelledImages
from nommer.data.images import decode
from nommer.data.masks import IGNORE, check_size, read_mask
from nommer.predictions import Detections, Segmentation

MEDIUM, LARGE = 32**2, 96**2
"""Areas in square pixels from which on COCO calls an object medium, and large."""


@dataclass(frozen=True)
class Facts:
    """What was found on reading every sample."""

    reports: Sequence[Any]
    """The task's own, for its audit."""
    by_path: Mapping[Path, Any]
    """The same, by image."""
    images: Mapping[Path, ImageReport]
    """About each image file that was read."""

    @classmethod
    def of(cls, data: LabelledImages[Any], reports: Sequence[Any]) -> "Facts":
        """From the reports of a task's `inspect`."""
        by_path = {report.path: report for report in reports}
        images = {path: getattr(report, "image", report) for path, report in by_path.items()}
        return cls(reports, by_path, images)

    def report_of(self, sample: Any) -> Any:
        """The task's report about a sample; None where its image was not read."""
        return self.by_path.get(sample.path)

    def usable(self, samples: Sequence[Any]) -> list[Any]:
        """The samples whose image and label can be read."""
        return [
            s
            for s in samples
            if not (getattr(s, "error", None) or getattr(self.report_of(s), "error", None))
        ]


class TaskCheck(ABC):
    """One task's answers."""

    unit: ClassVar[str]
    """What is counted of each class."""

    @abstractmethod
    def key(self, sample: Any, report: Any) -> Hashable:
        """What is equal for two samples that are labelled alike."""

    @abstractmethod
    def count(self, data: Any, samples: Sequence[Any], facts: Facts) -> np.ndarray:
        """(classes,) int64: how much there is of each class in `samples`."""

    @abstractmethod
    def draw(self, data: Any, sample: Any) -> tuple[Image.Image, str]:
        """A sample with what it is labelled with, and a caption."""

    def totals(self, data: Any, facts: Facts) -> dict[str, Any]:
        """More numbers for the summary."""
        return {}

    def figure(self, data: Any, facts: Facts) -> tuple[Figure, str, str] | None:
        """A figure about the labels, with its caption and its text for who does not see it."""
        return None


class ClassificationCheck(TaskCheck):
    """An image has one class, or several."""

    unit = "images"

    def key(self, sample: Any, report: Any) -> Hashable:
        """The classes."""
        return sample.classes

    def count(self, data: Any, samples: Sequence[Any], facts: Facts) -> np.ndarray:
        """Images of each class."""
        labels = [label for sample in samples for label in sample.classes]
        return np.bincount(np.array(labels, np.int64), minlength=len(data.class_names))

    def draw(self, data: Any, sample: Any) -> tuple[Image.Image, str]:
        """The image, and its class or classes."""
        return decode(sample.path), data.target_of(sample) or "no class"

    def totals(self, data: Any, facts: Facts) -> dict[str, Any]:
        """Where an image may have several classes, how many they have."""
        if not data.several:
            return {}
        numbers = [len(sample.classes) for sample in data.samples() if not sample.error]
        return {
            "classes per image": f"{np.mean(numbers):.2f}",
            "images without a class": numbers.count(0),
        }


class SegmentationCheck(TaskCheck):
    """An image has a mask."""

    unit = "pixels"

    def key(self, sample: Any, report: Any) -> Hashable:
        """The labels of all pixels."""
        return None if report is None else report.digest

    def count(self, data: Any, samples: Sequence[Any], facts: Facts) -> np.ndarray:
        """Pixels of each class."""
        return self._labels(samples, facts)[: len(data.class_names)]

    def draw(self, data: Any, sample: Any) -> tuple[Image.Image, str]:
        """The image under its mask."""
        image, labels = decode(sample.path), read_mask(sample.mask, data.encoding)
        check_size(sample.mask, labels.shape, image.size)
        return Segmentation("truth", data.class_names, data.colours, labels).overlay(
            image
        ), sample.path.name

    def totals(self, data: Any, facts: Facts) -> dict[str, Any]:
        """How much of the masks says nothing."""
        labels = self._labels(data.samples(), facts)
        return {"ignored pixels": f"{labels[IGNORE] / max(1, labels.sum()):.1%}"}

    def _labels(self, samples: Sequence[Any], facts: Facts) -> np.ndarray:
        counts = [
            report.counts for sample in samples if (report := facts.report_of(sample)) is not None
        ]
        return np.sum([np.zeros(IGNORE + 1, np.int64), *counts], axis=0)


class DetectionCheck(TaskCheck):
    """An image has objects."""

    unit = "objects"

    def key(self, sample: Any, report: Any) -> Hashable:
        """Classes and boxes of all objects."""
        objects = sample.objects
        return tuple(
            sorted(
                zip(
                    objects.labels.tolist(),
                    map(tuple, objects.boxes.round(1).tolist()),
                    strict=True,
                )
            )
        )

    def count(self, data: Any, samples: Sequence[Any], facts: Facts) -> np.ndarray:
        """Objects of each class, but for crowds."""
        labels = [label for s in samples for label in s.objects.labels[~s.objects.crowd].tolist()]
        return np.bincount(np.array(labels, np.int64), minlength=len(data.class_names))

    def draw(self, data: Any, sample: Any) -> tuple[Image.Image, str]:
        """The image with its objects drawn in."""
        image, objects = decode(sample.path), sample.objects
        masks = (
            tuple(mask for mask in objects.masks if mask is not None)
            if objects.have_masks.all()
            else None
        )
        size, scores = (image.height, image.width), np.ones(len(objects))
        truth = Detections(
            "truth", data.class_names, size, objects.boxes, scores, objects.labels, masks or None
        )
        return truth.plot(image), f"{sample.path.name}\n{len(objects)} objects"

    def totals(self, data: Any, facts: Facts) -> dict[str, Any]:
        """How many objects there are, and of what size."""
        areas = np.concatenate([s.objects.areas for s in data.samples()] or [np.zeros(0)])
        small, large = (areas < MEDIUM).sum(), (areas >= LARGE).sum()
        return {
            "objects": len(areas),
            "small, medium, large": f"{small:,}, {len(areas) - small - large:,}, {large:,}",
            "objects with masks": sum(int(s.objects.have_masks.sum()) for s in data.samples()),
            "images without objects": sum(not len(s.objects) for s in data.samples()),
        }

    def figure(self, data: Any, facts: Facts) -> tuple[Figure, str, str] | None:
        """Objects per image, sizes and shapes of boxes."""
        boxes = np.concatenate([s.objects.boxes for s in data.samples()] or [np.zeros((0, 4))])
        if not len(boxes):
            return None
        width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
        figure = Figure(figsize=(7, 2.6), layout="constrained")
        number, size, shape = figure.subplots(1, 3)
        number.hist([len(s.objects) for s in data.samples()], bins=20, color="#4477aa")
        number.set(xlabel="objects per image", ylabel="images")
        size.hist(np.sqrt(width * height), bins=30, color="#4477aa")
        size.set(xlabel="side of a square as large (pixels)", ylabel="objects")
        shape.hist(np.log2(width / height), bins=30, color="#4477aa")
        shape.set(xlabel="log2 of width : height", ylabel="objects")
        caption = "Objects per image, sizes of boxes, and shapes: right of 0 wider than high."
        middle = np.sqrt(np.median(width * height))
        return (
            figure,
            caption,
            f"Three histograms; the median box is as large as a square of {middle:.0f} pixels a "
            "side.",
        )


CHECKS: dict[str, TaskCheck] = {
    "classification": ClassificationCheck(),
    "multi-label classification": ClassificationCheck(),
    "segmentation": SegmentationCheck(),
    "detection": DetectionCheck(),
}
"""By task."""
