"""What each task knows of the parts of an image: classes, objects, borders, sizes.

Groups of the working pattern.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from nommer.data.formats.objects import DetectionSample, Objects, masks_of
from nommer.data.masks import IGNORE
from nommer.models.storage import Model, task_of
from nommer.nominations.patterns import Facet
from nommer.nominations.regions import (
    DISTANCES,
    OUTSIDE,
    PARTS,
    SIDED_DISTANCES,
    SIZES,
    border_distance,
    class_regions,
    distance_group,
    look_up,
    object_map,
    sided_distance_group,
    size_group,
)

FACETS = ("class", "part", "distance", "size")
"""Ways to divide an image by what is known of it, of which a data set may have all, or only the
first.
"""


@dataclass(frozen=True)
class Part:
    """A part of every image that interventions can be kept to."""

    name: str
    facet: str
    groups: tuple[int, ...]
    """Of the facet, which belong to it."""


_OBJECTS_AND_BACKGROUND = tuple(Part(name, "part", (index,)) for index, name in enumerate(PARTS))

_NEAR = 2
"""Groups of distance, those under two tokens, that are near a border."""

_BY_BORDERS = (
    Part("near borders", "distance", tuple(range(_NEAR))),
    Part("away from borders", "distance", tuple(range(_NEAR, len(DISTANCES)))),
)


class KnownRegions(ABC):
    """One task's answer to where in an image what is."""

    facets: tuple[Facet, ...]
    parts: tuple[Part, ...] = ()
    """That interventions can be kept to."""
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
        self.background = next(
            (label for label, name in enumerate(names) if name.lower() == "background"), None
        )
        self.facets = (Facet("class", names), Facet("distance", DISTANCES), Facet("size", SIZES))
        self.absent = {}
        if self.background is None:
            self.absent = {
                "part": "no class is called background, so nothing says which classes are objects"
            }
            self.parts = _BY_BORDERS
        else:
            self.facets += (Facet("part", PARTS),)
            self.parts = _OBJECTS_AND_BACKGROUND

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
        self.parts, self.absent = _OBJECTS_AND_BACKGROUND, {}

    def groups(
        self, batch: Any, index: int, sample: DetectionSample, token: float
    ) -> dict[str, np.ndarray]:
        """From the smallest object that each pixel lies in; crowds are in no group."""
        objects, size = sample.objects, (int(batch.sizes[index][0]), int(batch.sizes[index][1]))
        inside = partial(object_pixels, objects, size=size)
        owner = object_map(inside, objects.areas, objects.crowd, size)
        return {
            "class": look_up(owner, [*objects.labels.tolist(), OUTSIDE]),
            "part": look_up(owner, [*(0 for _ in range(len(objects))), 1]),
            "distance": sided_distance_group(owner, len(objects), token),
            "size": look_up(owner, [*size_group(objects.areas).tolist(), OUTSIDE]),
        }


def object_pixels(objects: Objects, index: int, *, size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool: where an object is.

    Where not all have masks, the pixels whose centre lies in its box.
    """
    if objects.have_masks.all():
        return masks_of(objects.take(np.arange(len(objects)) == index), *size)[0].astype(bool)
    left, upper, right, lower = objects.boxes[index]
    rows, columns = (np.arange(side) + 0.5 for side in size)
    return ((rows >= upper) & (rows < lower))[:, None] & ((columns >= left) & (columns < right))


_BY_TASK: dict[str, type[Any]] = {
    "classification": ClassOfImage,
    "segmentation": ClassesOfPixels,
    "detection": ObjectsOfImage,
}


def known_regions(model: Model) -> KnownRegions:
    """What is known of the regions of the images that `model` is for."""
    regions: KnownRegions = _BY_TASK[task_of(model)](model)
    return regions
