"""Chunks as LitData's `optimize` writes them: many samples in one file, `chunk-0-3.bin`.

Beside them `index.json` tells the chunks and the fields of a sample. A chunk is read as an archive
whose files are its images, called by their number; all else is as for other archives. One of data
that lie elsewhere need not be here: it is brought when it is read, and may be deleted again.

LitData reads one sample of one chunk. Its data set is not used: that has an order which depends on
the number of workers, and resumes with the same number alone. Nor are fields that it would
unpickle, or decode by another decoder than this package's.
"""

import json
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from io import FileIO
from pathlib import Path
from threading import RLock
from typing import Any

from nommer.data.archive_kinds import Archive, check_size, row_name
from nommer.data.lost import LostError
from nommer.errors import InputError
from nommer.extras import require
from nommer.files import is_file

INDEX = "index.json"
_BEGINNING, _ENDING = "chunk-", ".bin"

_IMAGES = ("bytes", "file")
"""Formats of fields that give an image file as it is."""

_CLASSES = ("int", "str", "text")
_SAFE = (*_IMAGES, *_CLASSES, "bool", "float", "json")
"""Formats of fields that LitData reads without executing anything."""

_CLASS_NAMES = ("label", "labels", "class", "cls", "target")


def is_chunk(path: Path) -> bool:
    """Return True for the name of a chunk with an index beside it, whether it is here or not."""
    named = path.name.startswith(_BEGINNING) and path.name.endswith(_ENDING)
    return named and is_file(path.parent / INDEX)


def chunks_of(samples: Sequence[Any]) -> list[int] | None:
    """Return which chunk each sample lies in, by number; None where not all lie in chunks."""
    folders = [getattr(sample, "path", Path()).parent for sample in samples]
    numbers = {folder: number for number, folder in enumerate(dict.fromkeys(folders))}
    return [numbers[folder] for folder in folders] if all(map(is_chunk, numbers)) else None


@dataclass(frozen=True)
class Fields:
    """The fields of a sample: which are image and class."""

    image: Any
    """Name, or number in a tuple."""
    label: Any


@dataclass(frozen=True)
class Index:
    """The facts of `index.json`."""

    chunks: tuple[tuple[str, int], ...]
    """Name and number of samples of each."""
    fields: Fields


def read_index(folder: Path) -> Index:
    """Read the index of the chunks in a folder.

    Raises:
        InputError: it is damaged, or tells of what is not read.
    """
    file = folder / INDEX
    facts = file.stat()
    return _read_index(file, facts.st_mtime_ns, facts.st_size)


@lru_cache(maxsize=64)
def _read_index(file: Path, modified: int, size: int) -> Index:
    try:
        told = json.loads(file.read_bytes())
        config = told["config"]
        chunks = tuple((one["filename"], int(one["chunk_size"])) for one in told["chunks"])
        formats = [str(one).partition(":")[0] for one in config["data_format"]]
        names = _names(json.loads(config["data_spec"])[1], len(formats))
        packed = config.get("compression") or config.get("encryption")
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise InputError(f"{file}: is no index of LitData's chunks: {error!r}") from error
    if packed:
        raise InputError(f"{file}: its chunks are compressed or encrypted; write them without")
    return Index(chunks, _fields(file, formats, names))


def _names(spec: Any, count: int) -> list[Any]:
    """Return the names of the fields of a flat dictionary; numbers for a tuple or list."""
    if spec["context"] and spec["type"].endswith("dict"):
        return list(json.loads(spec["context"]))
    return list(range(count))


def _fields(file: Path, formats: list[str], names: list[Any]) -> Fields:
    images = [n for n, form in enumerate(formats) if form in _IMAGES]
    able = [n for n, form in enumerate(formats) if form in _CLASSES]
    usual = [n for n in able if n < len(names) and names[n] in _CLASS_NAMES]
    labels = usual[:1] or (able if len(able) == 1 else [])
    unsafe = any(form not in _SAFE for form in formats)
    if unsafe or len(images) != 1 or not labels or len(names) != len(formats):
        found = ", ".join(f"{name} ({form})" for name, form in zip(names, formats, strict=False))
        raise InputError(
            f"{file}: a sample has the fields {found}; expected one image, as the bytes of its "
            f"file, one class, a whole number or text, called {_CLASS_NAMES[0]}, and nothing "
            f"but {', '.join(_SAFE)}: write it as docs/data.md shows"
        )
    return Fields(names[images[0]], names[labels[0]])


class Chunk(Archive):
    """The samples of a chunk, read by LitData."""

    def __init__(self, path: Path) -> None:
        self._path, index = path, read_index(path.parent)
        names = [name for name, _ in index.chunks]
        if path.name not in names:
            raise OSError(f"{INDEX} beside it does not name it")
        self._fields, self._number = index.fields, names.index(path.name)
        self._first = sum(count for _, count in index.chunks[: self._number])
        count = index.chunks[self._number][1]
        super().__init__(path, [row_name(number) for number in range(count)])

    def read(self, name: str) -> bytes:
        """The image file of one sample; `KeyError` where there is no such sample."""
        number = int(name) if name.isdecimal() else -1
        if not 0 <= number < len(self.names):
            raise KeyError(name)
        image = self._sample(number)[self._fields.image]
        if not isinstance(image, bytes | memoryview):
            raise OSError(f"its image is of {type(image).__name__}, not the bytes of a file")
        check_size(len(image))
        return bytes(image)

    def labels(self) -> list[str]:
        """The class of every sample, as a number or a name."""
        samples = (self._sample(number) for number in range(len(self.names)))
        return [str(sample[self._fields.label]) for sample in samples]

    def _sample(self, number: int) -> Any:
        litdata = require("litdata.streaming.sampler", "streaming", str(self._path))
        index = litdata.ChunkedIndex(index=self._first + number, chunk_index=self._number)
        for _ in range(_TRIES):
            if not is_file(self._path):  # elsewhere, or deleted again to make room
                from nommer.data.remote_chunks import bring_chunk  # noqa: PLC0415 - seldom needed

                _readers.drop(self._path)
                bring_chunk(self._path)
            with _readers.of(self._path) as reader:
                try:
                    return reader.read(index)
                except Exception as error:
                    if is_file(self._path):
                        raise OSError(f"the chunk is damaged: {error}") from error
        raise LostError(str(self._path), "is deleted as soon as it is here; allow more room")


_TRIES = 5


class _Readers:
    """LitData's readers, one per chunk, of those that were read last in this process."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew, also in a process that was just forked."""
        self._open: OrderedDict[Path, Any] = OrderedDict()
        self._lock = RLock()

    def drop(self, path: Path) -> None:
        """Close the reader of a chunk that is no longer here."""
        with self._lock:
            if path in self._open:
                _close(self._open.pop(path))

    @contextmanager
    def of(self, path: Path) -> Iterator[Any]:
        """Give the reader of a chunk, to one thread at a time."""
        with self._lock:
            if path not in self._open:
                self._open[path] = _new_reader(path)
            self._open.move_to_end(path)
            while len(self._open) > _MOST_OPEN:
                _close(self._open.popitem(last=False)[1])
            yield self._open[path]


def _new_reader(path: Path) -> Any:
    reader = require("litdata.streaming.reader", "streaming", str(path))
    loader = require("litdata.streaming.item_loader", "streaming", str(path))
    return reader.BinaryReader(str(path.parent), item_loader=loader.PyTreeLoader())


def _close(reader: Any) -> None:
    """Close the file of a reader, which leaves that to the end of the process."""
    for value in vars(reader._item_loader).values():
        if isinstance(value, FileIO):
            value.close()


_MOST_OPEN = 16
"""Chunks that a process has open: more than those whose samples are shuffled among each other."""

_readers = _Readers()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_readers.forget)
