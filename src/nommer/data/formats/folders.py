"""Class folders: a folder of images per class, maybe by split, on disk or in archives."""

import random
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar
from unicodedata import normalize

from nommer.data.archives import find_archive, is_archive_name, pass_over_wrappers
from nommer.data.formats.folder_names import ALL_FOLDERS, kind_of
from nommer.data.formats.labelled import (
    Issue,
    LabelledImages,
    Split,
    check_folder,
    check_names,
    no_image,
    problem,
    split_of,
)
from nommer.data.formats.oddities import find_oddities
from nommer.data.formats.suspects import check_class_folders, find_unknown_labels, image_files
from nommer.data.image_paths import (
    direct_files,
    is_folder,
    is_image_name,
    sub_folders,
    visible_files,
)
from nommer.errors import InputError
from nommer.settings.labels import LabelOptions
from nommer.shown import quote

LAYOUTS = """accepted layouts for classification:
  DATA/train/CLASS/*.jpg and DATA/val/CLASS/*.jpg   (val may be called valid, validation or test)
  DATA/CLASS/*.jpg                                  (split by nommer, stratified and seeded)
  the same in DATA.zip or DATA.tar, or in DATA/train.tar and DATA/val.tar"""


@dataclass(frozen=True)
class Sample:
    """One labelled image file."""

    path: Path
    label: int
    error: str | None = None
    """The reason for which its label cannot be used, and is -1."""
    labels: tuple[int, ...] | None = None
    """All its classes, where images may have several; `label` is then the first of them,
    -1 without any.
    """

    @property
    def classes(self) -> tuple[int, ...]:
        """All its classes."""
        return (self.label,) if self.labels is None else self.labels


@dataclass(frozen=True)
class ClassFolders(LabelledImages[Sample]):
    """Labelled images by split, with the class names that their labels index."""

    target: ClassVar[str] = "class"

    class_ids: tuple[str, ...] = ()
    """Ids of the classes in the data where these are not their names, as WordNet ids."""
    multi_label: bool = False
    """True where an image may have several classes, or none."""

    def target_of(self, sample: Sample) -> str:
        """The names of the sample's classes; "" where its label cannot be used."""
        return "" if sample.error else ";".join(self.class_names[label] for label in sample.classes)


def read_class_folders(
    root: Path,
    class_names: tuple[str, ...] | None = None,
    options: LabelOptions = LabelOptions(),
) -> ClassFolders:
    """Find the class folders under `root`, which is not changed.

    Without sub-folders for splits everything is "train"; a "test" folder without a "val" beside it
    is "val".

    Args:
        root: folder or archive of the data.
        class_names: the classes of a model to evaluate, in its order; the data may lack some of
            them. By default the classes are the names of the training folders, sorted.
        options: whether folders that hardly are classes are taken for such.

    Raises:
        InputError: no folder, fewer than two classes, a class without images, or a class that
            `class_names` or the training folders lack.
    """
    if not (is_folder(root) and split_archives(root)):
        check_folder(root, LAYOUTS)
    folders, issues = split_folders(root, needs_train=class_names is None)
    names = class_names or _class_names(folders["train"])
    if class_names is None and options.format != "folders":
        check_class_folders(root, folders["train"], _images_by_class(folders["train"], names))
    beside = [] if root in folders.values() else _beside(root, folders.values())
    issues += [
        problem(path, "lies beside the split folders", "left out")
        for path in beside
        if str(path) not in {issue.file for issue in issues}
    ]
    whose = "the model's" if class_names else "the training"
    splits: dict[Split, tuple[Sample, ...]] = {}
    for split, folder in folders.items():
        must_fill = split == "train" and class_names is None
        splits[split] = _read_split(folder, names, issues, whose=whose, must_fill=must_fill)
    issues += find_oddities(root, names)
    return ClassFolders(root, names, splits, tuple(issues))


def _read_split(
    folder: Path, names: tuple[str, ...], issues: list[Issue], *, whose: str, must_fill: bool
) -> tuple[Sample, ...]:
    """The images of one split; what is left out becomes an issue."""
    by_name = _folders_by_name(folder, issues)
    check_names(folder, list(by_name), names, whose)
    samples, ignored = _list_samples(folder, by_name, names, must_fill=must_fill)
    issues += [no_image(path) for path in ignored]
    issues += find_unknown_labels(folder, [sample.path for sample in samples], ignored)
    stray = _stray_images(folder)
    issues += [problem(path, "lies in no class folder", "left out") for path in stray]
    if not samples:
        raise InputError(f"{folder}: no images in the class folders of this split; {LAYOUTS}")
    return tuple(samples)


def _folders_by_name(folder: Path, issues: list[Issue]) -> dict[str, list[Path]]:
    """The class folders by their names, which may be encoded in several ways."""
    found: dict[str, list[Path]] = defaultdict(list)
    for child in sub_folders(folder):
        found[normalize("NFC", child.name)].append(child)
    for name, folders in found.items():
        if len(folders) > 1:
            what = f"{len(folders)} folders are called {name!r}, their letters encoded otherwise"
            issues.append(problem(folder, what, "taken for one class"))
    return found


def _images_by_class(folder: Path, names: tuple[str, ...]) -> dict[str, list[Path]]:
    return {name: image_files(folder / name) for name in names if is_folder(folder / name)}


def split_folders(
    root: Path, *, needs_train: bool = False
) -> tuple[dict[Split, Path], list[Issue]]:
    """The folder of every split; `root` for "train" where there are none.

    With issues about flat folders of test images, which have no classes and are left out.

    Raises:
        InputError: two for one split, none for "train" where that is needed, or some without class
            folders.
    """
    found: dict[Split, Path] = {}
    flat: list[Path] = []
    for folder in sub_folders(root):
        split = split_of(folder.name)
        if split is None:
            continue
        if not sub_folders(folder):
            flat += [folder] if _stray_images(folder) else []
        elif split in found:
            raise InputError(
                f"{root}: both {found[split].name} and {folder.name} hold {split} images; keep one"
            )
        else:
            found[split] = folder
    found = found or split_archives(root)
    if not found and flat and all(split_of(folder.name) for folder in sub_folders(root)):
        raise InputError(
            f"{flat[0]}: holds images but no class folders, as the other splits do not either; "
            f"{LAYOUTS}"
        )
    if not found:
        return {"train": root}, []
    unlabelled = [folder for folder in flat if split_of(folder.name) == "test"]
    issues = [Issue(str(folder), "images without a class", "left out") for folder in unlabelled]
    flat = [folder for folder in flat if folder not in unlabelled]
    if flat:
        raise InputError(
            f"{flat[0]}: holds images but no class folders, beside {', '.join(found)} that do; "
            f"{LAYOUTS}"
        )
    if needs_train and "train" not in found:
        raise InputError(
            f"{root}: holds {', '.join(path.name for path in found.values())} but no train folder; "
            f"{LAYOUTS}"
        )
    if "val" not in found and "test" in found:
        found["val"] = found.pop("test")
    return found, issues


def split_archives(root: Path) -> dict[Split, Path]:
    """The folders inside archives that are named like splits, such as `train.tar`.

    Raises:
        InputError: two for one split, or a damaged one.
    """
    found: dict[Split, Path] = {}
    for path in [] if find_archive(root) else direct_files(root):
        split = split_of(path.name.partition(".")[0]) if is_archive_name(path) else None
        if split in found:
            raise InputError(
                f"{root}: both {found[split].name} and {path.name} hold {split} images; keep one"
            )
        if split is not None:
            found[split] = pass_over_wrappers(path)
    return found


def _beside(root: Path, used: Collection[Path]) -> list[Path]:
    """Folders and images under `root` that belong to no split."""
    return [folder for folder in sub_folders(root) if folder not in used] + _stray_images(root)


def _class_names(folder: Path) -> tuple[str, ...]:
    names = tuple(sorted({normalize("NFC", child.name) for child in sub_folders(folder)}))
    archive = find_archive(folder)
    if names and all(kind_of(name) in ALL_FOLDERS for name in names):
        unpack = f"; unpack {archive[0]} first, if that is so" if archive else ""
        raise InputError(
            f"{folder}: folders {', '.join(names)} look like detection or segmentation data"
            f"{unpack}; {LAYOUTS}"
        )
    if len(names) < 2:
        found = f"one class folder, {quote(names[0])}" if names else "no class folders"
        raise InputError(f"{folder}: found {found}, expected at least two; {LAYOUTS}")
    return names


def _list_samples(
    folder: Path,
    by_name: Mapping[str, Sequence[Path]],
    class_names: tuple[str, ...],
    *,
    must_fill: bool,
) -> tuple[list[Sample], list[Path]]:
    """Images of every class folder (searched deeply), and the files that are left out."""
    samples: list[Sample] = []
    ignored: list[Path] = []
    for label, name in enumerate(class_names):
        folders = by_name.get(normalize("NFC", name), [])
        files = [path for child in folders for path in visible_files(child)]
        images = [path for path in files if is_image_name(path)]
        if must_fill and not images:
            raise InputError(
                f"{folder / name}: this class folder holds no images; add some or remove the folder"
            )
        samples += [Sample(path, label) for path in images]
        ignored += [path for path in files if not is_image_name(path)]
    return samples, ignored


def _stray_images(folder: Path) -> list[Path]:
    return [path for path in direct_files(folder) if is_image_name(path)]


def split_stratified(data: ClassFolders, *, fraction: float, seed: int) -> ClassFolders:
    """Hold back `fraction` of every class of "train" as "val", chosen by `seed`.

    The choice is the same on every machine. A class keeps at least one image for training; with
    two or more images it gives at least one to validation.
    """
    by_label: dict[int, list[Sample]] = defaultdict(list)
    for sample in data.splits["train"]:
        by_label[sample.label].append(sample)
    held: set[Sample] = set()
    for label, samples in by_label.items():
        order = sorted(samples, key=lambda sample: data.name_of(sample.path))
        random.Random(f"{seed}/{data.class_names[label]}").shuffle(order)  # noqa: S311 - a split is no secret
        held.update(order[: min(max(1, round(fraction * len(order))), len(order) - 1)])
    train = tuple(sample for sample in data.splits["train"] if sample not in held)
    val = tuple(sample for sample in data.splits["train"] if sample in held)
    if not val:
        raise InputError(
            f"{data.root}: no class has two images, so none can be held back for validation; add a "
            "val/ folder"
        )
    return replace(data, splits=data.splits | {"train": train, "val": val})
