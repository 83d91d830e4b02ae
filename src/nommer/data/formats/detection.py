"""Images with objects, boxes or boxes and masks, in whatever format.

Finding, reading, and back to COCO's.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from nommer.data.formats import (
    box_tables,
    coco,
    coco_files,
    instance_maps,
    labelme,
    metadata,
    object_files,
    voc,
    yolo,
)
from nommer.data.formats.labelled import SPLIT_FOLDERS, Issue, Split, check_folder, check_names
from nommer.data.formats.objects import DetectionFolders, DetectionSample
from nommer.data.formats.oddities import find_oddities
from nommer.data.formats.recognise import check_chosen, choose_format, passed_over
from nommer.data.formats.source import Source
from nommer.data.image_paths import is_data_file
from nommer.errors import InputError
from nommer.settings.labels import FormatName

LAYOUTS = "\n".join(
    (
        "accepted layouts for object detection and instance segmentation:",
        *(part.LAYOUTS for part in (coco_files, yolo, voc, labelme, box_tables, metadata)),
        object_files.LAYOUTS,
        instance_maps.LAYOUTS,
    )
)

Reader = Callable[[Source], DetectionFolders]

_READERS: dict[FormatName, Reader] = {
    "coco": coco.read_coco,
    "voc": voc.read_voc,
    "yolo": yolo.read_yolo,
    "labelme": labelme.read_labelme,
    "boxes-table": box_tables.read_box_table,
    "object-files": object_files.read_object_files,
    "metadata": metadata.read_objects,
    "instance-maps": instance_maps.read_instance_maps,
}


def find_format(source: Source) -> tuple[FormatName, list[Issue]] | None:
    """Return the format of detection that is read, with issues about those passed over.

    None where the data are no detection data.

    Raises:
        InputError: the format that was asked for is not there.
    """
    root = source.root
    if is_data_file(root):
        return ("boxes-table", []) if source.once(box_tables.find_tables) else None
    check_chosen(source, "detection")
    chosen = source.once(choose_format)
    if chosen is None or chosen[0] not in _READERS:
        return None
    return chosen[0], passed_over(root, *chosen)


def read_detection(
    place: Source | Path, class_names: tuple[str, ...] | None = None
) -> DetectionFolders:
    """Find the images and their objects at a place, which is not changed.

    Every object is sound: what is not is clipped or dropped, and listed. Without splits of its own
    everything is "train"; a "test" split without a "val" beside it is "val".

    Args:
        place: folder of the data, or a table of boxes.
        class_names: the classes of a model to evaluate: labels come in their order. The data may
            lack some of them, which get category ids of their own.

    Raises:
        InputError: no such layout, annotations that are not understood, or classes that
            `class_names` lack.
    """
    given = Source.of(place)
    source = given.inside()
    root = source.root
    if not is_data_file(root):
        check_folder(root, LAYOUTS)
    found = find_format(source)
    if found is None:
        raise InputError(f"{root}: found no images with objects; {LAYOUTS}")
    data = _READERS[found[0]](source)
    splits = {split: data.splits[split] for split in SPLIT_FOLDERS if split in data.splits}
    if class_names is None and "train" not in splits:
        raise InputError(f"{root}: holds {', '.join(splits)} but nothing to train on; {LAYOUTS}")
    if "val" not in splits and "test" in splits:
        splits["val"] = splits.pop("test")
    masks = any(sample.objects.have_masks.any() for part in splits.values() for sample in part)
    told = (*found[1], *data.issues, *find_oddities(root, data.class_names))
    data = replace(data, root=given.root, splits=splits, has_masks=masks, issues=told)
    return data if class_names is None else _in_order_of(data, class_names)


def _in_order_of(data: DetectionFolders, names: tuple[str, ...]) -> DetectionFolders:
    """The data with their labels indexing `names`.

    Raises:
        InputError: a class that is not among them.
    """
    check_names(data.root, data.class_names, names)
    labels = np.array([names.index(name) for name in data.class_names], np.int64)
    ids = dict(zip(data.class_names, data.category_ids, strict=True))
    spare = count(max(data.category_ids, default=0) + 1)
    splits: dict[Split, tuple[DetectionSample, ...]] = {
        split: tuple(
            replace(s, objects=replace(s.objects, labels=labels[s.objects.labels])) for s in part
        )
        for split, part in data.splits.items()
    }
    category_ids = tuple(ids[name] if name in ids else next(spare) for name in names)
    return replace(data, class_names=names, category_ids=category_ids, splits=splits)


def as_coco(data: DetectionFolders, samples: Sequence[DetectionSample]) -> dict[str, Any]:
    """The objects of `samples` as the content of a COCO JSON file, for its evaluator.

    Images have their own ids, categories those of the data; annotations are counted from 1. Where
    the data has masks, they are compressed run lengths.
    """
    numbers = count(1)
    annotations = [
        annotation
        for sample in samples
        for annotation in _annotations(sample, data.category_ids, numbers, masks=data.has_masks)
    ]
    images = [
        {
            "id": s.image_id,
            "file_name": s.path.relative_to(data.root).as_posix(),
            "width": s.size[0],
            "height": s.size[1],
        }
        for s in samples
    ]
    categories = [
        {"id": i, "name": name} for i, name in zip(data.category_ids, data.class_names, strict=True)
    ]
    return {"images": images, "annotations": annotations, "categories": categories}


def _annotations(
    sample: DetectionSample, category_ids: tuple[int, ...], numbers: "count[int]", *, masks: bool
) -> list[dict[str, Any]]:
    objects, (width, height) = sample.objects, sample.size
    sides = np.hstack([objects.boxes[:, :2], objects.boxes[:, 2:] - objects.boxes[:, :2]])
    found: list[dict[str, Any]] = [
        {
            "id": next(numbers),
            "image_id": sample.image_id,
            "category_id": category_ids[label],
            "bbox": box,
            "area": area,
            "iscrowd": int(crowd),
        }
        for box, label, area, crowd in zip(
            sides.tolist(),
            objects.labels.tolist(),
            objects.areas.tolist(),
            objects.crowd.tolist(),
            strict=True,
        )
    ]
    for annotation, mask in zip(found, objects.masks, strict=True):
        if masks and mask is not None:
            annotation["segmentation"] = {"size": [height, width], "counts": mask.decode("ascii")}
    return found
