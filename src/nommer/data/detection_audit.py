"""Reading images with objects once before anything is learned, and listing their faults.

What is wrong with an object alone was listed on reading (`formats.objects`); here images are left
out whole.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import median

import numpy as np

from nommer.data.audit import Audited, ImageReport, digests_of, leave_out, read_images
from nommer.data.exif import FIRST_SIDEWAYS
from nommer.data.formats.labelled import Issue, Split, content_of, problem, shorten
from nommer.data.formats.object_checks import SMALLEST_LEARNED
from nommer.data.formats.object_masks import TOLERANCE
from nommer.data.formats.objects import ROUNDING, DetectionFolders, DetectionSample
from nommer.data.profiles import find_mixed_profiles
from nommer.data.ranges import all_values, find_unused_range
from nommer.errors import InputError
from nommer.settings.pixel_range import Reading
from nommer.settings.rcnn import RCNNProtocol

_ANSWERS = RCNNProtocol().most


def audit_detection(
    data: DetectionFolders,
    *,
    on_bad_sample: str = "auto",
    training: bool = True,
    masks: bool | None = None,
    reports: Sequence[ImageReport] | None = None,
    reading: Reading = Reading(),
    most: int | None = None,
) -> Audited[DetectionFolders]:
    """Leave out and list the images that cannot be used.

    With masks, also drop and list the objects that have none.

    Args:
        data: images with objects.
        on_bad_sample: "error" refuses any bad image; "skip" leaves them out; "auto" leaves out up
            to 1 % of all.
        training: the data are to be learned from, so there must be objects in "train".
        masks: whether masks are wanted; by default where most objects have one.
        reports: what `read_images` found in the images, where they were read before.
        reading: how image files become RGB.
        most: answers that an image gets; by default 100.

    Raises:
        InputError: bad images that `on_bad_sample` does not allow, nothing left to learn from, or
            no masks at all.
    """
    samples = data.samples()
    if reports is None:
        reports = read_images([s.path for s in samples if not s.error], reading=reading)
    by_path = {report.path: report for report in reports}
    bad = {s.path: error for s in samples if (error := s.error or find_error(s, by_path[s.path]))}
    kept, issues = leave_out(data, bad, on_bad_sample, verb="used")
    issues += [
        remark for path, report in by_path.items() if path not in bad for remark in _remarks(report)
    ]
    issues += find_unused_range(data.root, reports, reading)
    issues += find_mixed_profiles(data.root, len(reports), issues)
    wanted, about_masks = _choose_masks(data, kept, masks, training=training)
    issues += about_masks
    if wanted:
        kept = {split: tuple(_with_masks(part, issues)) for split, part in kept.items()}
    audited = replace(data, splits=kept, has_masks=wanted)
    issues += [
        Issue(str(s.path), "has no objects", "used, as background alone")
        for s in audited.samples()
        if not len(s.objects)
    ]
    issues += _more_than_answers(audited, _ANSWERS if most is None else most)
    counts = _count(kept.get("train", audited.samples()), len(data.class_names))
    _check_objects(data, counts, wanted=wanted, masks=masks and training, training=training)
    issues += _absent_classes(data, counts)
    side = int(median(min(sample.size) for sample in audited.samples()))
    contents = {
        s.path: content_of(by_path[s.path].digest, s.objects.as_bytes()) for s in audited.samples()
    }
    return Audited(
        replace(audited, issues=(*data.issues, *issues)),
        side,
        contents,
        digests_of(reports),
        counts,
        all_values(reports),
    )


def find_error(sample: DetectionSample, image: ImageReport) -> str | None:
    """The reason for which an image cannot be used.

    It cannot be read, or its annotations are of an image of another size.
    """
    if image.error or image.size is None:
        return image.error
    upright = image.size[::-1] if image.orientation >= FIRST_SIDEWAYS else image.size
    if sample.size == upright:
        return None
    hint = ""
    if sample.size == image.size:
        hint = (
            f"; that is the image as stored, which the EXIF orientation {image.orientation} turns: "
        )
        hint += (
            "the boxes fit the upright image, so swap width and height in the annotation file"
            if sample.reaches_outside and _fits(sample, upright)
            else "remove the orientation from the image, or turn the annotations too"
        )
    found, expected = (f"{width} x {height}" for width, height in (sample.size, upright))
    return f"is annotated as {found} pixels, but has {expected}; both must be the same{hint}"


def _fits(sample: DetectionSample, size: tuple[int, int]) -> bool:
    """Tell if all boxes, before they were clipped, lie in an image of this size."""
    right, lower = sample.reach
    return right <= size[0] * (1 + TOLERANCE) and lower <= size[1] * (1 + TOLERANCE)


def _remarks(image: ImageReport) -> Iterable[Issue]:
    if image.orientation != 1:
        done = "turned; its objects are taken to fit the turned image"
        yield Issue(str(image.path), f"EXIF orientation {image.orientation}", done)
    yield from image.remarks


def _more_than_answers(data: DetectionFolders, answers: int) -> list[Issue]:
    """Return a problem where images have more objects than an image gets answers."""
    numbers = [int((~sample.objects.crowd).sum()) for sample in data.samples()]
    more = [number for number in numbers if number > answers]
    if not more:
        return []
    lost, default = sum(more) - answers * len(more), "by default " if answers == _ANSWERS else ""
    what = (
        f"{len(more)} images have more than {answers} objects, the most {max(more)}; {default}"
        f"{answers} answers are given per image, so {lost:,} of {sum(numbers):,} objects "
        f"({lost / sum(numbers):.0%}) cannot be found"
    )
    done = "kept; raise --detection.protocol.most for training, --most for predict"
    return [problem(str(data.root), what, done)]


def _choose_masks(
    data: DetectionFolders,
    kept: dict[Split, tuple[DetectionSample, ...]],
    asked: bool | None,
    *,
    training: bool,
) -> tuple[bool, list[Issue]]:
    """Tell if masks are used: by default where most objects have one; and what is told of that."""
    if asked is None:
        wanted = _wants_masks(data, kept)
        return wanted, [] if wanted else _unused_masks(data, kept)
    if asked and not training and not data.has_masks:
        what = "no object has a mask, as the model gives them"
        return False, [Issue(str(data.root), what, "boxes alone are evaluated")]
    return asked, []


def _wants_masks(data: DetectionFolders, kept: dict[Split, tuple[DetectionSample, ...]]) -> bool:
    """Tell if most objects have a mask."""
    have = [
        flag
        for part in kept.values()
        for sample in part
        for flag in sample.objects.have_masks.tolist()
    ]
    return data.has_masks and 2 * sum(have) > len(have)


def _unused_masks(
    data: DetectionFolders, kept: dict[Split, tuple[DetectionSample, ...]]
) -> list[Issue]:
    """Tell of masks that are not learned because most objects have none."""
    have = [s.objects.have_masks for part in kept.values() for s in part]
    count, total = sum(int(flags.sum()) for flags in have), sum(map(len, have))
    what = f"{count} of {total} objects have masks, which are not used: boxes alone are learned"
    done = "kept as boxes; draw the other masks, or learn masks alone with --detection.masks true"
    return [problem(data.root, what, done)] if count else []


def _with_masks(
    samples: Iterable[DetectionSample], issues: list[Issue]
) -> Iterable[DetectionSample]:
    """The samples without the objects that have no mask."""
    for sample in samples:
        have = sample.objects.have_masks
        lacking = int((~have).sum())
        if lacking:
            what = f"{lacking} of {len(have)} objects have no mask, and masks are learned"
            issues.append(problem(str(sample.path), what, f"{lacking} objects dropped"))
        yield replace(sample, objects=sample.objects.take(have)) if lacking else sample


def _count(samples: Iterable[DetectionSample], num_classes: int) -> np.ndarray:
    counts = np.zeros(num_classes, np.int64)
    for sample in samples:
        counts += np.bincount(sample.objects.labels[~sample.objects.crowd], minlength=num_classes)
    return counts


def _check_objects(
    data: DetectionFolders, counts: np.ndarray, *, wanted: bool, masks: bool | None, training: bool
) -> None:
    """Refuse data without anything to learn.

    Raises:
        InputError: what is lacking, and the likely cause.
    """
    if masks and not data.has_masks:
        raise InputError(
            f"{data.root}: no object has a mask, but masks are asked for; add them, or learn boxes "
            "alone"
        )
    if training and counts.any() and not _any_learnable(data.splits.get("train", ())):
        raise InputError(
            f"{data.root}: every object in the training images is under a pixel; are these shares "
            "of the image's sides? multiply them by width and height"
        )
    if training and not counts.any():
        dropped = sum(issue.done == "dropped" for issue in data.issues)
        kind = "with a mask " if wanted else ""
        crowds = sum(int(s.objects.crowd.sum()) for s in data.splits.get("train", ()))
        raise InputError(
            f"{data.root}: no object {kind}is left to learn in the training images; {dropped} were "
            "dropped"
            + (
                f", the first because: {next(i for i in data.issues if i.done == 'dropped').what}"
                if dropped
                else ""
            )
            + (
                f"; {crowds} are marked iscrowd or difficult, which --labels.crowds learn or "
                "--labels.difficult learn takes for objects"
                if crowds
                else ""
            )
        )


def _any_learnable(samples: Iterable[DetectionSample]) -> bool:
    """Tell if any object has a pixel, without which training takes none."""
    least = SMALLEST_LEARNED - ROUNDING
    return any(
        bool(((s.objects.boxes[:, 2:] - s.objects.boxes[:, :2]).min(1) >= least).any())
        for s in samples
        if len(s.objects)
    )


def _absent_classes(data: DetectionFolders, counts: np.ndarray) -> list[Issue]:
    absent = [name for name, found in zip(data.class_names, counts, strict=True) if not found]
    share = f"{len(absent)} of {len(data.class_names)} classes"
    what = f"{share} have no object to learn from: {shorten(absent)}"
    return [Issue(str(data.root), what, "kept")] if absent else []
