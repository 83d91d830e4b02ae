"""Archives: what they have in common, zips, and the Arrow files of Hugging Face datasets.

A zip is read member by member, by any number of threads and processes.
"""

import lzma
import posixpath
import struct
import zipfile
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from nommer.errors import InputError
from nommer.extras import require
from nommer.files import read_plain

LARGEST_MEMBER = 1 << 30
"""Bytes of a member that is read; what claims to be larger is no image."""

_ENCRYPTED = 1
"""Among the flags of a zip's member."""


class Archive(ABC):
    """The visible files of an archive: their names, sorted, and their content."""

    def __init__(self, path: Path, names: list[str]) -> None:
        self.names = sorted(name for name in names if not is_hidden(name))
        self.hidden = [name for name in names if is_hidden(name)]
        twice = next((name for name, following in pairwise(self.names) if name == following), None)
        if twice is not None:
            raise InputError(f"{path}: holds {twice!r} more than once; keep one, and pack it again")
        self.folders = {parent for name in self.names for parent in _parents(name)}

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The content of one file; `KeyError` where there is none of this name."""

    def holds(self, name: str) -> bool:
        """Return True for the name of a file in the archive."""
        place = bisect_left(self.names, name)
        return self.names[place : place + 1] == [name]

    def below(self, folder: str) -> list[str]:
        """The files in a folder, searched deeply and sorted."""
        prefix = f"{folder}/" if folder else ""
        start = bisect_left(self.names, prefix)
        end = (
            bisect_left(self.names, f"{folder}0") if folder else len(self.names)
        )  # "0" follows "/"
        return self.names[start:end]


class Zip(Archive):
    """A zip, by its directory."""

    def __init__(self, path: Path) -> None:
        try:
            self._zip = zipfile.ZipFile(path)
            files = [info for info in self._zip.infolist() if not info.is_dir()]
        except (
            NotImplementedError,
            ValueError,
            IndexError,
            struct.error,
        ) as error:  # of headers without sense
            raise zipfile.BadZipFile(str(error)) from error
        _check_separators(path, files)
        names = [sound_name(path, info.filename) for info in files]
        super().__init__(path, names)
        self._members = dict(zip(names, files, strict=True))

    def read(self, name: str) -> bytes:
        """The content of one file; `KeyError` where there is none of this name."""
        info = self._members[name]
        check_size(info.file_size)
        if info.flag_bits & _ENCRYPTED:
            raise OSError("encrypted; pack the archive again without a password")
        try:
            return self._zip.read(info)
        except (
            RuntimeError,
            NotImplementedError,
            lzma.LZMAError,
        ) as error:  # compressed in a rare way
            raise OSError(str(error)) from error


class Rows(Archive):
    """An Arrow file of a Hugging Face dataset; its rows are files, named by their number."""

    def __init__(self, path: Path) -> None:
        datasets = require("datasets", "data", str(path))
        self.rows = datasets.Dataset.from_file(str(path))
        images = [
            name
            for name, feature in self.rows.features.items()
            if isinstance(feature, datasets.Image)
        ]
        if not images:
            raise InputError(f"{path}: no column of images; found {', '.join(self.rows.features)}")
        self._images = self.rows.select_columns(images[:1]).cast_column(
            images[0], datasets.Image(decode=False)
        )
        self._column = images[0]
        super().__init__(path, [row_name(number) for number in range(len(self.rows))])

    def read(self, name: str) -> bytes:
        """The image file in one row; `KeyError` where there is no such row."""
        number = int(name) if name.isdecimal() else -1
        if not 0 <= number < len(self._images):
            raise KeyError(name)
        image = self._images[number][self._column]
        if image is None:
            raise OSError("the row has no image")
        return image["bytes"] or read_plain(Path(image["path"]))


def row_name(number: int) -> str:
    """Return the name of a row of an Arrow file."""
    return f"{number:06}"


def _check_separators(archive: Path, files: Sequence[zipfile.ZipInfo]) -> None:
    """Refuse a zip that some programs of Windows write.

    Its names are paths there, but single files elsewhere.
    """
    names = [info.filename for info in files]
    wrong = next((name for name in names if "\\" in name), None)
    if wrong is not None and not any("/" in name for name in names):
        raise InputError(
            f"{archive}: holds {wrong}, a name with backslashes where zip has slashes, so no "
            "folders are found in it; "
            "unpack it where it was made, and pack it again with another program"
        )


def sound_name(archive: Path, name: str) -> str:
    """A name in an archive as a path below it.

    Raises:
        InputError: it leads out of the archive.
    """
    plain = posixpath.normpath(name)
    if plain.startswith(("/", "../")) or plain == "..":
        raise InputError(
            f"{archive}: holds {name!r}, a name that leads out of the archive; pack it again "
            "without"
        )
    return plain


def check_size(size: int) -> None:
    """Refuse a member that claims to be larger than any image.

    Raises:
        OSError: over `LARGEST_MEMBER`.
    """
    if size > LARGEST_MEMBER:
        raise OSError(f"too large: {size:,} bytes, over the limit of {LARGEST_MEMBER:,}")


def is_hidden(name: str) -> bool:
    """Return True for a name that is, or lies in a folder that is, of no use to anybody."""
    return name.startswith((".", "__MACOSX/")) or "/." in name


def _parents(name: str) -> Iterator[str]:
    while name:
        name = posixpath.dirname(name)
        yield name
