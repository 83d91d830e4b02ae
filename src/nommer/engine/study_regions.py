"""What each task knows of the parts of an image: classes, objects, borders, sizes; groups of the working pattern."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from nommer.data.formats.objects import DetectionSample, Objects, masks_of
from nommer.data.masks import IGNORE
from nommer.heads.storage import Model, task_of
from nommer.nominations.patterns import Facet
from nommer.nominations.regions import (
    DISTANCES,
    OUTSIDE,
    PARTS,
    SIDED_DISTANCES,
    SIZES,
    KnownObject,
    border_distance,
    class_regions,
    distance_group,
    look_up,
    object_map,
    sided_distance_group,
    size_group,
)

FACETS = ("class", "part", "distance", "size")
"""Ways to divide an image by what is known of it, of which a data set may have all, or only the first."""


class KnownRegions(ABC):
    """One task's answer to where in an image what is."""

    facets: tuple[Facet, ...]
    absent: Mapping[str, str]
    """Facets that cannot be had for this data, and why."""

    @abstractmethod
    def groups(self, batch: Any, index: int, sample: Any, token: float) -> dict[str, np.ndarray]:
        """Per facet a map (H, W) of indices into its groups, of one image at the size of its file.

        Args:
            batch: as judging gets it.
            index: of the image in the batch.
            sample: of the image.
            token: side of a token of the finest grid in pixels of the file.
        """


class ClassOfImage(KnownRegions):
    """Classification: one class for all of an image, and nothing of where things are."""

    def __init__(self, model: Model) -> None:
        self.facets = (Facet("class", tuple(model.class_names), "tokens"),)
        why = "the data have one class per image, and neither boxes nor masks"
        self.absent = {name: why for name in FACETS if name != "class"}

    def groups(self, batch: Any, index: int, sample: Any, token: float) -> dict[str, np.ndarray]:
        """The image's class."""
        return {"class": np.array([[int(batch.labels[index])]])}


class ClassesOfPixels(KnownRegions):
    """Segmentation: the class of every pixel; connected regions of a class stand for objects."""

    def __init__(self, model: Model) -> None:
        names = tuple(model.class_names)
        self.background = next((label for label, name in enumerate(names) if name.lower() == "background"), None)
        self.facets = (Facet("class", names), Facet("distance", DISTANCES), Facet("size", SIZES))
        self.absent = {}
        if self.background is None:
            self.absent = {"part": "no class is called background, so nothing says which classes are objects"}
        else:
            self.facets += (Facet("part", PARTS),)

    def groups(self, batch: Any, index: int, sample: Any, token: float) -> dict[str, np.ndarray]:
        """From the mask; what it ignores is in no group."""
        mask = batch.masks[index].cpu().numpy()
        labels = np.where(mask == IGNORE, OUTSIDE, mask)
        known = labels != OUTSIDE
        distances = distance_group(border_distance(labels), token)
        groups = {"class": labels, "distance": np.where(known, distances, OUTSIDE)}
        if self.background is None:
            return {**groups, "size": class_regions(labels)}
        is_background = labels == self.background
        groups["part"] = np.where(known, is_background.astype(int), OUTSIDE)
        return {**groups, "size": class_regions(np.where(is_background, OUTSIDE, labels))}


class ObjectsOfImage(KnownRegions):
    """Detection: the true objects by their masks, or by their boxes where not all have masks."""

    def __init__(self, model: Model) -> None:
        names = tuple(model.class_names)
        self.facets = (
            Facet("class", names),
            Facet("part", PARTS),
            Facet("distance", SIDED_DISTANCES),
            Facet("size", SIZES),
        )
        self.absent = {}

    def groups(self, batch: Any, index: int, sample: DetectionSample, token: float) -> dict[str, np.ndarray]:
        """From the smallest object that each pixel lies in; crowds are in no group."""
        height, width = batch.sizes[index]
        inside, crowd = object_pixels(sample.objects, (height, width)), sample.objects.crowd
        objects = [
            KnownObject(inside[i], int(sample.objects.labels[i]), float(sample.objects.areas[i]))
            for i in np.flatnonzero(~crowd)
        ]
        owner = object_map(objects, inside[crowd].any(0))
        sizes = size_group(np.array([known.area for known in objects]))
        return {
            "class": look_up(owner, [*(known.label for known in objects), OUTSIDE]),
            "part": look_up(owner, [*(0 for _ in objects), 1]),
            "distance": sided_distance_group(owner, len(objects), token),
            "size": look_up(owner, [*sizes.tolist(), OUTSIDE]),
        }


def object_pixels(objects: Objects, size: tuple[int, int]) -> np.ndarray:
    """(n, H, W) bool: where each object is; with boxes, a pixel whose centre lies in one."""
    if len(objects) and objects.have_masks.all():
        return masks_of(objects, *size).astype(bool)
    left, upper, right, lower = objects.boxes.T[:, :, None]
    rows, columns = (np.arange(side) + 0.5 for side in size)
    inside_rows, inside_columns = (rows >= upper) & (rows < lower), (columns >= left) & (columns < right)
    return inside_rows[:, :, None] & inside_columns[:, None]


_BY_TASK: dict[str, type[Any]] = {
    "classification": ClassOfImage,
    "segmentation": ClassesOfPixels,
    "detection": ObjectsOfImage,
}


def known_regions(model: Model) -> KnownRegions:
    """What is known of the regions of the images that `model` is for."""
    regions: KnownRegions = _BY_TASK[task_of(model)](model)
    return regions
