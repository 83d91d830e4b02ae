"""Images without labels, from wherever they lie, and the probe that measures what is learned."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from nommer.data.archives import is_archive_name
from nommer.data.formats.find import find_task
from nommer.data.formats.folder_names import (
    IMAGE_FOLDERS,
    MASK_FOLDERS,
    OTHER_FOLDERS,
    split_and_kind,
)
from nommer.data.formats.folders import ClassFolders, Sample
from nommer.data.formats.labelled import (
    Issue,
    Split,
    no_image,
    split_as_csv,
    split_randomly,
)
from nommer.data.formats.source import Source
from nommer.data.formats.split_lists import splits_listed
from nommer.data.image_paths import UNREAD_EXTENSIONS, is_folder, is_image_name, visible_files
from nommer.data.remote import local
from nommer.errors import InputError
from nommer.progress import notice
from nommer.settings.pretrain import PretrainSettings
from nommer.settings.train import TrainSettings
from nommer.tasks.classification.data import ClassificationSource
from nommer.tasks.data import Auditing, Data, Found

_ARROW = ".arrow"

_LABELS, _FOR_TESTS = "labels that are images", "images to evaluate a model on"
"""Reasons to leave an image out."""

PROBE_FRACTION = 0.2
"""Share of a probe's images that are asked about, where it has no val."""


@dataclass(frozen=True)
class UnlabelledImages(ClassFolders):
    """Images without labels, and those with classes that measure what is learned."""

    target: ClassVar[str] = "label"

    probe: ClassFolders | None = None

    @property
    def probe_samples(self) -> tuple[Sample, ...]:
        """The probe's training images, and then those that are asked about."""
        return () if self.probe is None else (*self.known, *self.asked)

    @property
    def known(self) -> tuple[Sample, ...]:
        """The probe's training images."""
        return () if self.probe is None else self.probe.splits["train"]

    @property
    def asked(self) -> tuple[Sample, ...]:
        """The probe's images that are asked about."""
        return () if self.probe is None else self.probe.splits["val"]


class UnlabelledSource(ClassificationSource):
    """Any images."""

    def find(self, settings: TrainSettings, source: Source) -> Data:
        """Find the images of all places, and the probe's."""
        assert isinstance(settings, PretrainSettings)  # noqa: S101 - the verb's own
        found = [read_images_of(local(place)) for place in settings.places]
        splits: dict[Split, tuple[Sample, ...]] = {}
        for one in found:
            for split, samples in one.splits.items():
                splits[split] = (*splits.get(split, ()), *samples)
        if not splits.get("train"):
            raise InputError(
                f"{settings.data}: all images are of a split called val; give that folder alone"
            )
        issues = tuple(issue for one in found for issue in one.issues)
        _tell_left_out(issues)
        probe = None if settings.probe is None else self._probe(settings)
        return UnlabelledImages(settings.data, (), splits, issues, multi_label=True, probe=probe)

    def _probe(self, settings: PretrainSettings) -> ClassFolders:
        root: Any = settings.probe
        source = Source(root)
        task = find_task(source)
        if task != "classification":
            raise InputError(
                f"--probe {root}: holds data for {task}; expected images of one class each"
            )
        probe: Any = super().read(source)
        return probe

    def split(self, data: Any, *, fraction: float, seed: int) -> Data:
        """Hold back a fraction of all images."""
        held: Data = split_randomly(data, fraction=fraction, seed=seed)
        return held

    def audit(self, data: Any, how: Auditing) -> Found:
        """Read every image, the probe's too, and leave out and list those that cannot be."""
        found = super().audit(data, how)
        if data.probe is None:
            return found
        probe = super().audit(data.probe, how).data
        if "val" not in probe.splits:
            probe = super().split(probe, fraction=PROBE_FRACTION, seed=0)
        issues = (*found.data.issues, *probe.issues)
        return replace(found, data=replace(found.data, probe=probe, issues=issues))

    def held_back(self, data: Any) -> tuple[Sample, ...]:
        """Return the images held back, and the probe's."""
        return (*data.splits["val"], *data.probe_samples)

    def evaluated(self, data: Any) -> tuple[Sample, ...]:
        """Return all images, and the probe's."""
        return (*data.samples(), *data.probe_samples)

    def describe(self, data: Any) -> str:
        """Tell of the probe."""
        if data.probe is None:
            return "no labels, "
        return (
            f"no labels, a probe of {len(data.probe.class_names)} classes ({len(data.known)} "
            f"images to know, {len(data.asked)} asked about), "
        )

    def describe_classes(self, data: Any) -> dict[str, Any]:
        """Return that there are no classes, and what tells the probe from another."""
        probe = data.probe
        if probe is None:
            return {"classes": [], "probe": None}
        files = hashlib.sha256(split_as_csv(probe).encode(errors="surrogateescape")).hexdigest()
        return {"classes": [], "probe": {"classes": list(probe.class_names), "files": files}}


def read_images_of(place: Path) -> ClassFolders:
    """Find the images of a folder, searched deeply and into its archives, or of an archive.

    Raises:
        InputError: none of them, or no images in it.
    """
    if not is_folder(place) and place.suffix != _ARROW:
        found = "is a file" if place.is_file() else "does not exist"
        raise InputError(
            f"{place}: {found}; expected a folder of images, an archive (.zip, .tar, .tar.gz, ...) "
            "or a folder of shards"
        )
    files = list(_files(place))
    issues = [no_image(path) for path in files if path.suffix.lower() in UNREAD_EXTENSIONS]
    splits: dict[Split, list[Sample]] = {}
    for path, (split, reason) in _splits_told(place, files).items():
        if reason:
            issues.append(Issue(str(path), reason, "left out"))
        else:
            splits.setdefault(split, []).append(Sample(path, -1, labels=()))
    if not splits:
        raise InputError(f"{place}: no images that could be learned from, {len(files)} other files")
    parts = {split: tuple(samples) for split, samples in splits.items()}
    return ClassFolders(place, (), parts, tuple(issues), multi_label=True)


def _files(place: Path) -> Iterator[Path]:
    for path in visible_files(place):
        if path != place and (is_archive_name(path) or path.suffix == _ARROW):
            yield from visible_files(path)
        else:
            yield path


def _splits_told(place: Path, files: list[Path]) -> dict[Path, tuple[Split, str]]:
    """Return the split of every image, by its folders or by files that list it as val or test.

    With why it is left out, if it is.
    """
    images = [path for path in files if is_image_name(path)]
    beside = any(kind in IMAGE_FOLDERS for path in images for kind in _kinds(path, place))
    told = {path: _split_of(path, place, has_image_folders=beside) for path in images}
    seen = {path: split for path, (split, reason) in told.items() if not reason.endswith(_LABELS)}
    held_back: Counter[Path] = Counter()
    for path, (split, file) in splits_listed(place, files, seen).items():
        if split == "val" and seen[path] == "train":
            told[path] = split, ""
            held_back[file] += 1
        elif split == "test" and seen[path] != "test":
            told[path] = split, f"is named in {file.relative_to(place)}, {_FOR_TESTS}"
    for file, count in held_back.items():
        notice(f"held back, for {file} names them: {count} images")
    return told


def _split_of(path: Path, place: Path, *, has_image_folders: bool) -> tuple[Split, str]:
    """Return the split of an image, and why it is left out, if it is."""
    found: Split = "train"
    for name in _folders(path, place):
        split, kind = split_and_kind(name)
        is_mask = kind in MASK_FOLDERS or kind in OTHER_FOLDERS
        if name.endswith("annot") or (is_mask and has_image_folders):
            return found, f"lies in {name}, {_LABELS}"
        whole = kind in ("", *IMAGE_FOLDERS)  # and no class such as "test tube"
        if split == "test" and whole:
            return split, f"lies in {name}, {_FOR_TESTS}"
        found = split or found if whole else found
    return found, ""


def _folders(path: Path, place: Path) -> list[str]:
    """Names of the folders and archives that lead from `place` to an image, in small letters."""
    names = [part.lower() for part in path.relative_to(place).parts[:-1]]
    return [name.partition(".")[0] if is_archive_name(Path(name)) else name for name in names]


def _kinds(path: Path, place: Path) -> list[str]:
    return [split_and_kind(name)[1] for name in _folders(path, place)]


def _tell_left_out(issues: tuple[Issue, ...]) -> None:
    for reason in (_LABELS, _FOR_TESTS):
        count = sum(issue.what.endswith(reason) for issue in issues)
        if count:
            notice(f"not learned from, {reason}: {count}")
