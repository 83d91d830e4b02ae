"""LitData's chunks: `index.json` and `chunk-*.bin`, in the folder of every split or alone.

For data that are larger than a disk. A sample has an image and a class; which class each has is
read from the chunks, and kept where the data are a copy of what lies elsewhere.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from nommer.data.archives import open_archive
from nommer.data.chunks import INDEX, Chunk, read_index
from nommer.data.formats.folders import ClassFolders
from nommer.data.formats.labelled import Split, split_of
from nommer.data.formats.listed import Entry, collect
from nommer.data.image_paths import sub_folders
from nommer.data.parallel import read_all
from nommer.data.remote_cache import CONTENT, MANIFEST
from nommer.errors import InputError
from nommer.files import write_json

LAYOUTS = (
    "  DATA/train/index.json and DATA/train/chunk-*.bin                  "
    "(LitData's chunks; or DATA/index.json)"
)

_LABELS = "labels.json"
"""In the folder of a copy, the classes of all samples of every chunk."""


def find_chunks(root: Path) -> dict[Split, Path]:
    """Return the folders of chunks by split; nothing for other data."""
    if not root.is_dir():
        return {}
    if _is_index(root / INDEX):
        return {"train": root}
    places = {split: child for child in sub_folders(root) if (split := split_of(child.name))}
    return {split: place for split, place in places.items() if _is_index(place / INDEX)}


def _is_index(file: Path) -> bool:
    try:
        return file.is_file() and '"data_format"' in file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False


def read_chunks(root: Path, class_names: tuple[str, ...] | None = None) -> ClassFolders:
    """Read which samples the chunks hold, and their classes.

    Args:
        root: the folder of the chunks, or of the splits.
        class_names: the classes of a model to evaluate, in its order.

    Raises:
        InputError: a damaged index or chunk, or samples of another kind.
    """
    chunks = [
        (split, folder / name)
        for split, folder in find_chunks(root).items()
        for name, _ in read_index(folder).chunks
    ]
    labels = _labels_of([path for _, path in chunks], root)
    entries = (entry for split, path in chunks for entry in _entries(path, split, labels[path]))
    return collect(root, entries, class_names=class_names)


def _entries(path: Path, split: Split, labels: list[str]) -> Iterator[Entry]:
    for number, label in enumerate(labels):
        where = path / f"{number:06}"
        yield Entry(str(where), where, label, split)


def _labels_of(paths: list[Path], root: Path) -> dict[Path, list[str]]:
    """Return the classes of the samples of every chunk; each is read whole for that, once."""
    kept = root.parent.parent / _LABELS
    of_copy = root.parent.name == CONTENT and (root.parent.parent / MANIFEST).is_file()
    if of_copy and kept.is_file():
        told = json.loads(kept.read_bytes())
        return {path: told[path.relative_to(root).as_posix()] for path in paths}
    found = read_all(_labels, paths, what="reading classes", processes=False)
    labels = dict(zip(paths, found, strict=True))
    if of_copy:
        write_json(kept, {p.relative_to(root).as_posix(): some for p, some in labels.items()})
    return labels


def _labels(path: Path) -> list[str]:
    chunk = open_archive(path)
    assert isinstance(chunk, Chunk)  # noqa: S101 - by its name
    try:
        return chunk.labels()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error}; write the chunks again") from error
