"""A task's part in a study: how answers differ, and the known regions of images."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import lightning as L
import numpy as np

from nommer.models.recogniser import Recogniser
from nommer.nominations.patterns import Facet
from nommer.nominations.regions import DISTANCES, PARTS
from nommer.tasks.evaluation import Evaluation

FACETS = ("class", "part", "distance", "size")
"""Ways to divide an image by what is known of it; a data set may have all, or only the first."""

_NEAR = 2
"""Groups of distance, those under two tokens, that are near a border."""


@dataclass(frozen=True)
class Part:
    """A part of every image that interventions can be kept to."""

    name: str
    facet: str
    groups: tuple[int, ...]
    """Of the facet, which belong to it."""


OBJECTS_AND_BACKGROUND = tuple(Part(name, "part", (index,)) for index, name in enumerate(PARTS))

BY_BORDERS = (
    Part("near borders", "distance", tuple(range(_NEAR))),
    Part("away from borders", "distance", tuple(range(_NEAR, len(DISTANCES)))),
)


class AnswerChange(L.Callback, ABC):
    """Differences between the answers of one evaluation and those of the first, batch by batch."""

    @abstractmethod
    def resampled(self, evaluation: Evaluation, times: np.ndarray) -> Mapping[str, np.ndarray]:
        """Return the measures of the table, the task's own first, in every resampled data set.

        Args:
            evaluation: of all images.
            times: (resamples, images) int64: how often each data set holds each image.
        """

    @abstractmethod
    def difference(
        self, first: Evaluation, other: Evaluation
    ) -> Mapping[str, np.ndarray | float | None]:
        """Return how two evaluations of the same samples differ.

        A number that each image has is an array of them all; another one has no interval.
        """


class KnownRegions(ABC):
    """One task's answer to where in an image what is.

    Args:
        model: that is studied.
    """

    facets: tuple[Facet, ...]
    parts: tuple[Part, ...] = ()
    """Parts of an image that interventions can be kept to."""
    absent: Mapping[str, str]
    """Facets that cannot be had for this data, and why."""

    @abstractmethod
    def __init__(self, model: Recogniser) -> None: ...

    @abstractmethod
    def groups(self, batch: Any, index: int, sample: Any, token: float) -> dict[str, np.ndarray]:
        """Return per facet a map (H, W) of indices into its groups, at the size of an image's file.

        Args:
            batch: as evaluation gets it.
            index: of the image in the batch.
            sample: of the image.
            token: side of a token of the finest grid in pixels of the file.
        """

    def file_size(self, batch: Any, index: int, seen: tuple[int, int]) -> tuple[int, int]:
        """Return height and width of the image that labels refer to.

        Args:
            batch: as evaluation gets it.
            index: of the image in the batch.
            seen: height and width of the prepared image, to which labels of all of it refer.
        """
        return seen


@dataclass(frozen=True)
class Study:
    """A task's part in a study."""

    changes: type[AnswerChange]
    regions: type[KnownRegions]
    wording: Mapping[str, str]
    """Of the report: "class_of", "objects", "borders" and "what"."""
