"""Segmentation in `nommer check`."""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from nommer.data.images import decode
from nommer.data.masks import IGNORE, check_size, read_mask
from nommer.predictions import Segmentation
from nommer.tasks.checking import Facts, TaskCheck


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
        """Return the share of the masks that says nothing."""
        labels = self._labels(data.samples(), facts)
        return {"ignored pixels": f"{labels[IGNORE] / max(1, labels.sum()):.1%}"}

    def _labels(self, samples: Sequence[Any], facts: Facts) -> np.ndarray:
        counts = [
            report.counts for sample in samples if (report := facts.report_of(sample)) is not None
        ]
        return np.sum([np.zeros(IGNORE + 1, np.int64), *counts], axis=0)
