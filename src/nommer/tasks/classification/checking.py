"""Classification in `nommer check`."""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from nommer.data.images import decode
from nommer.tasks.checking import Facts, TaskCheck


class ClassificationCheck(TaskCheck):
    """An image has one class."""

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
