"""Pairs of an image and its mask, and the choice of pairs by a list of names."""

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from unicodedata import normalize

from nommer.data.formats.labelled import HasPath, Issue, Split, no_image, problem, shorten
from nommer.data.formats.mask_layouts import LAYOUTS
from nommer.data.formats.mask_places import MASK_ENDINGS, Layout, Naming, Part
from nommer.data.formats.unread import told_by_name
from nommer.data.image_paths import is_image_name, is_there, visible_files
from nommer.data.parsing import read_text
from nommer.errors import InputError
from nommer.shown import quote

Key = tuple[str, ...]
"""Folders and stem of a file, below the folder that was searched."""


_PLAIN = Naming()


@dataclass(frozen=True)
class MaskSample:
    """An image file and the file that holds its mask."""

    path: Path
    mask: Path


@dataclass(frozen=True)
class Pairs:
    """The images of one folder, each with its mask."""

    by_key: dict[Key, MaskSample]
    issues: tuple[Issue, ...]
    masks: frozenset[Path]
    """Every file there that may be a mask."""


def pair_parts(layout: Layout) -> tuple[dict[Split, tuple[MaskSample, ...]], list[Issue]]:
    """The samples of every split, and what is left out.

    An image without a mask is paired with the file that it lacks, for whoever reads that to
    complain.

    Raises:
        InputError: names that are not clear, or lists that do not fit the files.
    """
    folders = {
        (part.images, part.masks): pair(part.images, part.masks, part.naming)
        for part in layout.parts.values()
    }
    issues = [*layout.issues, *(issue for pairs in folders.values() for issue in pairs.issues)]
    splits: dict[Split, tuple[MaskSample, ...]] = {}
    unused = {folder: dict(pairs.by_key) for folder, pairs in folders.items()}
    for split, part in layout.parts.items():
        pairs, left = folders[part.images, part.masks].by_key, unused[part.images, part.masks]
        chosen = (
            list(pairs)
            if part.listed_in is None
            else read_list(part.listed_in, pairs, part.images, issues)
        )
        taken = [key for key in chosen if key not in left]
        if taken:
            raise InputError(
                f"{part.listed_in}: lists {quote(taken[0][-1])}, which another split lists too; "
                "keep it "
                "in one"
            )
        samples = [left.pop(key) for key in sorted(chosen)]
        if not samples:
            where, hint = (part.listed_in, "") if part.listed_in else (part.images, f"; {LAYOUTS}")
            raise InputError(f"{where}: no images of {quote(split)} here{hint}")
        if split == "test" and not any(is_there(sample.mask) for sample in samples):
            issues += [
                problem(str(s.path), "no image of this split has a mask", "left out")
                for s in samples
            ]
            continue
        _check_names(split, part, samples, folders[part.images, part.masks].masks)
        splits[split] = tuple(samples)
    issues += [
        problem(str(sample.path), "is in no list of a split", "left out")
        for left in unused.values()
        for sample in left.values()
    ]
    return splits, issues


def _check_names(
    split: Split, part: Part, samples: list[MaskSample], masks: frozenset[Path]
) -> None:
    """Refuse images of which none has a mask, so that their names are to blame."""
    if not masks:
        raise InputError(
            f"{part.masks}: no masks in this folder, for the images in {part.images}; {LAYOUTS}"
        )
    if not any(sample.mask in masks for sample in samples):
        if (unread := told_by_name(min(masks))) is not None:
            raise InputError(f"{part.masks}: {unread}")
        raise InputError(
            f"{part.masks}: the names of the masks, such as {min(masks).name}, do not match those "
            "of the images of "
            f"{quote(split)}, such as {samples[0].path.name}; name each mask like its image, in "
            "the "
            "same sub-folder, "
            f"or with {', '.join(MASK_ENDINGS[:5])} behind the name"
        )


def pair(images: Path, masks: Path, naming: Naming = _PLAIN) -> Pairs:
    """Find the mask of every image.

    The file of the same name, or with one of the endings of masks, in the same sub-folder.

    Raises:
        InputError: two images, or two masks, that only their endings tell apart.
    """
    found, issues = by_key(images, "images")
    candidates, more = (found, []) if masks == images else by_key(masks, "masks")
    if masks == images:
        candidates = _with_ending(found, naming)
        found = {key: path for key, path in found.items() if key not in candidates}
    pairs: dict[Key, MaskSample] = {}
    for key, image in found.items():
        base = _shared(key, naming.image_endings)
        others = ((*key[:-1], base + ending) for ending in naming.mask_endings)
        fitting = (
            other
            for other in (key, *others)
            if other in candidates and (other == key or other not in found)
        )
        mask = next(
            (candidates[other] for other in fitting), masks.joinpath(*key[:-1], f"{image.stem}.png")
        )
        pairs[key] = MaskSample(image, mask)
    used = {sample.mask for sample in pairs.values()}
    stray = [
        problem(mask, "mask without an image", "left out")
        for mask in candidates.values()
        if mask not in used and not (naming.unused and mask.stem.endswith(naming.unused))
    ]
    told = [issue for issue in more if not _is_unused(issue, naming)]
    return Pairs(pairs, (*issues, *told, *stray), frozenset(candidates.values()))


def _shared(key: Key, image_endings: tuple[str, ...]) -> str:
    """An image's name without what its mask's name does not have."""
    ending = next((ending for ending in image_endings if key[-1].endswith(ending)), "")
    return key[-1].removesuffix(ending)


def _with_ending(found: Mapping[Key, Path], naming: Naming) -> dict[Key, Path]:
    """Those of the files in one folder that are masks of others there."""
    bases = {
        (*key[:-1], _shared(key, naming.image_endings) + ending)
        for key in found
        for ending in naming.mask_endings
    }
    return {key: path for key, path in found.items() if key in bases}


def _is_unused(issue: Issue, naming: Naming) -> bool:
    return bool(naming.unused) and Path(issue.file).stem.endswith(naming.unused)


def by_key(folder: Path, what: str) -> tuple[dict[Key, Path], list[Issue]]:
    """The images in a folder, and the files there that are none.

    Raises:
        InputError: two images that only their endings tell apart.
    """
    found: dict[Key, Path] = {}
    issues = []
    for path in visible_files(folder):
        if not is_image_name(path):
            issues.append(no_image(path))
            continue
        key = tuple(
            normalize("NFC", part) for part in path.relative_to(folder).with_suffix("").parts
        )
        if key in found:
            raise InputError(
                f"{path}: another of the {what}, {found[key].name}, differs only in its ending, so "
                "it is not clear "
                "which image belongs to which mask; rename or remove one"
            )
        found[key] = path
    return found, issues


def _read_list(file: Path) -> str:
    try:
        return read_text(file, errors="surrogateescape")
    except OSError as error:
        raise InputError(f"{file}: this list cannot be read: {error.strerror or error}") from error


def read_list(
    file: Path, pairs: Mapping[Key, HasPath], folder: Path, issues: list[Issue]
) -> list[Key]:
    """The images that a list names, one a line.

    A name or path, with its ending or without, maybe a second column.

    Raises:
        InputError: names of no image, or of several.
    """
    by_name: dict[str, list[Key]] = defaultdict(list)
    for key in pairs:
        by_name[key[-1]].append(key)
    chosen: dict[Key, None] = {}
    unknown = []
    for line in _read_list(file).splitlines():
        text = normalize("NFC", line.strip())
        if not text:
            continue
        keys = _named(text, by_name)
        if not keys:
            unknown.append(text)
        elif len(keys) > 1:
            raise InputError(
                f"{file}: {quote(text)} may be any of {len(keys)} images in {folder}; write its "
                "sub-folder too"
            )
        elif keys[0] in chosen:
            issues.append(
                Issue(str(pairs[keys[0]].path), f"listed twice in {file.name}", "used once")
            )
        else:
            chosen[keys[0]] = None
    if unknown:
        raise InputError(
            f"{file}: {len(unknown)} of the names listed are no images in {folder}: "
            f"{shorten(unknown, 5)}; "
            "correct the list or add the images"
        )
    return list(chosen)


def _named(text: str, by_name: dict[str, list[Key]]) -> list[Key]:
    """The images that a line of a list may mean.

    The line as a name (which may hold spaces), or its first column.
    """
    columns = re.split(r"[\s,]+", text)
    one_name = not any(is_image_name(Path(column)) for column in columns[:-1])
    for column in (text, columns[0]) if one_name else columns[:1]:
        path = Path(column.replace("\\", "/"))
        for name in (path.name, path.stem):
            keys = by_name.get(name, [])
            if len(keys) > 1:
                whole = (*path.parent.parts, name)
                keys = [key for key in keys if whole[-len(key) :] == key] or keys
            if keys:
                return keys
    return []
