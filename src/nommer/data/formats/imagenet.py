"""ImageNet's own layouts, and Tiny ImageNet's.

Folders called after WordNet ids, validation images with a list beside.

Classes are ordered by WordNet id, as everywhere, and called by the first of their words where the
data have those; models whose classes are the ids themselves are matched by these.
"""

import csv
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path

from nommer.data.archives import pass_over_wrappers
from nommer.data.formats.folders import ClassFolders, split_archives
from nommer.data.formats.labelled import Issue, Split, check_names, no_image, problem, shorten
from nommer.data.formats.listed import Entry, collect, read_text
from nommer.data.image_paths import (
    direct_files,
    is_folder,
    is_image_name,
    sub_folders,
    visible_files,
)
from nommer.errors import InputError

LAYOUTS = """\
  DATA/wnids.txt, train/WNID/ and val/val_annotations.txt  (Tiny ImageNet; or train.tar.gz)
  DATA/ILSVRC/Data/CLS-LOC/train/WNID/, val/ and LOC_val_solution.csv     (ImageNet as on Kaggle)
  DATA/train/WNID/, val/ and LOC_val_solution.csv or LOC_synset_mapping.txt"""

_MARKS = ("wnids.txt", "LOC_val_solution.csv", "LOC_synset_mapping.txt")
_NAMES = ("LOC_synset_mapping.txt", "words.txt")
_SOLUTIONS = ("LOC_val_solution.csv", "val_annotations.txt")
_KAGGLE = Path("ILSVRC", "Data", "CLS-LOC")


@dataclass(frozen=True)
class _Place:
    """The places of the parts of the data set."""

    root: Path
    splits: dict[Split, Path]
    texts: dict[str, Path]
    """Files that say something about the images, by name."""


def is_imagenet(root: Path) -> bool:
    """Tell if the data are laid out in one of these ways."""
    if not is_folder(root):
        return False
    home = pass_over_wrappers(root)
    return any(path.name in _MARKS for path in direct_files(home)) or is_folder(
        home / _KAGGLE / "train"
    )


def read_imagenet(root: Path, class_names: tuple[str, ...] | None = None) -> ClassFolders:
    """Find the images and their classes under `root`, which is not changed.

    Args:
        root: folder or archive of the data.
        class_names: the classes of a model to evaluate, in its order: names here, or WordNet ids.

    Raises:
        InputError: no training images, a list that does not fit the files, or classes that
            `class_names` lack.
    """
    place = _find(root)
    issues: list[Issue] = []
    entries = [
        entry
        for split, folder in place.splits.items()
        for entry in _entries(place, split, folder, issues)
    ]
    ids = _ids(place, entries)
    names = _names(place, ids)
    called = _called(root, ids, names, class_names)
    labelled = (Entry(e.where, e.path, called[e.label], e.split) for e in entries)
    if class_names is not None:
        return collect(root, labelled, class_names=class_names, issues=issues)
    unordered = collect(
        root, labelled, class_names=tuple(called[wnid] for wnid in ids), issues=issues
    )
    lacking = set(range(len(ids))) - {sample.label for sample in unordered.splits.get("train", ())}
    if lacking:
        shown = shorten([ids[label] for label in sorted(lacking)], 5)
        raise InputError(f"{root}: no training images of {len(lacking)} classes: {shown}; add them")
    return replace(unordered, class_ids=ids if ids != unordered.class_names else ())


def _find(root: Path) -> _Place:
    home = pass_over_wrappers(root)
    inner = home / _KAGGLE if is_folder(home / _KAGGLE) else home
    archives = split_archives(home)
    found: dict[Split, Path] = {}
    for split in ("train", "val", "test"):
        if is_folder(inner / split):
            found[split] = inner / split
        elif split in archives:
            found[split] = archives[split]
    if "train" not in found:
        raise InputError(f"{root}: found no train folder; accepted layouts:\n{LAYOUTS}")
    texts = {path.name: path for folder in (home, *found.values()) for path in direct_files(folder)}
    return _Place(root, found, texts)


def _entries(place: _Place, split: Split, folder: Path, issues: list[Issue]) -> Iterator[Entry]:
    """The images of one split: of folders called after classes, or those that a list names."""
    classes = [child for child in sub_folders(folder) if child.name != "images"]
    beside = [
        *direct_files(folder),
        *(visible_files(folder / "images") if is_folder(folder / "images") else ()),
    ]
    solution = next(
        (place.texts[name] for name in _SOLUTIONS if split == "val" and name in place.texts), None
    )
    if classes:
        issues += [
            problem(str(path), "lies in no class folder", "left out")
            for path in beside
            if is_image_name(path)
        ]
        for child in classes:
            for path in visible_files(child):
                if is_image_name(path):
                    yield Entry(str(child), path, child.name, split)
                elif not path.name.endswith("_boxes.txt"):
                    issues.append(no_image(path))
    elif solution is not None:
        yield from _listed(solution, folder, split, issues)
    elif split == "test":
        issues.append(Issue(str(folder), "images without a class", "left out"))
    else:
        names = " or ".join(_SOLUTIONS)
        raise InputError(
            f"{folder}: found no folders of classes, and no {names} that says what is what; add it"
        )


def _listed(solution: Path, folder: Path, split: Split, issues: list[Issue]) -> Iterator[Entry]:
    """The images in a folder, each with the class that a list gives it.

    A listed one may be missing.
    """
    images = folder / "images" if is_folder(folder / "images") else folder
    unlisted = {path.name: path for path in visible_files(images) if is_image_name(path)}
    found = dict(unlisted)
    for where, name, wnid in _rows(solution):
        path = found.get(name) or images / name
        unlisted.pop(name, None)
        yield Entry(where, path, wnid, split)
    issues += [
        problem(str(path), f"is not in {solution.name}", "left out") for path in unlisted.values()
    ]


def _rows(solution: Path) -> Iterator[tuple[str, str, str]]:
    """Return place in the file, name of the image file, and WordNet id of each line."""
    kaggle = solution.suffix == ".csv"
    rows = list(csv.reader(StringIO(read_text(solution)), delimiter="," if kaggle else "\t"))
    for number, row in enumerate(rows, start=1):
        if not row or (kaggle and row[0] == "ImageId"):
            continue
        if len(row) < 2 or not row[1].strip():
            raise InputError(
                f"{solution}: line {number} holds no class; expected the name of an image and its "
                "class"
            )
        name = f"{row[0]}.JPEG" if kaggle and not is_image_name(Path(row[0])) else row[0]
        yield f"{solution} line {number}", name, row[1].split()[0]


def _ids(place: _Place, entries: Collection[Entry]) -> tuple[str, ...]:
    """The WordNet ids that are the classes, sorted.

    Raises:
        InputError: an image is of another class than those that `wnids.txt` names, or that are
            trained.
    """
    trained = {entry.label for entry in entries if entry.split == "train"}
    file = place.texts.get("wnids.txt")
    ids = tuple(sorted(set(read_text(file).split()))) if file else tuple(sorted(trained))
    known = set(ids)
    unknown = next((entry for entry in entries if entry.label not in known), None)
    if unknown is not None:
        found = sorted({entry.label for entry in entries if entry.split == unknown.split})
        check_names(Path(unknown.where), found, ids, f"{file.name}'s" if file else "the training")
    return ids


def _names(place: _Place, ids: tuple[str, ...]) -> dict[str, str]:
    """A name for every id.

    The first of its words, all of them where two classes share the first, else the id too.
    """
    file = next((place.texts[name] for name in _NAMES if name in place.texts), None)
    if file is None:
        return {wnid: wnid for wnid in ids}
    lines = (line.split(None, 1) for line in read_text(file).splitlines())
    words = {parts[0]: parts[1].strip() for parts in lines if len(parts) == 2}
    names = {wnid: words.get(wnid, wnid).split(",")[0] for wnid in ids}
    for spell in (words.get, lambda wnid: f"{words.get(wnid, wnid)} ({wnid})"):
        counts = Counter(names.values())
        names = {
            wnid: name if counts[name] == 1 else spell(wnid) or wnid for wnid, name in names.items()
        }
    return names


def _called(
    root: Path, ids: tuple[str, ...], names: dict[str, str], class_names: tuple[str, ...] | None
) -> dict[str, str]:
    """Return what each id is called among `class_names`: its name, or the id itself."""
    if class_names is None:
        return names
    known = {wnid: name if name in class_names else wnid for wnid, name in names.items()}
    check_names(
        root,
        [known[wnid] if known[wnid] in class_names else names[wnid] for wnid in ids],
        class_names,
    )
    return known
