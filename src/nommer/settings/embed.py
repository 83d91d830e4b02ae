"""Everything that `nommer embed` is told."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Literal

from nommer.errors import InputError, check_minimum
from nommer.settings.choices import SplitChoice
from nommer.settings.schema import Settings, Takes, given, required


@dataclass(frozen=True)
class EmbedSettings(Settings):
    """Settings of vectors of images, and of looking through them.

    Raises:
        InputError: a value of another type, or out of range; the message names it.
    """

    model: Takes[Path, str] = required()
    """Run folder, model folder, published checkpoint, or name of the zoo, such as
    nommer_nano."""
    images: Takes[tuple[str, ...], str | Path | Sequence[str | Path]] = given(())
    """Files, folders (searched deeply) and glob patterns, in the place of --data."""
    _: KW_ONLY
    data: Takes[Path | None, str] = given(None)
    """Labelled images, laid out as for training: their labels are kept beside the vectors."""
    split: SplitChoice = "all"
    """Part of the data."""
    of: Literal["images", "objects", "regions"] = "images"
    """One vector for each image, for each object (boxes of the data, or else those that a detector
    finds), or for the region of each class that a segmenter finds."""
    stage: int | None = None
    """Stage of the network, 1 to 4, that the vectors are taken from. By default what a classifier
    sees: the last, normalised."""
    pool: Literal["mean", "token"] = "mean"
    """A vector is the mean of all places, or the class token of stage 4."""
    form: Literal["npz", "parquet"] = "npz"
    """File of the vectors."""
    neighbours: int = 5
    """Nearest neighbours of each vector, by cosine."""
    query: Takes[tuple[str, ...], str | Path | Sequence[str | Path]] = given(())
    """Images whose neighbours are looked for, in the place of those of every image."""
    map: Literal["pca", "tsne"] = "pca"
    """Method of the map of all vectors in two dimensions."""
    out: Takes[Path | None, str] = given(None)
    """Folder for vectors, neighbours.csv, report.html and result.json. By default a new one in the
    run folder."""
    batch_size: int = 32
    """Images per step, where all have one size."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    overwrite: bool = False
    """Delete earlier results in --out."""

    def check(self) -> None:
        """Refuse values out of range."""
        check_minimum("neighbours", self.neighbours, 1)
        check_minimum("batch-size", self.batch_size, 1)
        if self.stage is not None and not 1 <= self.stage <= 4:
            raise InputError(f"--stage must be from 1 to 4, got {self.stage}")
        if self.pool == "token" and (self.stage not in (None, 4) or self.of != "images"):
            raise InputError("--pool token: the class token is of stage 4 and of whole images")
        if bool(self.images) == (self.data is not None):
            found = "both" if self.images else "neither"
            raise InputError(f"nommer embed: needs images or --data, got {found}; give one of them")
