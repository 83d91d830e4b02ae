"""Reading images and masks once before anything is learned, and listing their faults."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

import numpy as np

from nommer.data.audit import (
    Audited,
    ImageReport,
    decodes_whole,
    digests_of,
    find_remarks,
    leave_out,
    read_image,
)
from nommer.data.exif import FIRST_SIDEWAYS
from nommer.data.formats.labelled import Issue, content_of, problem, shorten
from nommer.data.formats.mask_doubts import differing_palettes, palette_of
from nommer.data.formats.mask_pairs import MaskSample
from nommer.data.formats.mask_places import MASK_ENDINGS
from nommer.data.formats.masks import BINARY_HINT, MaskFolders
from nommer.data.image_paths import is_there
from nommer.data.images import ImageError, image_errors, open_image
from nommer.data.masks import IGNORE, Colour, MaskEncoding, check_size, pixels_of, to_labels
from nommer.data.parallel import read_all
from nommer.data.profiles import find_mixed_profiles
from nommer.data.ranges import all_values, find_unused_range
from nommer.data.turns import turn
from nommer.errors import InputError
from nommer.settings.pixel_range import Reading

_MEND = "correct the class file"


@dataclass(frozen=True)
class PairReport:
    """Facts about one image and its mask, found by the audit."""

    path: Path
    """The image."""
    short_side: int = 0
    """Of the image, in pixels."""
    counts: np.ndarray = field(default_factory=lambda: np.zeros(IGNORE + 1, np.int64))
    """Pixels of each label, (256,), those to ignore last."""
    error: str | None = None
    """The reason for which the pair cannot be used."""
    remarks: tuple[Issue, ...] = ()
    """Oddities of a pair that can be used all the same."""
    image: ImageReport | None = None
    """Facts about the image alone."""
    digest: str | None = None
    """SHA-256 of the labels of all pixels."""
    palette: Mapping[int, Colour] = field(default_factory=dict)
    """Colours of the values that occur, where the mask has a palette."""

    @property
    def is_empty(self) -> bool:
        """True where every pixel of the mask is ignored."""
        return self.error is None and not self.counts[:IGNORE].any()


def audit_masks(
    data: MaskFolders,
    *,
    on_bad_sample: str = "auto",
    training: bool = True,
    reports: Sequence[PairReport] | None = None,
    reading: Reading = Reading(),
) -> Audited[MaskFolders]:
    """Leave out and list the images that cannot be used, for their own or their mask's sake.

    Args:
        data: images and masks.
        on_bad_sample: "error" refuses any bad pair; "skip" leaves them out; "auto" leaves out up to
            1 % of all.
        training: the data are to be learned from, so images without a labelled pixel leave "train",
            and two classes at least must occur there.
        reports: what `read_pairs` found in them, where they were read before.
        reading: how image files become RGB.

    Raises:
        InputError: bad pairs that `on_bad_sample` does not allow, or nothing left to learn from, or
            to evaluate on.
    """
    reports = read_pairs(data, reading=reading) if reports is None else reports
    images = [report.image for report in reports if report.image]
    bad = {report.path: report.error for report in reports if report.error}
    kept, issues = leave_out(data, bad, on_bad_sample, verb="used")
    issues += [remark for report in reports for remark in report.remarks]
    issues += find_unused_range(data.root, images, reading)
    issues += find_mixed_profiles(data.root, len(images), issues)
    empty = {report.path for report in reports if report.is_empty}
    for split, part in kept.items():
        kept[split], found = _without_empty(part, empty, leave=training and split == "train")
        issues += found
    audited = replace(data, splits=kept)
    by_path = {report.path: report.counts for report in reports}
    counts = _check_labels(audited, by_path, training=training)
    issues += _absent_classes(data, counts)
    issues += differing_palettes(data.root, ((report.path, report.palette) for report in reports))
    side = int(median(report.short_side for report in reports if not report.error))
    contents = {
        report.path: content_of(report.image.digest if report.image else None, report.digest)
        for report in reports
    }
    return Audited(
        replace(audited, issues=(*data.issues, *issues)),
        side,
        contents,
        digests_of(images),
        counts[: len(data.class_names)],
        all_values(images),
    )


def read_pairs(
    data: MaskFolders, *, whole: bool | None = None, reading: Reading = Reading()
) -> list[PairReport]:
    """Read all images and masks, several at a time.

    Images whole by default where they are not very many.
    """
    samples = data.samples()
    decoding = decodes_whole(len(samples)) if whole is None else whole
    return read_all(
        lambda sample: read_pair(sample, data.encoding, whole=decoding, reading=reading),
        samples,
        what="reading masks",
    )


def _without_empty(
    samples: tuple[MaskSample, ...], empty: set[Path], *, leave: bool
) -> tuple[tuple[MaskSample, ...], list[Issue]]:
    """The samples, with `leave` without those of whose image every pixel is ignored.

    And a line about each of those.
    """
    what, found = "every pixel of its mask is ignored", [s.path for s in samples if s.path in empty]
    issues = (
        [problem(path, what, "left out") for path in found]
        if leave
        else [Issue(str(path), what, "used; counts for nothing") for path in found]
    )
    return tuple(s for s in samples if not (leave and s.path in empty)), issues


def _count(counts: dict[Path, np.ndarray], samples: Iterable[MaskSample]) -> np.ndarray:
    """Pixels of each label in all of `samples`: (256,) int64."""
    total = np.zeros(IGNORE + 1, np.int64)
    for sample in samples:
        total += counts[sample.path]
    return total


def _check_labels(
    data: MaskFolders, by_path: dict[Path, np.ndarray], *, training: bool
) -> np.ndarray:
    """Return the pixels of each label in "train", or in everything; refuse too few classes."""
    counts = _count(by_path, data.splits.get("train", data.samples()))
    if training:
        _check_learnable(data, counts)
    evaluated = data.splits.get("val", ()) if training else data.samples()
    if evaluated:
        _check_evaluable(data, _count(by_path, evaluated), training=training)
    return counts


def _check_learnable(data: MaskFolders, counts: np.ndarray) -> None:
    present = _present(data, counts)
    if len(present) < 2:
        hint = (
            BINARY_HINT
            if _may_be_binary(data, counts)
            else f"label pixels of at least two classes, or {_MEND}"
        )
        raise InputError(f"{data.root}: {_only(present)} in the training masks; {hint}")


def _check_evaluable(data: MaskFolders, counts: np.ndarray, *, training: bool) -> None:
    present, binary = _present(data, counts), _may_be_binary(data, counts)
    if len(present) < 2 and binary and not training:
        hint = f"{BINARY_HINT}\nor, if 255 is to be ignored, one that says so with ignore: 255"
    elif not present:
        hint = BINARY_HINT if binary else f"label some of their pixels, or {_MEND}"
    else:
        return
    raise InputError(f"{data.root}: {_only(present)} in the masks to evaluate on; {hint}")


def _present(data: MaskFolders, counts: np.ndarray) -> list[str]:
    return [name for name, count in zip(data.class_names, counts, strict=False) if count]


def _may_be_binary(data: MaskFolders, counts: np.ndarray) -> bool:
    """Tell if 255 occurs, and is ignored only because nobody said what it means."""
    return data.encoding.ignores_255_by_default and bool(counts[IGNORE])


def _only(present: list[str]) -> str:
    return f"nothing but {present[0]!r}" if present else "no labelled pixel"


def _absent_classes(data: MaskFolders, counts: np.ndarray) -> list[Issue]:
    absent = [name for name, count in zip(data.class_names, counts, strict=False) if not count]
    share = f"{len(absent)} of {len(data.class_names)} classes"
    what = f"{share} do not occur in the masks: {shorten(absent)}"
    return [Issue(str(data.root), what, "kept")] if absent else []


def read_pair(
    sample: MaskSample, encoding: MaskEncoding, *, whole: bool, reading: Reading = Reading()
) -> PairReport:
    """Read an image (its header, and with `whole` every pixel) and its mask."""
    report = read_image(sample.path, whole=whole, reading=reading)
    if report.error or report.size is None:
        return PairReport(sample.path, error=report.error, image=report)
    if not is_there(sample.mask):
        endings = ", ".join(MASK_ENDINGS[:5])
        reason = f"has no mask: expected {sample.mask} (or with {endings} behind the name)"
        return PairReport(sample.path, error=reason, image=report)
    try:
        with image_errors(sample.mask), open_image(sample.mask) as mask, turn(mask.size):
            found = tuple(find_remarks(mask, sample.mask))
            pixels = pixels_of(mask, by_colour=encoding.by_colour)
            palette = {} if encoding.by_colour else palette_of(mask, pixels.values)
        check_fit(sample.mask, pixels.values.shape, report)
        labels = to_labels(sample.mask, pixels, encoding)
    except ImageError as error:
        return PairReport(sample.path, error=f"its mask {error}", image=report)
    is_wide = pixels.values.dtype.itemsize > 1 and not pixels.in_colour
    remarks = (*report.remarks, *_remarks(sample, report, is_wide), *found)
    counts = np.bincount(labels.ravel(), minlength=IGNORE + 1)
    digest = hashlib.sha256(labels.tobytes()).hexdigest()
    return PairReport(
        sample.path,
        min(report.size),
        counts,
        remarks=remarks,
        image=report,
        digest=digest,
        palette=palette,
    )


def check_fit(mask: Path, shape: tuple[int, ...], image: ImageReport) -> None:
    """Refuse a mask of another size than its upright image, turned as EXIF says.

    Raises:
        ImageError: both sizes.
    """
    stored = image.size or (0, 0)
    upright = stored[::-1] if image.orientation >= FIRST_SIDEWAYS else stored
    hint = ""
    if shape[::-1] == stored:
        hint = (
            f"; it fits the image as stored, which the EXIF orientation {image.orientation} turns: "
            "turn the mask too, "
            "or remove the orientation from the image"
        )
    check_size(mask, shape, upright, hint=hint)


def _remarks(sample: MaskSample, image: ImageReport, is_wide: bool) -> Iterator[Issue]:
    if image.orientation != 1:
        done = "turned; its mask is taken to fit the turned image"
        yield Issue(str(sample.path), f"EXIF orientation {image.orientation}", done)
    if is_wide:
        yield Issue(str(sample.mask), "16-bit mask", "its values are used as they are")
