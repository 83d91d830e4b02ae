"""A task's results on disk: evaluations, training batches, and answers to images."""

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from itertools import tee
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from nommer.data.sources import ImageSource, source_name
from nommer.predictions import Failure
from nommer.progress import track

if TYPE_CHECKING:
    from nommer.tasks.evaluation import Evaluation

Given = TypeVar("Given")

_LONGEST = 200
"""Bytes of a name of a result, of the 255 that disks take, before a number and an ending."""


class TaskResults(ABC):
    """The files that people look at."""

    plots: ClassVar[str]
    """The pictures that a run shows, by file name."""
    answer_options: ClassVar[frozenset[str]]
    """Options of `nommer predict` that do something, of those that not all tasks have."""

    @abstractmethod
    def save_evaluation(
        self,
        evaluation: "Evaluation",
        model: Any,
        data: Any,
        out: Path,
        *,
        facts: Mapping[str, Any],
    ) -> None:
        """Write tables and plots of an evaluation over `data` into `out`."""

    @abstractmethod
    def save_training_batch(self, data: Any, model: Any, path: Path) -> None:
        """Write a picture of the first training samples as the network will see them."""

    @abstractmethod
    def save_answers(
        self, model: Any, sources: Iterable[ImageSource], folder: Path, settings: Any
    ) -> Sequence[Any | Failure]:
        """Answer images one after the other, and write the answers into `folder`.

        Args:
            model: on its device.
            sources: the images; those of an iterator are taken when their turn comes.
            folder: exists already.
            settings: of `nommer predict`.

        Returns:
            What is small enough to be kept of the answers.
        """


def answered(
    sources: Iterable[ImageSource], answer: Callable[[Iterable[ImageSource]], Iterable[Given]]
) -> Iterator[tuple[ImageSource, Given]]:
    """Yield each source with its answer, as they come; only those of one batch are held."""
    total = len(sources) if isinstance(sources, Sized) else None
    ahead, behind = tee(sources)
    yield from zip(behind, track(answer(ahead), total=total, what="predicting"), strict=True)


def unique_names(sources: Sequence[ImageSource]) -> list[str]:
    """Return a name for the result of each image, as `UniqueNames` finds them."""
    names = UniqueNames()
    return [names.of(source) for source in sources]


class UniqueNames:
    """Names for files of results, none twice.

    A name is the file's own without the ending, where that is taken with the least free number
    behind it. Small and capital letters are one, as some disks take them.
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}

    def of(self, source: ImageSource) -> str:
        """Return the name for the result of this image; "image" for one without a file."""
        plain = _shorten(Path(source_name(source)).stem)
        name, stem = plain, plain.casefold()
        while name.casefold() in self._taken:
            number = self._next.get(stem, 2)
            name, self._next[stem] = f"{plain}-{number}", number + 1
        self._taken.add(name.casefold())
        return name


def _shorten(stem: str) -> str:
    """Return a name without control characters that leaves room for a number and an ending."""
    plain = re.sub(r"[\x00-\x1f\x7f/]", "_", stem)
    encoded = plain.encode(errors="surrogateescape")
    if len(encoded) <= _LONGEST:
        return plain
    tail = hashlib.sha256(encoded).hexdigest()[:8]
    return f"{encoded[:_LONGEST].decode(errors='ignore')}-{tail}"


def with_files(answers: Sequence[Any], files: Sequence[str]) -> list[dict[str, Any]]:
    """Return answers as plain values, each with the file that its labels are in."""
    return [
        answer.to_dict() | ({} if isinstance(answer, Failure) else {"labels": file})
        for answer, file in zip(answers, files, strict=True)
    ]
