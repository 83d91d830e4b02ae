"""Image files and their folders, on disk and inside archives, found by their names."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from nommer.data.archives import find_archive, folders_in, open_archive
from nommer.data.walking import expand, is_folder_entry, is_passed_over, walk
from nommer.errors import InputError
from nommer.files import exists, is_dir, is_file

EXTENSIONS = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".bmp",
        ".gif",
        ".tif",
        ".tiff",
        ".webp",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".avif",
        ".jp2",
        ".j2k",
        ".mpo",
    ]
)
"""File name endings (lower case) by which images are found in folders."""

UNREAD_EXTENSIONS = frozenset(
    [
        ".heic",
        ".heif",
        ".jxl",
        ".dng",
        ".nef",
        ".cr2",
        ".cr3",
        ".arw",
        ".raf",
        ".rw2",
        ".orf",
        ".dcm",
        ".tga",
        ".psd",
        ".nii",
        ".nrrd",
        ".mha",
        ".czi",
        ".lif",
        ".nd2",
        ".svs",
        ".ndpi",
        ".mrxs",
        ".exr",
        ".hdr",
        ".svg",
        ".eps",
        ".pcx",
        ".qoi",
        ".fits",
    ]
)
"""File name endings (lower case) of images that are not read, which people may take for read."""


def is_image_name(path: Path) -> bool:
    """Return True for a file name that ends as images do."""
    return path.suffix.lower() in EXTENSIONS


def visible_files(folder: Path) -> list[Path]:
    """Files in a folder, also of an archive, searched deeply and sorted.

    Nothing whose name, or whose folder's name, begins with a dot is among them.
    Links to folders are followed, each real folder is searched once. Links that lead nowhere,
    pipes, devices, and empty folders that are called like images are among the files, for whoever
    reads them to complain.

    Raises:
        InputError: a folder that may not be read.
    """
    if found := find_archive(folder):
        return [found[0] / name for name in open_archive(found[0]).below(found[1])]
    files = walk(folder, refuse_folder)
    return sorted(path for path in files if is_image_name(path) or not is_dir(path))


def holds_images(folder: Path) -> bool:
    """Return True where a file in a folder, searched as `visible_files` does, is named as an image.

    Raises:
        InputError: a folder that may not be read.
    """
    files = visible_files(folder) if find_archive(folder) else walk(folder, refuse_folder)
    return any(map(is_image_name, files))


def sub_folders(folder: Path) -> list[Path]:
    """Folders directly in a folder, also of an archive, sorted; none whose name begins with a dot.

    Raises:
        InputError: a folder that may not be read.
    """
    if found := find_archive(folder):
        return [found[0] / name for name in folders_in(open_archive(found[0]), found[1])]
    try:
        # scandir knows folders from files without asking for each
        with os.scandir(folder) as entries:
            return sorted(
                Path(entry.path)
                for entry in entries
                if not is_passed_over(entry.name) and is_folder_entry(entry)
            )
    except OSError as error:
        refuse_folder(error)


def is_folder(path: Path) -> bool:
    """Return True for a folder, on disk or in an archive; an archive is one."""
    if found := find_archive(path):
        return found[1] in open_archive(found[0]).folders
    return is_dir(path)


def is_data_file(path: Path) -> bool:
    """Return True for a file, on disk or in an archive; an archive is a folder."""
    if found := find_archive(path):
        return bool(found[1]) and open_archive(found[0]).holds(found[1])
    return is_file(path)


def is_there(path: Path) -> bool:
    """Return True for anything of this name, on disk or in an archive."""
    return is_data_file(path) or is_folder(path) if find_archive(path) else exists(path)


def direct_files(folder: Path) -> list[Path]:
    """Files directly in a folder, also of an archive, sorted; none whose name begins with a dot."""
    if find_archive(folder):
        return [path for path in visible_files(folder) if path.parent == folder]
    return sorted(path for path in folder.iterdir() if path.name[0] != "." and not is_dir(path))


def refuse_folder(error: OSError) -> NoReturn:
    """Raise an `InputError` that names the folder and the reason."""
    raise InputError(f"{error.filename}: this folder cannot be read: {error.strerror}") from error


def find_images(patterns: list[str]) -> Iterator[Path]:
    """Yield the image files that files, folders (searched deeply) and glob patterns name, once.

    A single file is taken as it is named, whether it exists or not: reading it tells.

    Raises:
        InputError: a folder without images, or a pattern that matches no file.
    """
    seen: set[Path] = set()
    for pattern in patterns:
        for path in _expand(pattern):
            if path not in seen:
                seen.add(path)
                yield path


def _expand(pattern: str) -> list[Path]:
    path = Path(pattern)
    if is_folder(path):
        found = [file for file in visible_files(path) if is_image_name(file)]
        if not found:
            raise InputError(
                f"{pattern}: no images in this folder (looked for {', '.join(sorted(EXTENSIONS))})"
            )
        return found
    if is_file(path) or not any(sign in pattern for sign in "*?["):
        return [path]
    found = [file for file in expand(pattern, refuse_folder) if is_file(file)]
    if not found:
        raise InputError(f"{pattern}: the pattern matches no file")
    return found
