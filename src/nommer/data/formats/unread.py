"""Labels of tools whose files are recognised, but not read, with the way to a format that is."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from nommer.data.archives import is_archive_name
from nommer.data.image_paths import direct_files, sub_folders
from nommer.data.parsing import head_of

_HEAD = 1 << 16
"""Bytes of a file that are looked into."""

_MOST_FILES = 60
"""Files that are looked into."""

_DEPTH, _BREADTH = 3, 20
"""Levels below the data, and folders of a level's folder, that are looked into."""

_TO_COCO = "convert it to COCO"
_COCO = "export COCO from it"
_VIA = "export it as COCO there (Annotation, Export)"
_STUDIO = "export COCO or YOLO there; of choices write a table with columns path and label"
_CVAT = "export COCO or YOLO there"
_FIFTYONE = "export a COCODetectionDataset or an ImageClassificationDirectoryTree there"
_TAGS = "export COCO there; of tags write a table with columns path and label"

_CONTENTS: tuple[tuple[str, tuple[str, ...], tuple[str, ...], str], ...] = (
    ("VIA", (".json",), ('"_via_',), _VIA),
    ("VIA", (".json",), ('"shape_attributes"',), _VIA),
    ("VIA", (".csv",), ("region_shape_attributes",), _VIA),
    ("VIA", (".csv",), ("spatial_coordinates",), _VIA),
    ("CreateML", (".json",), ('"coordinates"', '"annotations"', '"image'), _COCO),
    ("Label Studio", (".json",), ('"result"', '"from_name"'), _STUDIO),
    ("Label Studio", (".json", ".csv", ".tsv"), ("original_width", "labels"), _STUDIO),
    ("Label Studio", (".csv", ".tsv"), ("rectanglelabels",), _STUDIO),
    ("Label Studio", (".json",), ('"annotation_id"', '"annotator"'), _STUDIO),
    ("Label Studio", (".csv", ".tsv"), ("annotation_id", "lead_time"), _STUDIO),
    ("FiftyOne", (".json",), ('"_cls"',), _FIFTYONE),
    ("FiftyOne", (".json",), ('"classes"', '"labels"'), _FIFTYONE),
    ("Supervisely", (".json",), ('"classTitle"',), "export COCO there"),
    ("Supervisely", (".json",), ('"projectType"', '"classes"'), "export COCO there"),
    ("Datumaro", (".json",), ('"items"', '"categories"', '"attr'), "convert it to COCO with datum"),
    ("BDD100K", (".json",), ('"box2d"',), "convert it to COCO with bdd100k.label.to_coco"),
    ("VoTT", (".json",), ('"regions"', '"asset"'), "export Pascal VOC there"),
    ("V7 Darwin", (".json",), ('"bounding_box"', '"item"'), "export COCO there"),
    ("V7 Darwin", (".json",), ('"annotations"', '"slots"'), _TAGS),
    ("V7 Darwin", (".json",), ('"dataset"', '"bounding_box"'), "export COCO there"),
    ("Scale", (".json",), ('"task_id"', '"response"'), _TO_COCO),
    ("Labelbox", (".json", ".ndjson"), ('"Labeled Data"',), _TO_COCO),
    ("Labelbox", (".json", ".ndjson"), ('"data_row"',), _TO_COCO),
    ("SuperAnnotate", (".json",), ('"instances"', '"className"'), "export COCO there"),
    ("Encord", (".json",), ('"data_units"',), "export COCO there"),
    ("Hasty", (".json",), ('"label_classes"',), "export COCO there"),
    ("Dataloop", (".json",), ('"annotations"', '"coordinates"', '"label"'), "export COCO there"),
    ("SageMaker Ground Truth", (".manifest", ".jsonl"), ('"source-ref"',), _TO_COCO),
    ("AutoML", (".csv", ".jsonl"), ("gs://",), "convert it to TensorFlow CSV"),
    ("Azure ML", (".jsonl",), ('"image_url"', '"label"'), "export COCO there"),
    ("vision chat", (".jsonl",), ('"messages"', '"image_url"'), "export COCO from Roboflow"),
    ("Global Wheat", (".csv",), ("BoxesString",), _TO_COCO),
    ("CrowdHuman", (".odgt",), ('"gtboxes"',), _TO_COCO),
    ("PaliGemma", (".jsonl",), ('"suffix"', "<loc"), "export COCO from Roboflow"),
    ("CVAT", (".xml",), ("<annotations>", "<image "), f"{_CVAT}, not CVAT for images"),
    ("CVAT", (".xml",), ("<annotations>", "<track "), f"{_CVAT}, not CVAT for video"),
    ("ASAP", (".xml",), ("<ASAP_Annotations",), "write masks as PNG"),
    ("Aperio ImageScope", (".xml",), ("<Annotation ", "<Region"), "write masks as PNG"),
    ("QuPath", (".geojson",), ('"geometry"',), "export masks or GeoJSON as COCO"),
    ("napari", (".csv",), ("shape-type", "vertex-index"), "save labels as masks there"),
    ("Open Images", (".csv",), ("ImageID", "XMin"), _TO_COCO),
    ("Kaggle run lengths", (".csv",), ("EncodedPixels",), "write masks as PNG, or convert to COCO"),
)
"""Tool, endings, what stands in the file, and what to do."""

_ENDINGS = {
    "_seg.npy": ("Cellpose", "save masks as PNG or TIFF there: NAME_masks.tif"),
    "_bbx_gt.txt": ("WIDER FACE", _TO_COCO),
    ".tfrecord": ("TensorFlow", "convert the records to COCO, or export TensorFlow CSV"),
    ".record": ("TensorFlow", "convert the records to COCO, or export TensorFlow CSV"),
    ".roi": ("ImageJ", "write masks as PNG"),
    ".mat": ("Matlab", "write masks as PNG and lists as text"),
    ".h5": ("HDF5", "write images and masks as files"),
    ".npz": ("NumPy", "write images and masks as files"),
    ".parquet": ("Parquet", "save the data with the package datasets: save_to_disk"),
}

_MOT = ("MOT Challenge", _TO_COCO)

_FOLDERS = {
    frozenset({"label_2", "image_2"}): ("KITTI", "convert it to COCO or VOC"),
    frozenset({"img", "ann"}): ("Supervisely", "export COCO there"),
    frozenset({"img1", "gt"}): _MOT,
    frozenset({"img1", "det"}): _MOT,
    frozenset({"images", "labeltxt"}): ("DOTA", "convert it to COCO; boxes are not turned here"),
}

_MARKET = ("Market-1501", "sort the images into train/PERSON and val/PERSON to learn classes")
_MARKET_FOLDER = "bounding_box_"
"""The beginning of Market-1501's folders, behind which CVAT puts the subset's name."""

_IMAGES = (
    (
        "Label Studio's brush",
        r"task-\d+-annotation-\d+-by-.*-tag-.*-\d+\.(png|npy)",
        "join those of a task to one mask of classes, named like its image",
    ),
    (
        "ADE20K in full",
        r"ADE_.*_(seg|parts_\d+)\.png",
        "use ADEChallengeData2016, or write masks of class numbers as PNG",
    ),
)
"""Tool, name of an image that it writes, and what to do."""

_ENDS = 20
"""Files that are looked at by name, at both ends of a folder's list."""

_DEEP = 5
"""Levels more at which the first folder's images are looked at by name."""

_YOLO = re.compile(r"\s*\d+(\s+[01]?\.\d+){4,}\s*$")

_NUMBER = r"-?\d+(\.\d+)?"
_LINES = (
    ("OIDv4 ToolKit", (".txt",), rf"[A-Za-z][A-Za-z _-]*(\s+{_NUMBER}){{4}}\s*", _TO_COCO),
    ("YOLO as Keras has it", (".txt",), r"\S+(\s+(\d+,){4}\d+)+\s*", _COCO),
    ("DOTA", (".txt",), rf"({_NUMBER}\s+){{8}}\S+\s+\d\s*", _TO_COCO),
    ("KITTI", (".txt",), rf"[A-Za-z_]+(\s+{_NUMBER}){{14,15}}\s*", "convert it to COCO or VOC"),
    (
        "MOT Challenge or VisDrone",
        (".txt",),
        rf"{_NUMBER}(,{_NUMBER}){{5,}},?",
        "convert it to COCO",
    ),
    ("makesense.ai", (".csv",), rf"[^,]+(,{_NUMBER}){{4}},[^,]+,\d+,\d+", "export VOC there"),
)
"""Tool, endings, every line of the file, and what to do."""

_UNTOLD = re.compile(r"imagesource:|gsd:")
"""Lines of DOTA before its objects."""

_GEOMETRY = re.compile(
    r"""["'](bbox|box|boxes|boundingBox|bounding_?box|polygons?|points|vertices|segmentation|xmin|"""
    r"""x_?min|topX|contours?|keypoints)["']\s*:""",
    re.IGNORECASE,
)
"""Words of places in an image, in JSON of tools that are not known."""

_JSON = (".json", ".jsonl", ".ndjson", ".geojson", ".manifest", ".odgt")


def find_unread(root: Path) -> str | None:
    """Return a sentence about labels that are recognised in a folder but not read, if there are."""
    if not root.is_dir():
        return None
    folders = _folders_below(root)
    for folder in folders:
        names = {child.name.lower().split("-")[0] for child in sub_folders(folder)}
        for known, (tool, advice) in _FOLDERS.items():
            if known <= names:
                return _sentence(tool, " and ".join(sorted(known)), advice)
        market = [name for name in sorted(names) if name.startswith(_MARKET_FOLDER)]
        if market:
            return _sentence(_MARKET[0], market[0], _MARKET[1])
    if (unread := _unread_image(folders)) is not None:
        return unread
    return next(filter(None, map(_unread_file, _looked_at(folders))), None)


def _unread_image(folders: Sequence[Path]) -> str | None:
    """A sentence about images whose names tell that they are labels."""
    last = folders[-1:]
    for _ in range(_DEEP):
        last = [*last, *sub_folders(last[-1])[:1]]
    for folder in (*folders, *last[1:]):
        files = direct_files(folder)
        told = map(told_by_name, (*files[:_ENDS], *files[-_ENDS:]))
        if (sentence := next(filter(None, told), None)) is not None:
            return sentence
    return None


def told_by_name(path: Path) -> str | None:
    """Return a sentence about a mask that a tool called by names of its own, else None."""
    for tool, name, advice in _IMAGES:
        if re.fullmatch(name, path.name):
            return _sentence(tool, path.name, advice)
    return None


def _unread_file(path: Path) -> str | None:
    """A sentence about a file, if it holds labels that are not read."""
    name, ending, text = path.name.lower(), path.suffix.lower(), head_of(path, _HEAD)
    for end, (tool, advice) in _ENDINGS.items():
        if name.endswith(end):
            return _sentence(tool, path.name, advice)
    for tool, endings, marks, advice in _CONTENTS:
        if ending in endings and all(mark in text for mark in marks):
            return _sentence(tool, path.name, advice)
    if ending == ".txt" and looks_like_yolo(text):
        advice = "write a data.yaml with names, train and val beside them"
        return f"it holds label files as YOLO has them, such as {path.name}: {advice}"
    for tool, endings, line, advice in _LINES:
        if ending in endings and _all_lines(line, text):
            return _sentence(tool, path.name, advice)
    if ending in _JSON and _GEOMETRY.search(text):
        return _sentence("a tool that is not known", path.name, "convert them to COCO")
    return None


def _all_lines(line: str, text: str) -> bool:
    lines = [found for found in text.splitlines()[:20] if found.strip()]
    lines = [found for found in lines if not _UNTOLD.match(found)]
    return bool(lines) and all(re.fullmatch(line, found) for found in lines)


def looks_like_yolo(text: str) -> bool:
    """Tell if every line is a class number and shares of the image's sides."""
    lines = [line for line in text.splitlines()[:20] if line.strip()]
    return bool(lines) and all(_YOLO.match(line) for line in lines)


def _sentence(tool: str, name: str, advice: str) -> str:
    return f"it holds labels of {tool} ({name}), which are not read: {advice}"


def _folders_below(root: Path) -> list[Path]:
    """A folder and the first of those below it."""
    found, level = [root], [root]
    for depth in range(_DEPTH):
        breadth = _BREADTH if depth == 0 else 5
        level = [child for folder in level[:_BREADTH] for child in sub_folders(folder)[:breadth]]
        found += level
    return found


def _looked_at(folders: Sequence[Path]) -> Iterator[Path]:
    """The first files in folders that are no images."""
    known = (*(ending for _, endings, *_ in (*_CONTENTS, *_LINES) for ending in endings), *_JSON)
    endings = tuple({*_ENDINGS, *known})
    seen = 0
    for folder in folders:
        files = [path for path in direct_files(folder) if path.name.lower().endswith(endings)]
        for path in files[:5]:
            seen += 1
            if seen > _MOST_FILES:
                return
            if not is_archive_name(path):
                yield path
