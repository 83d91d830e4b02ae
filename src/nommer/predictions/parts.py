"""Parts of an image that an answer tells apart."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Parts:
    """Parts of an image, each with a name."""

    field: str
    """The name under which an explanation tells the contexts of each: "shares_per_class", ..."""
    labels: np.ndarray
    """(H, W) of any whole numbers: the part of each pixel, an index into `names`."""
    names: tuple[str, ...]
