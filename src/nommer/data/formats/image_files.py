"""The image file that a data set means by a name, and its size."""

import posixpath
from collections.abc import Sequence
from functools import cache
from pathlib import Path, PurePosixPath
from unicodedata import normalize

from nommer.data.exif import FIRST_SIDEWAYS, orientation_of, stored_size
from nommer.data.formats.labelled import SPLIT_FOLDERS, Split
from nommer.data.image_paths import is_image_name, visible_files
from nommer.data.images import ImageError, image_errors, open_image
from nommer.data.parallel import read_all
from nommer.errors import InputError
from nommer.shown import quote

UNKNOWN_SIZE = (0, 0)
"""Of an image that cannot be opened."""


def upright_size(path: Path) -> tuple[int, int]:
    """Width and height by an image's header, turned as its EXIF orientation says.

    `UNKNOWN_SIZE` without one.
    """
    try:
        with image_errors(path), open_image(path) as image:
            size = stored_size(image)
            return size[::-1] if orientation_of(image) >= FIRST_SIDEWAYS else size
    except ImageError:
        return UNKNOWN_SIZE


def upright_sizes(paths: Sequence[Path]) -> dict[Path, tuple[int, int]]:
    """`upright_size` of each, several at a time."""
    return dict(zip(paths, read_all(upright_size, paths, what="reading image sizes"), strict=True))


class ImageFiles:
    """The image files of a data set, found by the names that annotation files give them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = {
            normalize("NFC", str(path)): str(path)
            for path in visible_files(root)
            if is_image_name(path)
        }
        """Paths as they are on disk by how they are usually spelled."""
        self.used: set[str] = set()
        self._names: dict[Path, str] = {}
        """Files by the names that annotation files gave them."""

    def find(self, annotations: Path, split: Split, name: str) -> Path | None:
        """Return the file of this name in the folder that fits the annotation file best.

        Or that of the end of the name, the longest first.
        """
        parts = name.replace("\\", "/").split("/")
        for tail in ("/".join(parts[start:]) for start in range(len(parts))):
            for folder in self._folders(annotations, split):
                path = self.files.get(normalize("NFC", str(folder / tail)))
                if path is not None:
                    self.used.add(path)
                    return Path(path)
        return None

    def check_name(self, path: Path, name: str, annotations: Path) -> None:
        """Refuse a file that is found by its bare name, for names with different folders.

        Raises:
            InputError: both names, and the file.
        """
        plain = posixpath.normpath(name.replace("\\", "/"))
        before = self._names.setdefault(path, plain)
        short, long = sorted((before, plain), key=len)
        if short != long and not f"/{long}".endswith(f"/{short}"):
            raise InputError(
                f"{annotations}: {quote(before)} and {quote(plain)} are different images, but both "
                f"are found at {path}, by the bare name; put the images into the folders that the "
                "names tell"
            )

    def missing(self, name: str) -> Path:
        """Return where a file that was not found might be, for messages."""
        parts = PurePosixPath(name.replace("\\", "/")).parts
        return self.root.joinpath(*(part for part in parts if part not in ("/", "..")))

    @cache  # noqa: B019 - lives as long as the reading
    def _folders(self, annotations: Path, split: Split) -> tuple[Path, ...]:
        """Return where images may lie, the places of one split before those of all."""
        own = [annotations.stem, annotations.stem.split("_")[-1], *SPLIT_FOLDERS[split]]
        folders = [annotations.parent, annotations.parent / "images", annotations.parent / "data"]
        for name in dict.fromkeys(own):
            folders += [self.root / name, self.root / "images" / name, self.root / name / "images"]
        return (*folders, *(self.root / name for name in ("images", "JPEGImages")), self.root)

    def unused(self) -> list[Path]:
        """Those beside others that were found."""
        folders = {str(Path(path).parent) for path in self.used}
        return sorted(
            path
            for path in map(Path, set(self.files.values()) - self.used)
            if str(path.parent) in folders
        )
