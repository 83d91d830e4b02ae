"""Reading the images once before anything is learned, and listing their faults.

Files are never changed.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any, Generic, TypeVar

import numpy as np
from PIL import Image

from nommer.data.archives import find_archive, read_bytes
from nommer.data.exif import has_sound_exif, orientation_of, stored_size
from nommer.data.formats.folders import ClassFolders, Sample
from nommer.data.formats.labelled import Issue, LabelledImages, S, Split, content_of, problem
from nommer.data.images import ImageError, check_pixels, image_errors, open_image
from nommer.data.masks import ranges
from nommer.data.parallel import read_all
from nommer.data.profiles import about_profile, find_mixed_profiles
from nommer.data.ranges import all_values, find_unused_range
from nommer.data.tiff import lost_pages
from nommer.data.turns import turn
from nommer.data.wide import WIDE_MODES, Values
from nommer.errors import InputError
from nommer.files import plain_size
from nommer.progress import notice
from nommer.settings.pixel_range import Reading

D = TypeVar("D", bound=LabelledImages[Any])

DECODE_LIMIT = 50_000
"""Data sets of up to this many images are decoded whole before training; of larger ones the headers
are read.
"""

_LOOKED_AT = 64
"""Images that are looked at before prediction, about."""

_HELD = 64 << 20
"""Bytes up to which a file is held in memory while it is decoded."""

SKIP_LIMIT = 0.01
"""Largest share of bad images that is left out, and listed, without being asked to."""


@dataclass(frozen=True)
class ImageReport:
    """Facts about one image file, found by the audit."""

    path: Path
    size: tuple[int, int] | None = None
    """Width and height in pixels, before the EXIF orientation."""
    orientation: int = 1
    """Of the EXIF data; 1 where there is none."""
    error: str | None = None
    """The reason for which it cannot be used."""
    mode: str = ""
    """Of its pixels, as Pillow names them: "RGB", "L", "P", ..."""
    format: str = ""
    """Of the file: "JPEG", "PNG", ..."""
    file_bytes: int | None = None
    """Length of the file; None where only its header was read, as is the next."""
    digest: str | None = None
    """SHA-256 of the file."""
    remarks: tuple[Issue, ...] = ()
    """Oddities of an image that can be used all the same."""
    values: Values | None = None
    """Of an image of more than 8 bits that was read whole, its least and largest."""


def read_image(path: Path, *, whole: bool, reading: Reading = Reading()) -> ImageReport:
    """Read one file: its header, and with `whole` every pixel, which `reading` must suit."""
    facts: dict[str, Any] = {}
    try:
        content = None
        if whole:
            with image_errors(path):
                content, facts["file_bytes"], facts["digest"] = _read_file(path)
        with image_errors(path), open_image(path, content) as image, turn(image.size):
            header = _read_header(image, path)
            if whole:
                facts["values"], unused = check_pixels(image, reading)
                header["remarks"] += tuple(_unused(path, unused))
            return ImageReport(path, **header, **facts)
    except ImageError as error:
        return ImageReport(path, error=error.reason, **facts)


def _read_file(path: Path) -> tuple[bytes | None, int, str]:
    """Return a file's content, where it is not very large, its length and its hash."""
    if find_archive(path) is None and plain_size(path) > _HELD:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return None, plain_size(path), digest
    content = read_bytes(path)
    return content, len(content), hashlib.sha256(content).hexdigest()


def _unused(path: Path, bands: int) -> Iterator[Issue]:
    if bands:
        what = f"{bands} band{'s' if bands > 1 else ''} more than colours and transparency"
        yield problem(str(path), what, "left out; the colours are used")


def _read_header(image: Image.Image, path: Path) -> dict[str, Any]:
    """Return the facts of an open image's header."""
    remarks = tuple(find_remarks(image, path))
    kind = {"mode": image.mode, "format": image.format or ""}
    return {
        "size": stored_size(image),
        "orientation": orientation_of(image),
        "remarks": remarks,
        **kind,
    }


def find_remarks(image: Image.Image, path: Path) -> Iterator[Issue]:
    """Yield an issue for everything in an open image that is not used.

    Asked before the rest, for Pillow complains but the first time.
    """
    sound_exif = has_sound_exif(image)
    if lost := lost_pages(image):
        done = f"the first one is used, {ranges(lost)} not"
        yield problem(str(path), f"{len(lost) + 1} frames or pages", done)
    yield from about_profile(image, path)
    if not sound_exif:
        yield Issue(str(path), "damaged EXIF data", "taken as upright")


def read_images(
    paths: Sequence[Path], *, whole: bool | None = None, reading: Reading = Reading()
) -> list[ImageReport]:
    """Read all files, several at a time.

    Every pixel with `whole`, by default where they are not very many.
    """
    decoding = decodes_whole(len(paths)) if whole is None else whole
    return read_all(
        lambda path: read_image(path, whole=decoding, reading=reading), paths, what="reading images"
    )


def look_at_range(paths: Sequence[Path], reading: Reading) -> list[Issue]:
    """Return an issue where those of some of the images that have more than 8 bits are dark."""
    if reading.range is not None:
        return []
    some = paths[:: max(1, len(paths) // _LOOKED_AT)]
    wide = [path for path in some if read_image(path, whole=False).mode in WIDE_MODES]
    return find_unused_range(Path(), [read_image(path, whole=True) for path in wide], reading)


def decodes_whole(count: int) -> bool:
    """Tell if so many images are decoded before training; a notice says where not."""
    whole = count <= DECODE_LIMIT
    if not whole:
        notice(
            f"over {DECODE_LIMIT:,} images: only their headers are read now; a file that is cut "
            "stops the training"
        )
    return whole


@dataclass(frozen=True)
class Audited(Generic[D]):
    """Data without its bad images, and what the audit learned."""

    data: D
    short_side: int
    """Median of the images' shorter side, in pixels."""
    contents: Mapping[Path, str] = field(default_factory=dict)
    """Hash of each image with its label, where images were read whole."""
    digests: Mapping[Path, str] = field(default_factory=dict)
    """SHA-256 of each image file, where they were read whole; of samples whose labels differ it may
    be the same.
    """
    class_counts: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    """(classes,) int64: of each class the labelled pixels, or the objects but for crowds, in
    "train", or in everything where there is no "train"; nothing where whole images have classes."""
    values: Values | None = None
    """Least and largest value of all images of more than 8 bits; None where none was read whole."""


def audit(
    data: ClassFolders,
    *,
    on_bad_sample: str = "auto",
    training: bool = True,
    reports: Sequence[ImageReport] | None = None,
    reading: Reading = Reading(),
) -> Audited[ClassFolders]:
    """Leave out and list the images that cannot be read.

    Args:
        data: labelled files.
        on_bad_sample: "error" refuses any bad image; "skip" leaves them out; "auto" leaves out up
            to 1 % of all.
        training: the data are to be learned from: refuse those in which a class has no readable
            training image left.
        reports: what `read_images` found in them, where they were read before.
        reading: how image files become RGB.

    Raises:
        InputError: bad images that `on_bad_sample` does not allow, or a training class of which
            nothing is left.
    """
    samples = data.samples()
    if reports is None:
        reports = read_images([sample.path for sample in samples], reading=reading)
    bad = {sample.path: sample.error for sample in samples if sample.error}
    bad |= {report.path: report.error for report in reports if report.error}
    kept, issues = leave_out(data, bad, on_bad_sample, verb="read")
    issues += [remark for report in reports for remark in report.remarks]
    issues += find_unused_range(data.root, reports, reading)
    issues += find_mixed_profiles(data.root, len(reports), issues)
    if training:
        _check_every_class(data, kept["train"])
    sides = [min(report.size) for report in reports if report.size]
    contents = {report.path: content_of(report.digest) for report in reports}
    audited = replace(data, splits=kept, issues=(*data.issues, *issues))
    return Audited(
        audited, int(median(sides)), contents, digests_of(reports), values=all_values(reports)
    )


def digests_of(reports: Iterable[ImageReport]) -> dict[Path, str]:
    """The hash of each file that was read whole."""
    return {report.path: report.digest for report in reports if report.digest}


def leave_out(
    data: LabelledImages[S], bad: Mapping[Path, str], policy: str, *, verb: str
) -> tuple[dict[Split, tuple[S, ...]], list[Issue]]:
    """The splits without the samples whose image is in `bad`, and a problem for each of those.

    Args:
        data: labelled files.
        bad: what is wrong with an image or its label.
        policy: "error" allows no bad sample, "auto" 1 % of all, "skip" any.
        verb: what cannot be done with them, for the message.

    Raises:
        InputError: more than the policy allows, or a split of which nothing is left.
    """
    total = len(data.samples())
    allowed = {"error": 0.0, "auto": SKIP_LIMIT * total, "skip": float(total)}[policy]
    if len(bad) > allowed:
        raise InputError(_too_many(bad, total, policy, verb))
    kept = {
        split: tuple(s for s in part if s.path not in bad) for split, part in data.splits.items()
    }
    for split, part in kept.items():
        if not part:
            first = data.splits[split][0].path
            raise InputError(
                f"{data.root}: none of the {len(data.splits[split])} images of {split!r} can be "
                f"{verb}; "
                f"first: {first}: {bad[first]}"
            )
    return kept, [problem(str(path), error, "left out") for path, error in bad.items()]


def _too_many(bad: Mapping[Path, str], total: int, policy: str, verb: str) -> str:
    listed = "; ".join(f"{path}: {error}" for path, error in list(bad.items())[:5])
    more = f"; and {len(bad) - 5} more" if len(bad) > 5 else ""
    limit = (
        "none is allowed"
        if policy == "error"
        else f"at most {SKIP_LIMIT:.0%} is left out without being asked to"
    )
    hint = "mend or remove them, or use --on-bad-sample skip"
    return f"{len(bad)} of {total} images cannot be {verb} ({limit}): {listed}{more}; {hint}"


def _check_every_class(data: ClassFolders, train: tuple[Sample, ...]) -> None:
    left = {label for sample in train for label in sample.classes}
    for label, name in enumerate(data.class_names):
        if label not in left:
            raise InputError(
                f"{data.root}: no image of class {name!r} can be read; mend its files or remove "
                "the class folder"
            )
