"""Images that are dark, too light or blurred, or that look the same, by the package cleanvision.

Its measures and limits (Apache-2.0; extra [data]) as they are: brightness and blur of each image,
and equal perceptual hashes (pHash of 64 bits) for images that look the same.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from nommer.checking.near import AlikePair, splits_of, tell_pairs
from nommer.data.formats.labelled import Issue, LabelledImages
from nommer.data.images import ImageError, decode
from nommer.extras import require
from nommer.progress import track

FEATURE = "check --looks"

_SAID = {"dark": "is dark", "light": "is very light", "blurry": "is blurred"}
"""Kinds of issues of cleanvision, in words."""


def find_odd_looks(data: LabelledImages[Any], digests: Mapping[Path, str]) -> list[Issue]:
    """Return notes on images that look odd, and on pairs that look the same.

    Args:
        data: the samples.
        digests: hash of each file that can be read; files of the same bytes are told elsewhere.
    """
    splits = splits_of(data, digests)
    hashes = require("imagehash", "data", FEATURE)
    issues, alike = [], defaultdict(list)
    measures = _Measures()
    seen: dict[str, Path] = {}
    for path in track(list(splits), total=len(splits), what="looking at images"):
        try:
            image = decode(path)
        except ImageError:
            continue
        issues += [Issue(str(path), what, "used as it is") for what in measures.faults(image)]
        if digests[path] not in seen:
            seen[digests[path]] = path
            alike[str(hashes.phash(image))].append(path)
    pairs = [AlikePair(first, other, "pHash") for first, *same in alike.values() for other in same]
    return [*issues, *tell_pairs(pairs, data, splits)]


class _Measures:
    """The measures of cleanvision with its own limits."""

    def __init__(self) -> None:
        module = "cleanvision.issue_managers.image_property_issue_manager"
        manager = require(module, "data", FEATURE).ImagePropertyIssueManager()
        self._table = require("pandas", "data", FEATURE).DataFrame
        self._measures = {kind: manager.image_properties[kind] for kind in _SAID}
        self._limits = manager.params

    def faults(self, image: Image.Image) -> Iterator[str]:
        """Yield what is odd about an image, each with its score and limit."""
        raw: dict[str, Any] = {}
        for measure in self._measures.values():
            raw |= measure.calculate(image)
        table = self._table([raw])
        for kind, measure in self._measures.items():
            limits = self._limits[kind]
            options = {name: value for name, value in limits.items() if name != "threshold"}
            scores = measure.get_scores(raw_scores=table, issue_type=kind, **options)
            score = float(scores.iloc[0, 0])
            if score < limits["threshold"]:
                yield f"{_SAID[kind]} ({score:.2f} of 1, limit {limits['threshold']:g})"
