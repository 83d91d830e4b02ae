"""A task's part in `nommer check`: counts of classes, equal labels, and a look at a sample."""

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


@dataclass(frozen=True)
class Facts:
    """The reports on all samples, which were read whole."""

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
    """The things that are counted of each class."""

    @abstractmethod
    def key(self, sample: Any, report: Any) -> Hashable:
        """Return a value that is equal for two samples that are labelled alike."""

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
