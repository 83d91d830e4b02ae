"""Reads the images once before anything is learned from them, and lists what is wrong; files are never changed."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from PIL import Image

from nommer.data.formats.folders import ClassFolders, Issue, Sample
from nommer.data.images import ImageError, decode, has_sound_exif, image_errors, open_image
from nommer.errors import InputError
from nommer.progress import notice, track

DECODE_LIMIT = 50_000
"""Data sets of up to this many images are decoded whole before training; of larger ones the headers are read."""

SKIP_LIMIT = 0.01
"""Largest share of bad images that is left out, and listed, without being asked to."""


@dataclass(frozen=True)
class ImageReport:
    """What the audit found in one image file."""

    path: Path
    size: tuple[int, int] | None = None
    """Width and height in pixels, before the EXIF orientation."""
    error: str | None = None
    """Why it cannot be used."""
    remarks: tuple[Issue, ...] = ()
    """What the reader should know although it can."""


def read_image(path: Path, *, whole: bool) -> ImageReport:
    """Read one file: its header, and with `whole` every pixel."""
    try:
        if whole:
            decode(path)
        with image_errors(path), open_image(path) as image:
            return ImageReport(path, size=image.size, remarks=tuple(find_remarks(image, path)))
    except ImageError as error:
        return ImageReport(path, error=error.reason)


def find_remarks(image: Image.Image, path: Path) -> Iterator[Issue]:
    """What an image holds that is not used."""
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        yield Issue(str(path), f"{frames} frames or pages", "the first one is used")
    if not has_sound_exif(image):
        yield Issue(str(path), "damaged EXIF data", "taken as upright")


def read_images(paths: Sequence[Path]) -> list[ImageReport]:
    """Read all files, several at a time."""
    whole = len(paths) <= DECODE_LIMIT
    if not whole:
        notice(f"over {DECODE_LIMIT:,} images: only their headers are read now; a file that is cut stops the training")
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        reports = pool.map(lambda path: read_image(path, whole=whole), paths)
        return list(track(reports, total=len(paths), what="reading images"))


@dataclass(frozen=True)
class Audited:
    """Data without its bad images, and what the audit learned."""

    data: ClassFolders
    short_side: int
    """Median of the images' shorter side, in pixels."""


def audit(data: ClassFolders, *, on_bad_sample: str = "auto", needs_every_class: bool = True) -> Audited:
    """Leave out and list the images that cannot be read.

    Args:
        data: labelled files.
        on_bad_sample: "error" refuses any bad image; "skip" leaves them out; "auto" leaves out up to 1 % of all.
        needs_every_class: refuse data in which a class has no readable training image left.

    Raises:
        InputError: bad images that `on_bad_sample` does not allow, or a training class of which nothing is left.
    """
    samples = data.samples()
    reports = read_images([sample.path for sample in samples])
    bad = {report.path: report for report in reports if report.error}
    allowed = {"error": 0.0, "auto": SKIP_LIMIT * len(samples), "skip": float(len(samples))}[on_bad_sample]
    if len(bad) > allowed:
        raise InputError(_too_many(bad, len(samples), on_bad_sample))
    issues = [Issue(str(path), report.error or "", "left out") for path, report in bad.items()]
    issues += [remark for report in reports for remark in report.remarks]
    kept = {split: tuple(s for s in part if s.path not in bad) for split, part in data.splits.items()}
    for split, part in kept.items():
        if not part:
            first = bad[data.splits[split][0].path]
            raise InputError(
                f"{data.root}: none of the {len(data.splits[split])} images of {split!r} can be read; "
                f"first: {first.path}: {first.error}"
            )
    if needs_every_class:
        _check_every_class(data, kept["train"])
    sides = [min(report.size) for report in reports if report.size]
    return Audited(ClassFolders(data.root, data.class_names, kept, (*data.issues, *issues)), int(median(sides)))


def _too_many(bad: dict[Path, ImageReport], total: int, policy: str) -> str:
    listed = "; ".join(f"{path}: {report.error}" for path, report in list(bad.items())[:5])
    more = f"; and {len(bad) - 5} more" if len(bad) > 5 else ""
    limit = "none is allowed" if policy == "error" else f"at most {SKIP_LIMIT:.0%} is left out without being asked to"
    hint = "mend or remove them, or use --on-bad-sample skip"
    return f"{len(bad)} of {total} images cannot be read ({limit}): {listed}{more}; {hint}"


def _check_every_class(data: ClassFolders, train: tuple[Sample, ...]) -> None:
    left = {sample.label for sample in train}
    for label, name in enumerate(data.class_names):
        if label not in left:
            raise InputError(
                f"{data.root}: no image of class {name!r} can be read; mend its files or remove the class folder"
            )
