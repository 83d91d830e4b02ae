"""Labels of tools whose files are recognised, but not read, with the way to a format that is."""

import re
from collections.abc import Iterator
from pathlib import Path

from nommer.data.archives import is_archive_name
from nommer.data.image_paths import direct_files, sub_folders

_HEAD = 1 << 16
"""Bytes of a file that are looked into."""

_MOST_FILES = 60
"""Files that are looked into."""

_COCO = "export COCO from it"

_CONTENTS: tuple[tuple[str, str, tuple[str, ...], str], ...] = (
    ("VIA", ".json", ('"_via_',), "export it as COCO there (Annotation, Export)"),
    ("VIA", ".json", ('"shape_attributes"',), "export it as COCO there (Annotation, Export)"),
    ("VIA", ".csv", ("region_shape_attributes",), "export it as COCO there (Annotation, Export)"),
    ("CreateML", ".json", ('"coordinates"', '"annotations"', '"image'), _COCO),
    ("Label Studio", ".json", ('"result"', '"from_name"'), "export COCO or YOLO there"),
    ("Supervisely", ".json", ('"classTitle"',), "export COCO there"),
    ("Supervisely", ".json", ('"projectType"', '"classes"'), "export COCO there"),
    ("Datumaro", ".json", ('"items"', '"categories"', '"attr'), "convert it to COCO with datum"),
    ("BDD100K", ".json", ('"box2d"',), "convert it to COCO with bdd100k.label.to_coco"),
    ("VoTT", ".json", ('"regions"', '"asset"'), "export Pascal VOC there"),
    ("V7 Darwin", ".json", ('"dataset"', '"bounding_box"', '"item"'), "export COCO there"),
    (
        "CVAT",
        ".xml",
        ("<annotations>", "<image "),
        "export COCO or YOLO there, not CVAT for images",
    ),
    ("Open Images", ".csv", ("ImageID", "XMin"), "convert it to COCO"),
    ("Labelbox", ".ndjson", ("{",), "convert it to COCO with labelbox's converter"),
    ("Kaggle run lengths", ".csv", ("EncodedPixels",), "write masks as PNG, or convert to COCO"),
)
"""Tool, ending, what stands in the file, and what to do."""

_ENDINGS = {
    ".tfrecord": ("TensorFlow", "convert the records to COCO, or export TensorFlow CSV"),
    ".record": ("TensorFlow", "convert the records to COCO, or export TensorFlow CSV"),
    ".mat": ("Matlab", "write masks as PNG and lists as text"),
    ".h5": ("HDF5", "write images and masks as files"),
    ".npz": ("NumPy", "write images and masks as files"),
    ".parquet": ("Parquet", "save the data with the package datasets: save_to_disk"),
}

_FOLDERS = {
    frozenset({"label_2", "image_2"}): ("KITTI", "convert it to COCO or VOC"),
    frozenset({"img", "ann"}): ("Supervisely", "export COCO there"),
    frozenset({"img1", "gt"}): ("MOT Challenge", "convert it to COCO"),
    frozenset({"images", "labeltxt"}): ("DOTA", "convert it to COCO; boxes are not turned here"),
}

_YOLO = re.compile(r"\s*\d+(\s+[01]?\.\d+){4,}\s*$")


def find_unread(root: Path) -> str | None:
    """Return a sentence about labels that are recognised in a folder but not read, if there are."""
    if not root.is_dir():
        return None
    names = {folder.name.lower() for folder in sub_folders(root)}
    for folders, (tool, advice) in _FOLDERS.items():
        if folders <= names:
            return _sentence(tool, " and ".join(sorted(folders)), advice)
    for path in _looked_at(root):
        if path.suffix.lower() in _ENDINGS:
            return _sentence(*_sorted(_ENDINGS[path.suffix.lower()], path))
        text = _head(path)
        for tool, ending, marks, advice in _CONTENTS:
            if path.suffix.lower() == ending and all(mark in text for mark in marks):
                return _sentence(tool, path.name, advice)
        if path.suffix.lower() == ".txt" and looks_like_yolo(text):
            advice = "write a data.yaml with names, train and val beside them"
            return f"it holds label files as YOLO has them, such as {path.name}: {advice}"
    return None


def looks_like_yolo(text: str) -> bool:
    """Tell if every line is a class number and shares of the image's sides."""
    lines = [line for line in text.splitlines()[:20] if line.strip()]
    return bool(lines) and all(_YOLO.match(line) for line in lines)


def _sorted(told: tuple[str, str], path: Path) -> tuple[str, str, str]:
    tool, advice = told
    return tool, path.name, advice


def _sentence(tool: str, name: str, advice: str) -> str:
    return f"it holds labels of {tool} ({name}), which are not read: {advice}"


def _looked_at(root: Path) -> Iterator[Path]:
    """The first files that are no images, in the folder and in those below it."""
    endings = {*_ENDINGS, *(ending for _, ending, _, _ in _CONTENTS), ".txt"}
    below = sub_folders(root)
    folders = [
        root,
        *below[:20],
        *(deep for folder in below[:20] for deep in sub_folders(folder)[:5]),
    ]
    seen = 0
    for folder in folders:
        files = [path for path in direct_files(folder) if path.suffix.lower() in endings]
        for path in files[:5]:
            seen += 1
            if seen > _MOST_FILES:
                return
            if not is_archive_name(path):
                yield path


def _head(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return stream.read(_HEAD).decode("utf-8-sig", errors="replace")
    except OSError:
        return ""
