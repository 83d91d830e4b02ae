"""The model zoo: trained models of the package, or beside it in the repository (`zoo/`).

An entry is a folder called VARIANT.DATA with weights in half precision, their description and a
card: a classifier, a detector on such a network, or a network without classes to start from, which
has learned from images alone. `manifest.json` lists all entries with the checksums of their files;
no downloads. Loaded weights are float32. timm's registry in `backbone`
and `load` in `models` both need the entries, so this room lies below both, and knows names, folders
and checksums alone.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nommer import checksums
from nommer.errors import InputError

HOMES = (Path(__file__).parent, Path(__file__).parents[3] / "zoo")
"""Folders of entries: in the package, or beside it in the repository."""

MANIFEST = "manifest.json"
WEIGHTS, DESCRIPTION, CARD = checksums.WEIGHTS, "model.json", "card.md"


@dataclass(frozen=True)
class Entry:
    """A trained model of the zoo."""

    name: str
    """Variant and data, as in "nommer_nano.tiny_imagenet_200"; "nommer_mini64.label_free" has seen
    no labels.
    """
    task: str
    """Its task, as `model.json` has it: "classification", "detection", or "features" of a network
    without classes.
    """
    sha256: dict[str, str]
    """Checksums of its files by name."""
    size: int
    """Bytes of its weights."""
    measure: str
    """Name of the measure of `score`, as people call it: "top-1", "box AP", "kNN top-1"."""
    score: float
    """Its main number on images that it was not trained on; of a classifier the part that it
    answers rightly, of a network without classes the part that the nearest neighbours of its
    features do.
    """
    terms: str
    """On what terms its weights may be used."""

    @property
    def variant(self) -> str:
        """The variant of the network."""
        return self.name.partition(".")[0]

    @property
    def tag(self) -> str:
        """Name of the data that it was trained on, or of how it was trained."""
        return self.name.partition(".")[2]

    @property
    def classifies(self) -> bool:
        """True for a classifier, which timm and a bare variant ask for."""
        return self.task == "classification"

    @property
    def knows_no_classes(self) -> bool:
        """True for a network without classes, to start a training from."""
        return self.task == "features"

    @property
    def folder(self) -> Path | None:
        """Its folder on this machine; None where it is absent."""
        return next(
            (home / self.name for home in HOMES if (home / self.name / DESCRIPTION).is_file()), None
        )

    def verified(self) -> Path:
        """Its folder, with files that are what they should be.

        Raises:
            InputError: it is absent, or a file is damaged.
        """
        folder = self.folder
        if folder is None:
            raise InputError(
                f"{self.name}: its weights ({self.size / 1e6:.0f} MB) do not come with the "
                "package; they lie in the "
                f"repository, in zoo/{self.name}: give that folder, or install from a clone (pip "
                "install -e .)"
            )
        for name, expected in self.sha256.items():
            found = _checksum(folder / name)
            if found != expected:
                raise InputError(
                    f"{folder / name}: is damaged or was changed: its SHA-256 is {found}, the "
                    "manifest of the zoo has "
                    f"{expected}; install nommer again, or take the file from the repository"
                )
        return folder

    def description(self) -> dict[str, Any]:
        """Return the content of `model.json`: architecture, class names, preprocessing, metrics."""
        return dict(json.loads((self.verified() / DESCRIPTION).read_text(encoding="utf-8")))


def _checksum(file: Path) -> str:
    try:
        return checksums.checksum(file)
    except OSError as error:
        raise InputError(
            f"{file}: cannot be read: {error.strerror}; install nommer again"
        ) from error


def entries() -> list[Entry]:
    """All entries, also those that are absent here.

    The classifiers first, networks without classes last, of each task the best first.

    Raises:
        InputError: the manifest cannot be read.
    """
    manifest = HOMES[0] / MANIFEST
    try:
        listed = json.loads(manifest.read_text(encoding="utf-8"))
        return [
            Entry(
                name=name,
                task=str(said["task"]),
                sha256=dict(said["sha256"]),
                size=int(said["bytes"]),
                measure=str(said["measure"]),
                score=float(said["score"]),
                terms=str(said["terms"]),
            )
            for name, said in listed.items()
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{manifest}: is damaged, or was changed by hand: {error}; install nommer again"
        ) from error


def classifiers() -> list[Entry]:
    """The entries that classify, the best first.

    Their networks are those that timm knows as pretrained.
    """
    return [entry for entry in entries() if entry.classifies]


def find_entry(name: str | Path) -> Entry | None:
    """The entry of this name, or the best classifier of that variant that is here.

    Of a variant without a classifier its network without classes; None where there is none.
    """
    known = entries()
    named = [entry for entry in known if entry.name == str(name)]
    of_variant = [entry for entry in known if entry.variant == str(name)]
    found = (
        named
        or [entry for entry in of_variant if entry.classifies]
        or [entry for entry in of_variant if entry.knows_no_classes]
    )
    return next((entry for entry in found if entry.folder), found[0] if found else None)


def entry_meant_by(path: Path) -> Entry | None:
    """The entry that a path is the name of.

    None where something of this name exists, or there is no such entry.
    """
    return None if path.exists() else find_entry(path)


def default_entry() -> Entry | None:
    """The best classifier that is on this machine; None where there is none."""
    return next((entry for entry in classifiers() if entry.folder), None)
