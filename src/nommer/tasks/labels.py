"""Answers as labelled images: data that `check` accepts and `train` takes.

Every answered image is copied beside its labels, so that the folder is whole; two images of one
name in different folders get different names there, and `as_data.json` says which is which.
"""

import shutil
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

from nommer.data.archives import find_archive, read_bytes
from nommer.data.image_paths import is_image_name
from nommer.data.sources import ImageSource, open_any, source_name
from nommer.errors import InputError
from nommer.files import write_json
from nommer.predictions import Failure
from nommer.progress import notice
from nommer.tasks.names import UniqueNames

PROVENANCE = "as_data.json"
"""File that tells of which image each file of such data is a copy, and which have no answer."""

REFUSED = "none of these classes"
"""Reason for which an image that the model refuses is left out."""


class LabelWriter(ABC):
    """Writes answers as they come into a folder of labelled images.

    Args:
        folder: is made; must not hold anything.
        model: whose answers they are.
        confidences: write scores too, where that is a choice.

    Raises:
        InputError: the folder holds something, or confidences have no place in such data.
    """

    form: ClassVar[str]
    """As `--as-form` names it."""
    has_confidences: ClassVar[bool] = False

    def __init__(self, folder: Path, model: Any, *, confidences: bool = False) -> None:
        if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
            raise InputError(
                f"--as-data {folder}: exists and is not empty, and labels are never overwritten; "
                "choose another folder"
            )
        if confidences and not self.has_confidences:
            raise InputError(
                f"--confidences: is for --as-form yolo, not for {self.form}; leave it out"
            )
        self.folder, self.model, self.confidences = folder, model, confidences
        self.names = UniqueNames()
        self.copies: dict[str, str] = {}
        self.without: dict[str, str] = {}
        self.refused = 0
        folder.mkdir(parents=True, exist_ok=True)

    @abstractmethod
    def write(self, source: ImageSource, answer: Any, name: str) -> None:
        """Write one answer, with `name` for its files."""

    def conclude(self) -> None:  # noqa: B027 - some forms have nothing of the kind
        """Write what belongs to all answers together."""

    def add(self, source: ImageSource, answer: Any) -> None:
        """Write one answer; an image of none, or of none of the classes, is left out and listed."""
        if isinstance(answer, Failure):
            self.without[source_name(source)] = answer.error
        elif getattr(answer, "none_of_these", None):
            self.without[source_name(source)] = REFUSED
            self.refused += 1
        else:
            self.write(source, answer, self.names.of(source))

    def finish(self) -> None:
        """Write the rest, and say what was written."""
        self.conclude()
        told = {"form": self.form, "images": self.copies, "without_answer": self.without}
        write_json(self.folder / PROVENANCE, told)
        left_out = f", {len(self.without)} images without an answer left out" * bool(self.without)
        if self.refused:
            left_out += f", {self.refused} of them as {REFUSED} (--refuse false keeps these)"
        notice(
            f"{len(self.copies)} images and their labels ({self.form}) in {self.folder}{left_out}"
        )

    def copy(self, source: ImageSource, folder: Path, name: str) -> Path:
        """Put an image into a folder: its file as it is, or PNG of what is in memory."""
        folder.mkdir(parents=True, exist_ok=True)
        path = Path(source_name(source))
        is_file = isinstance(source, str | Path) and is_image_name(path)
        target = folder / f"{name}{path.suffix if is_file else '.png'}"
        if not is_file:
            open_any(source, self.model.preprocessing.reading).save(target)
        elif find_archive(path):
            target.write_bytes(read_bytes(path))
        else:
            shutil.copyfile(path, target)
        self.copies[target.relative_to(self.folder).as_posix()] = source_name(source)
        return target


def folder_name(name: str, what: str) -> str:
    """Return the name of a class where it can be that of a folder.

    Raises:
        InputError: it cannot.
    """
    if not name.strip() or name[0] == "." or any(sign in name for sign in "/\\\0"):
        raise InputError(f"{what}: no folder can be called like the class {name!r}; rename it")
    return name
