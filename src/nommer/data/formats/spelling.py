"""File names whose letters are encoded in another way on disk than in a table."""

from functools import lru_cache
from pathlib import Path
from unicodedata import normalize

from nommer.data.image_paths import direct_files, is_folder, is_there, sub_folders


def spelled(path: Path) -> Path:
    """Return the path of a file as it is on disk, where letters with marks may be two signs."""
    text = str(path)
    if text.isascii() or is_there(path):
        return path
    found = Path(path.anchor)
    for part in path.parts[1 if path.anchor else 0 :]:
        found /= part if is_there(found / part) else _names_in(found).get(_plain(part), part)
    return found


def _plain(name: str) -> str:
    return normalize("NFC", name)


@lru_cache(maxsize=1024)
def _names_in(folder: Path) -> dict[str, str]:
    """The names of the files in a folder, by how they are usually spelled."""
    if not is_folder(folder):
        return {}
    found = [*direct_files(folder), *sub_folders(folder)]
    return {_plain(path.name): path.name for path in found}
