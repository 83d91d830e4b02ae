"""Objects by a detector's decisions: calibrated scores, from the thresholds of their classes on."""

from dataclasses import replace

import numpy as np
import torch

from nommer.models.decisions import Decisions
from nommer.models.recogniser import Recogniser
from nommer.models.thresholds import in_words
from nommer.predictions import Detections

_STEP = 1e-6
"""Difference of scores that rounding cannot make."""


def decided(
    found: Detections | None, least: tuple[float, ...], decisions: Decisions, name: str
) -> Detections | None:
    """Return what was found with calibrated scores, of those that reach `least` of their class.

    Args:
        found: with the scores of the network; None stays None.
        least: of every class; empty for all.
        decisions: of the model.
        name: of the image.
    """
    if found is None:
        return None
    labels = torch.from_numpy(found.labels)
    scores = decisions.calibrated(torch.from_numpy(found.scores), labels).numpy()
    order = np.arange(len(scores))
    if least:
        order = order[scores >= np.array(least)[found.labels]]
    order = order[np.argsort(-scores[order], kind="stable")]
    return replace(found, source=name, scores=scores, thresholds=least or None).take(order)


def floor_of(least: tuple[float, ...], model: Recogniser) -> float | None:
    """Return the score of the network from which on something may be answered; None for its own."""
    if not least:
        return None
    decisions = model.decisions
    lowest = min(decisions.uncalibrated(value, label) for label, value in enumerate(least))
    below = lowest - _STEP  # the network leaves out what is just as sure as it is told
    return below if below >= model.network.protocol.threshold else lowest


def in_words_of(least: tuple[float, ...], model: Recogniser, *, given: bool) -> str:
    """Return in words from which score on objects are answered."""
    if not least:
        return (
            f"threshold {model.network.protocol.threshold:g}: this model tells no better one; "
            "`nommer evaluate --calibrate` finds it"
        )
    source = "" if given else ", of the best F1 on validation images"
    return f"threshold {in_words(least, model.class_names)}{source}"
