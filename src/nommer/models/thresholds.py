"""Least scores of answers, as people ask for them; loads no PyTorch."""

from collections.abc import Mapping
from typing import TypeAlias

from nommer.errors import InputError, shortened
from nommer.settings.predict import BEST, check_thresholds

Threshold: TypeAlias = float | str | Mapping[str, float] | None
"""As people give it: one for all classes, "best" for those found, or one per class by name."""

_SHOWN = 5
"""Classes whose thresholds are said."""


def least_scores(
    class_names: tuple[str, ...], asked: Threshold, found: tuple[float, ...]
) -> tuple[float, ...]:
    """Return the least score of an answer of each class.

    None asks for the best where they are known. Empty where nothing is asked for or known.

    Args:
        class_names: of the model.
        asked: as people give it.
        found: the best, one per class; empty where they are not known.

    Raises:
        InputError: a name that is none of a class, or the best where they are not known.
    """
    check_thresholds("threshold", asked)
    if isinstance(asked, Mapping):
        return _named(asked, class_names, found)
    if isinstance(asked, float | int):
        return (float(asked),) * len(class_names)
    if asked not in (None, BEST):
        raise InputError(f"threshold must be a number, {BEST!r} or one per class, got {asked!r}")
    if not found and asked is not None:
        raise InputError(
            "--threshold best: this model tells none, for it is from before they were found in "
            "training; `nommer evaluate MODEL --data DATA --calibrate` finds them, or give a "
            "number"
        )
    return found


def _named(
    asked: Mapping[str, float], class_names: tuple[str, ...], others: tuple[float, ...]
) -> tuple[float, ...]:
    unknown = [name for name in asked if name not in class_names]
    if unknown:
        raise InputError(
            f"--threshold: the model has no class {unknown[0]!r}; it has "
            f"{shortened(', '.join(class_names), 200)}"
        )
    missing = [name for name in class_names if name not in asked]
    if missing and not others:
        raise InputError(
            f"--threshold: names no threshold for {missing[0]!r}, and the model tells none; name "
            "all classes"
        )
    return tuple(
        float(asked[name]) if name in asked else others[label]
        for label, name in enumerate(class_names)
    )


def in_words(thresholds: tuple[float, ...], class_names: tuple[str, ...]) -> str:
    """Return thresholds as people say them: one number, or the first few by name."""
    if len(set(thresholds)) == 1:
        return f"{thresholds[0]:.3g}"
    pairs = [f"{n} {v:.2f}" for n, v in zip(class_names, thresholds, strict=True)]
    more = f" and {len(pairs) - _SHOWN} more" if len(pairs) > _SHOWN else ""
    return f"{', '.join(pairs[:_SHOWN])}{more}"
