"""Images with masks that say the class of every pixel.

What is found, what the values mean, how it is split.
"""

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from nommer.data.formats.class_file import CLASS_FILES, EXAMPLE, find_class_file, read_class_file
from nommer.data.formats.class_lists import find_class_list, read_class_list
from nommer.data.formats.labelled import LabelledImages, check_folder, check_names
from nommer.data.formats.mask_classes import (
    CAMVID,
    CITYSCAPES,
    MaskClasses,
    ade20k_classes,
    numbered_classes,
)
from nommer.data.formats.mask_doubts import are_instances
from nommer.data.formats.mask_layouts import LAYOUTS, find_layout
from nommer.data.formats.mask_pairs import MaskSample, pair_parts
from nommer.data.formats.mask_places import Layout
from nommer.data.formats.oddities import find_oddities
from nommer.data.formats.recognise import choose_format, passed_over
from nommer.data.formats.source import Source
from nommer.data.images import ImageError
from nommer.data.masks import IGNORE, Colour, MaskEncoding, MaskPixels, read_pixels, unpack
from nommer.data.parallel import read_all
from nommer.errors import InputError
from nommer.progress import notice
from nommer.shown import quote

BINARY_HINT = """\
255 usually marks one class of two, but as a label it means "ignore"; write a classes.yaml such as
  classes:
    - {name: background, value: 0}
    - {name: object, value: 255}"""

INSTANCES_HINT = """write a classes.yaml such as
  instances: true
  classes: [cell]
to learn single objects, or one that names the classes, if these are some"""

_LOOKED_AT = 32
"""Masks in which numbers of objects are looked for."""


@dataclass(frozen=True)
class MaskFolders(LabelledImages[MaskSample]):
    """Images and masks by split, with the class names that the labels index."""

    target: ClassVar[str] = "mask"

    colours: tuple[Colour, ...] = field(kw_only=True)
    """For pictures: one for each class."""
    encoding: MaskEncoding = field(kw_only=True)
    """Meaning of the values in the mask files."""

    def target_of(self, sample: MaskSample) -> str:
        """The mask's file, relative to the data folder."""
        return sample.mask.relative_to(self.root).as_posix()


def read_mask_folders(
    place: Source | Path, class_names: tuple[str, ...] | None = None
) -> MaskFolders:
    """Find the images and their masks at a place, which is not changed.

    Without splits of its own everything is "train"; a "test" split without a "val" beside it is
    "val".

    Args:
        place: folder of the data. Its classes are told by a YAML or JSON file, by default
            `classes.yaml`, `classes.yml` or `classes.json` in it. Without one, they are those of
            the data set whose layout it is, or the values that occur.
        class_names: the classes of a model to evaluate: labels come in their order. The data may
            lack some of them.

    Raises:
        InputError: no such layout, names or lists that do not fit, classes that are not understood
            or that `class_names` lack.
    """
    given = Source.of(place)
    source = given.inside()
    root = source.root
    check_folder(root, LAYOUTS)
    layout = source.once(find_layout)
    if layout is None:
        raise InputError(f"{root}: found no images with masks; {LAYOUTS}")
    splits, issues = pair_parts(layout)
    if (chosen := source.once(choose_format)) and chosen[0] == "masks":
        issues = [*passed_over(root, *chosen), *issues]
    if class_names is None and "train" not in splits:
        raise InputError(f"{root}: holds {', '.join(splits)} but nothing to train on; {LAYOUTS}")
    if "val" not in splits and "test" in splits:
        splits["val"] = splits.pop("test")
    every = tuple(sample for part in splits.values() for sample in part)
    learned = splits.get("train") or every
    found = _classes(source, layout, learned, every)
    names = class_names or found.names
    check_names(root, found.names, names)
    if len(names) < 2:
        raise InputError(
            f"{root}: found {f'one class, {quote(names[0])}' if names else 'no class'}, expected "
            "at least two; write a "
            f"{CLASS_FILES[0]}, {EXAMPLE}"
        )
    return MaskFolders(
        given.root,
        names,
        splits,
        (*issues, *find_oddities(root, names)),
        colours=found.colours(names),
        encoding=found.encoding(names),
    )


def _classes(
    source: Source,
    layout: Layout,
    samples: Sequence[MaskSample],
    every: Sequence[MaskSample],
) -> MaskClasses:
    """The classes by the first that tells.

    A class file, a known data set's layout, the values in the masks.

    Raises:
        InputError: a class file that is not understood, or values that tell no classes.
    """
    root = source.root
    if (file := source.classes or find_class_file(root)) is not None:
        return read_class_file(source, file)
    if (listed := find_class_list(root)) is not None:
        notice(f"{listed}: the classes of the masks are taken from this list")
        return read_class_list(source, listed)
    if layout.is_camvid:
        notice(
            f"{root}: no class file; the folders are CamVid's, so its 11 classes are taken, and 11 "
            "is ignored"
        )
        return CAMVID
    if layout.is_ade20k:
        notice(
            f"{root}: no class file; the folders are ADE20K's, so value 0 is ignored, and 1 is the "
            "first class"
        )
        return ade20k_classes(root) or _numbered(
            root, range(1, 1 + max(_values_in(root, samples))), ignored=0
        )
    values = _values_in(root, samples)
    if layout.is_cityscapes and values & {entry.value for entry in CITYSCAPES.classes}:
        notice(
            f"{root}: no class file; the folders are Cityscapes's, so its 19 classes are taken, "
            "and other ids are ignored"
        )
        return CITYSCAPES
    if values == {0, IGNORE}:
        raise InputError(f"{root}: the masks hold 0 and 255 alone; {BINARY_HINT}")
    if len(values) <= IGNORE and _hold_instances(every):
        raise InputError(
            f"{root}: the values in the masks are numbers of objects, not of classes: in every "
            f"mask they count up from 1, and each is one piece; {INSTANCES_HINT}"
        )
    found = _numbered(root, values - {IGNORE}, ignored=IGNORE)
    notice(
        f"{root}: no class file; the values in the masks are taken for {len(found.names)} classes, "
        "255 is ignored"
    )
    return found


def _hold_instances(samples: Sequence[MaskSample]) -> bool:
    """Tell if the first masks that can be read hold numbers of objects."""
    found = []
    for sample in samples[:: max(1, len(samples) // _LOOKED_AT)]:
        with suppress(ImageError):
            pixels = read_pixels(sample.mask)
            if not pixels.in_colour:
                found.append(pixels.values)
    return are_instances(found)


def _numbered(root: Path, values: Collection[int], *, ignored: int) -> MaskClasses:
    if not 1 <= len(values) <= IGNORE:
        raise InputError(
            f"{root}: the values in the masks make {len(values)} classes, expected 1 to {IGNORE}; "
            "are these masks of "
            f"classes? If so, write a {CLASS_FILES[0]} that says what the values mean, {EXAMPLE}"
        )
    return numbered_classes(values, ignored=ignored)


def _values_in(root: Path, samples: Sequence[MaskSample]) -> set[int]:
    """The values that occur in masks; a file that cannot be read is left to the audit.

    Raises:
        InputError: masks in colour, whose meaning no value tells, or none that can be read.
    """
    values: set[int] = set()
    errors = []
    for sample, found in zip(
        samples, read_all(_values, samples, what="looking for classes"), strict=True
    ):
        if isinstance(found, ImageError):
            errors.append(found)
            continue
        if found.in_colour:
            colours = ", ".join(str(unpack(colour)) for colour in found.values.tolist()[:5])
            raise InputError(
                f"{sample.mask}: this mask is in colour ({colours}, ...), and nothing says what "
                "the colours mean; "
                f"write a {root / CLASS_FILES[0]} with a color for each class, {EXAMPLE}"
            )
        values.update(found.values.tolist())
    if not values:
        raise InputError(f"{root}: none of the {len(errors)} masks can be read; first: {errors[0]}")
    return values


def _values(sample: MaskSample) -> MaskPixels | ImageError:
    """Return the values that occur in a mask, or why it cannot be read."""
    try:
        pixels = read_pixels(sample.mask)
    except ImageError as error:
        return error
    return replace(pixels, values=np.unique(pixels.values))
