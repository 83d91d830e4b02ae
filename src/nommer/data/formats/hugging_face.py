"""Hugging Face datasets on disk, as their `save_to_disk` leaves them.

Arrow files, rows of an image and a class.

A row is named like a file in the Arrow file, `DATA/train/data-00000-of-00001.arrow/000012`. Reading
them takes the package `datasets`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nommer.data.archive_kinds import row_name
from nommer.data.archives import open_rows
from nommer.data.formats.folders import ClassFolders
from nommer.data.formats.labelled import Issue, Split, shorten, split_of
from nommer.data.formats.listed import Entry, collect
from nommer.data.image_paths import sub_folders
from nommer.data.parsing import parse_json, read_text
from nommer.errors import InputError

LAYOUTS = (
    "  DATA/dataset_dict.json or DATA/state.json                         "
    "(Hugging Face dataset, saved to disk)"
)

_UNLABELLED = -1
"""Label of a row without a class, as in many a "test" split, where classes have names."""

_LABELS = ("label", "labels", "class", "target")


def is_hugging_face(root: Path) -> bool:
    """Tell if the folder is a dataset, or several by split, saved to disk."""
    return (root / "dataset_dict.json").is_file() or (root / "state.json").is_file()


def read_hugging_face(root: Path, class_names: tuple[str, ...] | None = None) -> ClassFolders:
    """Read which rows there are, and their classes.

    Args:
        root: the folder that was saved to.
        class_names: the classes of a model to evaluate, in its order.

    Raises:
        InputError: the package `datasets` is not installed, a damaged file, or no column of images,
            or of classes.
    """
    entries: list[Entry] = []
    issues = []
    for split, folder in list(_parts(root)):
        found = list(_entries(folder, split))
        if found and split != "train" and all(entry.error for entry in found):
            issues.append(Issue(str(folder), "images without a class", "left out"))
        else:
            entries += found
    return collect(root, entries, class_names=class_names, issues=issues)


def _parts(root: Path) -> Iterator[tuple[Split, Path]]:
    if (root / "state.json").is_file():
        yield "train", root
        return
    for folder in sub_folders(root):
        split = split_of(folder.name)
        if split is None:
            raise InputError(
                f"{folder}: no split is called so; rename it to train, val or test, or save them "
                "apart"
            )
        yield split, folder


def _entries(folder: Path, split: Split) -> Iterator[Entry]:
    for file in _arrow_files(folder):
        rows = open_rows(file).rows
        column, names = _label_column(file, rows.features)
        for number, label in enumerate(rows.data.column(column).to_pylist()):
            where = file / row_name(number)
            if label is None or (names and label == _UNLABELLED):
                yield Entry(str(where), where, "", split, f"no class: its {column} is {label}")
                continue
            yield Entry(
                str(where),
                where,
                _class_of(f"{where}: its {column} is {label}", label, names),
                split,
            )


def _class_of(what: str, label: Any, names: list[str]) -> str:
    """The class that a row's label stands for.

    Raises:
        InputError: `what`, and that it is none.
    """
    if not isinstance(label, int | str):
        raise InputError(
            f"{what}, {type(label).__name__}; expected one class, as a whole number or text; write "
            "several classes per "
            "image into a table"
        )
    if not names or isinstance(label, str):
        return str(label)
    if not 0 <= label < len(names):
        raise InputError(f"{what}; expected a class")
    return names[label]


def _arrow_files(folder: Path) -> list[Path]:
    """The data files of a dataset in their order."""
    state = folder / "state.json"
    try:
        return [folder / part["filename"] for part in parse_json(read_text(state))["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{state}: does not list the data files ({error}); save the dataset again"
        ) from error


def _label_column(file: Path, features: Any) -> tuple[str, list[str]]:
    """The column of classes, and their names where it has them.

    Raises:
        InputError: none, or several that may be it.
    """
    named = [name for name, feature in features.items() if hasattr(feature, "names")]
    usual = [name for name in _LABELS if name in features]
    chosen = usual[:1] or (named if len(named) == 1 else [])
    if not chosen:
        raise InputError(
            f"{file}: no column for the class; found {shorten(list(features))}; expected one "
            "called "
            f"{', '.join(_LABELS)}, or a single one of ClassLabel"
        )
    return chosen[0], list(getattr(features[chosen[0]], "names", []))
