"""The places of the images of YOLO data, and of the label file of each."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nommer.data.formats.labelled import Issue, Split, no_image, problem
from nommer.data.formats.yolo_description import KEYS
from nommer.data.image_paths import (
    direct_files,
    is_data_file,
    is_folder,
    is_image_name,
    is_there,
    visible_files,
)
from nommer.data.parsing import read_text
from nommer.errors import InputError
from nommer.shown import cut

_NO_LABELS = ("classes.txt",)
"""Texts that label tools write among labels, in lower case."""


@dataclass
class Places:
    """The places of images as `data.yaml` tells them."""

    root: Path
    file: Path
    content: dict[str, Any]

    def images(self, split: Split, issues: list[Issue]) -> list[Path]:
        """The images of a split, each once.

        Without any where a test split is named but absent or empty.

        Raises:
            InputError: a folder or list that is not there, holds no images, or leads out of the
                folder of the data.
        """
        values = [self.content[key] for key in KEYS[split] if self.content.get(key)][:1]
        found: dict[Path, None] = {}
        for value in values[0] if values and isinstance(values[0], list) else values:
            place = self._resolve(str(value))
            here = (
                []
                if place is None
                else self._listed(place)
                if is_data_file(place)
                else _images_in(place, issues)
            )
            if here:
                found |= dict.fromkeys(here)
            elif split == "test":
                what = (
                    f"test: {value} is not there"
                    if place is None
                    else f"test: {value} holds no images"
                )
                issues.append(problem(str(self.file), what, "no images are taken from it"))
            else:
                lack = (
                    f"is not below {self.root}"
                    if place is None
                    else "holds no images of a kind that is read"
                )
                shown = cut(str(value), 200)
                raise InputError(f"{self.file}: {split}: {shown} {lack}; correct the path")
        outside = [path for path in found if not path.is_relative_to(self.root)]
        if outside:
            raise InputError(
                f"{self.file}: {split} leads to {outside[0]}, out of {self.root}; keep all data "
                "below one folder"
            )
        return list(found)

    def _resolve(self, value: str) -> Path | None:
        """Return the folder or list that a path means, as Ultralytics or Roboflow write it.

        Nothing outside `root`.
        """
        base = str(self.content.get("path") or "")
        bare = value
        while bare.startswith("../"):
            bare = bare[3:]
        deeper = Path(value).parts[1:]  # CVAT's paths begin with data/, as Darknet's do
        tries = [self.root / base / value, self.root / value, self.root / bare]
        written_so = self.file.suffix == ".data" or value.startswith("data/")
        tries += [self.root.joinpath(*deeper)] if deeper and written_so else []
        plain = [Path(os.path.abspath(path)) for path in tries]  # noqa: PTH100 - links stay what they are
        home = Path(os.path.abspath(self.root))  # noqa: PTH100
        inside = [self.root / path.relative_to(home) for path in plain if path.is_relative_to(home)]
        return next((path for path in inside if is_there(path)), None)

    def _listed(self, file: Path) -> list[Path]:
        """The images that a list names, one a line, relative to the list or to the data."""
        lines = map(str.strip, read_text(file, errors="surrogateescape").splitlines())
        folder = file.parent.relative_to(self.root)
        return [
            self._resolve(line)
            or self._resolve(str(folder / line))
            or self.root / line.lstrip("./")
            for line in lines
            if line
        ]


def _images_in(folder: Path, issues: list[Issue]) -> list[Path]:
    """The images in a folder; other files there are listed, but for labels beside their images."""
    files = visible_files(folder)
    odd = [path for path in files if not is_image_name(path) and path.suffix.lower() != ".txt"]
    issues += [no_image(path) for path in odd]
    return [path for path in files if is_image_name(path)]


def label_file(image: Path, root: Path) -> Path:
    """Return the label file of an image.

    In `labels` in place of the last folder called `images`, or else beside it.
    """
    parts = list(image.relative_to(root).with_suffix(".txt").parts)
    folders = [number for number, part in enumerate(parts[:-1]) if part.lower() == "images"]
    if folders:
        parts[folders[-1]] = "labels" if parts[folders[-1]].islower() else "Labels"
    return root.joinpath(*parts)


class LabelFiles:
    """The label files of a data set, in whatever case their names are."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folders: dict[Path, dict[str, Path]] = {}
        self.strays: dict[Path, None] = {}
        """Those that no image has asked for, of the folders looked into."""

    def find(self, image: Path) -> Path:
        """Return the label file of an image: where YOLO puts it, or else beside the image."""
        expected = label_file(image, self.root)
        places = dict.fromkeys((expected, image.with_suffix(".txt")))
        found = [self._in_folder(place.parent).get(place.name.lower()) for place in places]
        file = next(filter(None, found), None)
        if file is not None:
            self.strays.pop(file, None)
        return file or expected

    def _in_folder(self, folder: Path) -> dict[str, Path]:
        """The label files directly in a folder, by their names in lower case."""
        if folder not in self._folders:
            files = direct_files(folder) if is_folder(folder) else []
            texts = [path for path in files if path.suffix.lower() == ".txt"]
            self._folders[folder] = {path.name.lower(): path for path in texts}
            if folder != self.root:  # where lists and descriptions lie
                named = [path for path in texts if path.name.lower() not in _NO_LABELS]
                self.strays |= dict.fromkeys(named)
        return self._folders[folder]
