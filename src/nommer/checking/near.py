"""Near-duplicates among the images of a data set, by the vectors of a model."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nommer.data.formats.labelled import Issue, LabelledImages, Severity, problem
from nommer.embedding.neighbours import near_duplicates
from nommer.embedding.vectors import Embedder, Place, Vectors
from nommer.inference.inputs import load_to
from nommer.predictions import Failure
from nommer.progress import track

MOST_PAIRS = 200
"""Pairs that are told one by one."""


@dataclass(frozen=True)
class Alike:
    """Options of the search for near-duplicates."""

    model: Path
    near: float
    """Least cosine."""
    device: str = "auto"


def find_near_duplicates(
    data: LabelledImages[Any], digests: Mapping[Path, str], how: Alike
) -> list[Issue]:
    """Return a note for each pair of images that are nearly the same, a problem across splits.

    And a problem where the model cannot take some of the images.

    Args:
        data: the samples.
        digests: hash of each file that can be read; files of the same bytes are told elsewhere.
        how: by which vectors.
    """
    splits = splits_of(data, digests)
    once = list({digests[path]: path for path in reversed(splits)}.values())
    vectors = _vectors(once, how)
    failed = [
        problem(
            data.root,
            f"{len(vectors.failures)} of {len(once)} images cannot be compared by {how.model}, the "
            f"first {first.source}: {first.error}",
            "not looked at for near-duplicates",
        )
        for first in vectors.failures[:1]
    ]
    paths = [Path(place.source) for place in vectors.places]
    pairs = [
        AlikePair(paths[pair.first], paths[pair.second], f"cosine {pair.cosine:.3f}")
        for pair in near_duplicates(vectors, how.near)
    ]
    more = f"used as they are; a higher --near than {how.near:g} tells fewer"
    return failed + tell_pairs(pairs, data, splits, more)


def splits_of(data: LabelledImages[Any], readable: Container[Path]) -> dict[Path, str]:
    """Return the split of each image that can be read, in the order of the data."""
    return {
        sample.path: split
        for split, part in data.splits.items()
        for sample in part
        if sample.path in readable
    }


class AlikePair(NamedTuple):
    """Two images that are nearly the same."""

    first: Path
    second: Path
    how: str
    """By which they are told."""

    def in_order(self, order: Mapping[Path, int]) -> "AlikePair":
        """Return the same pair, the image of the lower number first."""
        first, second = sorted(self[:2], key=order.__getitem__)
        return AlikePair(first, second, self.how)


def tell_pairs(
    pairs: Sequence[AlikePair],
    data: LabelledImages[Any],
    splits: Mapping[Path, str],
    more: str = "used as they are",
) -> list[Issue]:
    """Return a note for each pair, a problem where it is across splits; of very many, the number.

    Args:
        pairs: the most alike first.
        data: the samples.
        splits: of each image.
        more: what is done about those that are not told one by one.
    """
    crossing = [pair for pair in pairs if splits[pair.first] != splits[pair.second]]
    told = [*crossing, *(pair for pair in pairs if splits[pair.first] == splits[pair.second])]
    order = {path: number for number, path in enumerate(splits)}
    issues = [_issue(pair.in_order(order), data, splits) for pair in told[:MOST_PAIRS]]
    if len(told) > MOST_PAIRS:
        what = f"{len(told) - MOST_PAIRS} more pairs of images are nearly the same"
        severity: Severity = "problem" if len(crossing) > MOST_PAIRS else "note"
        issues.append(Issue(str(data.root), what, more, severity))
    return issues


def _vectors(paths: list[Path], how: Alike) -> Vectors:
    embedder = Embedder(load_to(how.model, how.device))
    found, places, failures = [], [], []
    answers = track(embedder.of_images(paths), total=len(paths), what="looking for near-duplicates")
    for path, (_, vector) in zip(paths, answers, strict=True):
        if isinstance(vector, Failure):
            failures.append(vector)
        else:
            found.append(vector)
            places.append(Place(str(path)))
    return Vectors(np.array(found, np.float32), tuple(places), tuple(failures))


def _issue(pair: AlikePair, data: LabelledImages[Any], splits: Mapping[Path, str]) -> Issue:
    first, second, how = pair
    across = splits[first] != splits[second]
    where = f", which is in {splits[first]} and this in {splits[second]}" if across else ""
    what = f"is nearly the same image as {data.name_of(first)} ({how}){where}"
    return Issue(str(second), what, "used as it is", "problem" if across else "note")
