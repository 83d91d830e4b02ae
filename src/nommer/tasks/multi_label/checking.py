"""Multi-label classification in `nommer check`."""

from typing import Any

import numpy as np

from nommer.tasks.checking import Facts
from nommer.tasks.classification.checking import ClassificationCheck


class MultiLabelCheck(ClassificationCheck):
    """An image has any number of classes."""

    def totals(self, data: Any, facts: Facts) -> dict[str, Any]:
        """Return how many classes images have."""
        numbers = [len(sample.classes) for sample in data.samples() if not sample.error]
        return {
            "classes per image": f"{np.mean(numbers):.2f}",
            "images without a class": numbers.count(0),
        }
