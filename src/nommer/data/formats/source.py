"""A place of data, and all that was found there: files of labels are read and parsed once."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from nommer.data.archives import pass_over_wrappers, read_bytes
from nommer.data.remote import local
from nommer.settings.labels import LabelOptions

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, eq=False)
class Source:
    """A folder, an archive or a table of data, and what is said of it.

    Of an address it is the copy on this machine, which is brought if need be.

    A verb makes one. To tell the task and the format, files are looked into; what they hold stays
    here, and goes on to the reader of the format.
    """

    root: Path
    classes: Path | None = None
    """A file that tells the classes of masks, in the place of any in `root`."""
    labels: LabelOptions = LabelOptions()
    """Labels where data leave them open, such as their format."""
    _found: dict[Any, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", local(self.root))

    @classmethod
    def of(cls, place: "Source | Path") -> "Source":
        """Return a place as a source."""
        return place if isinstance(place, Source) else cls(place)

    def inside(self) -> "Source":
        """Return this source, or of an archive that wraps all in folders the innermost of these."""
        return self.once(_without_wrappers)

    def once(
        self, find: Callable[Concatenate["Source", P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Return the result of `find(self, ...)`, from the second time on as it was."""
        key = find, args, tuple(kwargs.items())
        if key not in self._found:
            self._found[key] = find(self, *args, **kwargs)
        result: R = self._found[key]
        return result

    def content(self, file: Path, *, keep: bool = True) -> bytes:
        """Return the content of a file of labels, on disk or in an archive.

        Args:
            file: one of those of the data.
            keep: it may be asked for again.

        Raises:
            OSError: there is none, or it cannot be read.
        """
        found = self._found.get(file)
        content: bytes = read_bytes(file) if found is None else found
        if keep:
            self._found[file] = content
        return content


def _without_wrappers(source: Source) -> Source:
    root = pass_over_wrappers(source.root)
    return source if root == source.root else replace(source, root=root, _found={})
