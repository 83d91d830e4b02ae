"""Folds: the training images in parts of about equal size, each to be held back once."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nommer.data.formats.labelled import D, shorten
from nommer.errors import InputError
from nommer.progress import notice


def hold_back_fold(
    data: D,
    classes: Mapping[Path, Collection[int]],
    digests: Mapping[Path, str],
    *,
    folds: int,
    fold: int,
    seed: int,
) -> D:
    """Hold back one fold of "train" as "val", in the place of a "val" that the data may have.

    Every fold has about the same part of each class, and files of the same bytes are in the same
    fold. The folds of one seed are the same on every machine.

    Args:
        data: the samples.
        classes: of each image; none where they are not known.
        digests: hash of each image file, where that is known.
        folds: how many there are.
        fold: the one that is held back, from 0.
        seed: of the choice.

    Raises:
        InputError: fewer different images than folds.
    """
    samples = sorted(data.splits["train"], key=lambda sample: data.name_of(sample.path))
    groups = [digests.get(sample.path) or str(sample.path) for sample in samples]
    different = len(set(groups))
    if different < folds:
        raise InputError(
            f"--folds {folds}: {data.root} has {different} different training images; give fewer "
            "folds"
        )
    strata = strata_of([classes.get(sample.path, ()) for sample in samples])
    if fold == 0:
        tell_small_classes(data.class_names, strata, folds)
    numbers = fold_numbers(strata, groups, folds=folds, seed=seed)
    held = {sample.path for sample, at in zip(samples, numbers, strict=True) if at == fold}
    train = tuple(sample for sample in data.splits["train"] if sample.path not in held)
    val = tuple(sample for sample in data.splits["train"] if sample.path in held)
    return replace(data, splits={"train": train, "val": val})


def strata_of(classes: Sequence[Collection[int]]) -> np.ndarray:
    """Return (images,) the rarest class of each image, by images; -1 for none."""
    images = Counter(label for labels in classes for label in set(labels))
    return np.array([min(set(ls), key=lambda c: (images[c], c), default=-1) for ls in classes])


def fold_numbers(strata: np.ndarray, groups: Sequence[str], *, folds: int, seed: int) -> np.ndarray:
    """Return (images,) the fold of each image, by scikit-learn's stratified splits."""
    from sklearn.model_selection import (  # noqa: PLC0415 - takes a second
        GroupKFold,
        StratifiedGroupKFold,
        StratifiedKFold,
    )

    options: dict[str, Any] = {"n_splits": folds, "shuffle": True, "random_state": seed}
    together = len(set(groups)) < len(groups)
    splitter = (StratifiedGroupKFold if together else StratifiedKFold)(**options)
    strata = without_small(strata, folds)
    numbers = np.full(len(strata), -1)
    parts = splitter.split(strata, strata, groups if together else None)
    for number, (_, held) in enumerate(parts):
        numbers[held] = number
    if len(np.unique(numbers)) < folds:  # large groups may leave a fold with nothing
        for number, (_, held) in enumerate(GroupKFold(**options).split(strata, strata, groups)):
            numbers[held] = number
    return numbers


def without_small(strata: np.ndarray, folds: int) -> np.ndarray:
    """Put classes with fewer images than folds together, for scikit-learn refuses them."""
    classes, places, counts = np.unique(strata, return_inverse=True, return_counts=True)
    few = counts[places] < folds
    together = classes[counts.argmax()] if few.sum() < folds else classes.min() - 1
    return np.where(few, together, strata)


def tell_small_classes(names: Sequence[str], strata: np.ndarray, folds: int) -> None:
    """Tell of classes with fewer images than there are folds, which some folds lack."""
    counts = Counter(strata.tolist())
    small = [name for label, name in enumerate(names) if 0 < counts[label] < folds]
    if small:
        notice(f"fewer images than folds, so that some folds have none: {shorten(small)}")
