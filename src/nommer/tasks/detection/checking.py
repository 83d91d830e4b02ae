"""Detection in `nommer check`."""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from nommer.data.images import decode
from nommer.predictions import Detections
from nommer.tasks.checking import Facts, TaskCheck

MEDIUM, LARGE = 32**2, 96**2
"""Areas in square pixels from which on COCO calls an object medium, and large."""


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
        """Return the number of objects and their sizes."""
        single = [s.objects.take(~s.objects.crowd) for s in data.samples()]
        areas = np.concatenate([objects.areas for objects in single] or [np.zeros(0)])
        ignored = sum(int(s.objects.crowd.sum()) for s in data.samples())
        small, large = (areas < MEDIUM).sum(), (areas >= LARGE).sum()
        return {
            "objects": len(areas),
            **({"objects neither learned nor evaluated": ignored} if ignored else {}),
            "small, medium, large": f"{small:,}, {len(areas) - small - large:,}, {large:,}",
            "objects with masks": sum(int(objects.have_masks.sum()) for objects in single),
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
