"""Answers from and to the package supervision, which draws, tracks and counts them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nommer.errors import InputError
from nommer.extras import require
from nommer.predictions.run_lengths import encode_pixels

if TYPE_CHECKING:
    import supervision as sv

_NAMES = "class_name"
"""Under which supervision keeps the names of classes."""


def to_supervision(
    boxes: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    *,
    scores: np.ndarray | None = None,
    masks: Sequence[np.ndarray] | None = None,
) -> "sv.Detections":
    """Return supervision's detections.

    Args:
        boxes: (n, 4) left, upper, right and lower end in pixels.
        labels: (n,) indices into `names`.
        names: of all classes.
        scores: (n,) from 0 to 1.
        masks: n masks, (H, W) bool each.

    Raises:
        InputError: supervision is not installed.
    """
    supervision = require("supervision", "data", "to_supervision")
    return supervision.Detections(
        xyxy=boxes.astype(np.float32).reshape(-1, 4),
        mask=np.stack(masks) if masks else None,
        confidence=scores if scores is None else scores.astype(np.float32),
        class_id=labels.astype(int),
        data={_NAMES: np.array([names[label] for label in labels], dtype=str)},
    )


def from_supervision(
    found: "sv.Detections", class_names: Sequence[str] | None, size: tuple[int, int] | None
) -> dict[str, Any]:
    """Return the fields of `Detections` that supervision's have, the best first.

    Args:
        found: with class ids.
        class_names: that the ids index; by default the names that `found` has.
        size: height and width of the image; by default those of the masks.

    Raises:
        InputError: class names or the size are not known, or an id has no name.
    """
    masks = None if found.mask is None else np.asarray(found.mask, bool)
    size = masks.shape[1:] if masks is not None and len(masks) else size
    if size is None:
        raise InputError("from_supervision: there are no masks, so give size=(height, width)")
    labels = np.zeros(len(found), int) if found.class_id is None else found.class_id.astype(int)
    names = tuple(class_names) if class_names is not None else _names_of(found, labels)
    if len(labels) and not (labels.min() >= 0 and labels.max() < len(names)):
        raise InputError(
            f"from_supervision: class ids go up to {labels.max()}, but {len(names)} class names "
            "are known; give class_names"
        )
    given = found.confidence
    scores = np.ones(len(found)) if given is None else np.asarray(given, np.float64)
    order = np.argsort(-scores, kind="stable")
    boxes = np.asarray(found.xyxy, np.float64).reshape(-1, 4)
    return {
        "class_names": names,
        "size": (int(size[0]), int(size[1])),
        "boxes": boxes.clip(0, np.array([size[1], size[0]] * 2))[order],
        "scores": scores[order],
        "labels": labels[order],
        "masks": None if masks is None else tuple(encode_pixels(masks[index]) for index in order),
    }


def _names_of(found: "sv.Detections", labels: np.ndarray) -> tuple[str, ...]:
    known = dict(zip(labels.tolist(), found.data.get(_NAMES, ()), strict=False))
    return tuple(
        str(known.get(label, f"class {label}")) for label in range(max(known, default=-1) + 1)
    )
