"""Images with one class each, in whatever format: finding and reading."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from nommer.data.archives import is_archive_name, pass_over_wrappers
from nommer.data.formats import folders, hugging_face, imagenet, litdata, metadata, shards, tables
from nommer.data.formats.folder_names import ALL_FOLDERS
from nommer.data.formats.folders import ClassFolders
from nommer.data.formats.labelled import split_of
from nommer.data.formats.source import Source
from nommer.data.image_paths import is_folder, sub_folders
from nommer.errors import InputError
from nommer.settings.labels import LabelOptions

LAYOUTS = "\n".join(
    part.LAYOUTS for part in (folders, tables, imagenet, shards, litdata, hugging_face)
)

Reader = Callable[[Path, tuple[str, ...] | None], ClassFolders]


def find_reader(source: Source) -> Reader | None:
    """Return the reader of data in a format of classification alone.

    None for folders, which may be of any task.

    Raises:
        InputError: a damaged archive.
    """
    finders: dict[Reader, Callable[[Path], object]] = {
        hugging_face.read_hugging_face: hugging_face.is_hugging_face,
        imagenet.read_imagenet: imagenet.is_imagenet,
        litdata.read_chunks: litdata.find_chunks,
        shards.read_shards: shards.find_shards,
        _read_archives: _holds_class_folders,
    }
    return next((reader for reader, find in finders.items() if find(source.root)), None)


def is_classification_alone(place: Source | Path) -> bool:
    """Tell if the data are in a format of classification alone, not mere folders.

    Raises:
        InputError: a damaged archive.
    """
    source = Source.of(place)
    is_table = source.root.is_file() and bool(source.once(tables.find_tables))
    return is_table or source.once(find_reader) is not None


def read_classification(
    place: Source | Path, class_names: tuple[str, ...] | None = None
) -> ClassFolders:
    """Find the images and their classes at a place, which is not changed.

    Args:
        place: folder, archive or table of the data.
        class_names: the classes of a model to evaluate: labels come in their order. The data may
            lack some of them.

    Raises:
        InputError: no such layout, data that contradict themselves, or classes that `class_names`
            lack.
    """
    source = Source.of(place)
    root, options = source.root, source.labels
    if options.format == "folders":
        return _read_archives(root, class_names, options)
    if options.format == "table" and not source.once(tables.find_tables):
        raise InputError(
            f"--labels.format table: {root} holds no table or list of images and their classes; "
            "choose another format or leave it to auto"
        )
    reader = source.once(find_reader) if options.format == "auto" else None
    if reader is None and not source.once(tables.find_tables):
        found = folders.read_class_folders(root, class_names, options)
        told = [metadata.not_read(file) for _, file in source.once(metadata.find_metadata)]
        return replace(found, issues=(*found.issues, *told))
    return tables.read_tables(source, class_names) if reader is None else reader(root, class_names)


def _holds_class_folders(root: Path) -> bool:
    """Tell if `root` is an archive, or a folder of archives by split that hold class folders.

    Folders of images and masks are called otherwise, or by the split: then the archives have no
    name in common.
    """
    if is_archive_name(root) and is_folder(root):
        return True
    if not root.is_dir() or sub_folders(root):
        return False
    archives = [path for path in sorted(root.iterdir()) if is_archive_name(path)]
    try:
        found = [
            {child.name.lower() for child in sub_folders(pass_over_wrappers(path))}
            for path in archives
            if split_of(path.name.partition(".")[0])
        ]
    except InputError:
        return False
    return bool(found) and bool(set.intersection(*found) - ALL_FOLDERS)


def _read_archives(
    root: Path, class_names: tuple[str, ...] | None, options: LabelOptions = LabelOptions()
) -> ClassFolders:
    found = folders.read_class_folders(pass_over_wrappers(root), class_names, options)
    return replace(found, root=root)
