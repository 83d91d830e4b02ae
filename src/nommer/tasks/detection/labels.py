"""Objects that were found as data of detection: COCO's JSON, YOLO's lines, VOC's XML."""

from pathlib import Path
from typing import Any, ClassVar
from xml.etree import ElementTree

import numpy as np
import yaml

from nommer.data.sources import ImageSource
from nommer.files import write_json, write_text
from nommer.predictions import Detections
from nommer.predictions.outlines import outlines
from nommer.progress import notice
from nommer.tasks.labels import LabelWriter


class CocoLabels(LabelWriter):
    """`images/` and `annotations/instances_train.json`: boxes, masks, scores, the data's ids."""

    form = "coco"

    def __init__(self, folder: Path, model: Any, **options: Any) -> None:
        super().__init__(folder, model, **options)
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []

    def write(self, source: ImageSource, answer: Detections, name: str) -> None:
        """Copy the image and keep its objects."""
        copy, number = self.copy(source, self.folder / "images", name), len(self.images) + 1
        self.images.append(coco_image(answer, number, copy.name))
        for found in coco_annotations(answer, number, self.model.category_ids):
            self.annotations.append({"id": len(self.annotations) + 1, **found})

    def conclude(self) -> None:
        """Write the JSON file."""
        (self.folder / "annotations").mkdir()
        content = {
            "images": self.images,
            "annotations": self.annotations,
            "categories": coco_categories(self.model),
        }
        write_json(self.folder / "annotations" / "instances_train.json", content)


def coco_image(answer: Detections, number: int, name: str) -> dict[str, Any]:
    """Return COCO's entry of an image."""
    height, width = answer.size
    return {"id": number, "file_name": name, "height": height, "width": width}


def coco_annotations(
    answer: Detections, image_id: int, category_ids: tuple[int, ...]
) -> list[dict[str, Any]]:
    """Return COCO's entries of an image's objects, without ids, with scores.

    A mask without pixels, as of an object that no pixel is sure to be of, is left out.
    """
    found = []
    entries = answer.to_coco(image_id, category_ids)
    for entry, area in zip(entries, answer.areas.tolist(), strict=True):
        if not area:
            entry.pop("segmentation", None)
        found.append({"area": area or entry["bbox"][2] * entry["bbox"][3], "iscrowd": 0, **entry})
    return found


def coco_categories(model: Any) -> list[dict[str, Any]]:
    """Return COCO's entries of the classes, with the ids that the data had."""
    classes = zip(model.category_ids, model.class_names, strict=True)
    return [{"id": number, "name": name} for number, name in classes]


class YoloLabels(LabelWriter):
    """`data.yaml`, `images/train/` and `labels/train/`: a line per object, the data's numbers.

    A line has a box, or of a mask the polygon around its largest part; with `confidences` the score
    behind it, as other programs write it, and `confidences: true` in `data.yaml`, by which `check`
    and `train` know that it is one.
    """

    form = "yolo"
    has_confidences: ClassVar[bool] = True

    def __init__(self, folder: Path, model: Any, **options: Any) -> None:
        super().__init__(folder, model, **options)
        self.simplified = 0
        """Masks with holes or several parts."""

    def write(self, source: ImageSource, answer: Detections, name: str) -> None:
        """Copy the image and write its lines."""
        self.copy(source, self.folder / "images" / "train", name)
        lines = []
        for index, label in enumerate(answer.labels.tolist()):
            score = (answer.scores[index],) if self.confidences else ()
            values = " ".join(f"{value:.6f}" for value in (*self._shape(answer, index), *score))
            lines.append(f"{self.model.category_ids[label]} {values}\n")
        folder = self.folder / "labels" / "train"
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / f"{name}.txt", "".join(lines))

    def _shape(self, answer: Detections, index: int) -> list[float]:
        """The numbers of a box or a polygon, in shares of the sides."""
        width, height = answer.size[1], answer.size[0]
        around = outlines(answer.mask(index)) if answer.masks is not None else []
        if around:
            self.simplified += len(around) > 1
            return (around[0] / (width, height)).flatten().tolist()
        left, upper, right, lower = answer.boxes[index]
        middle = ((left + right) / 2 / width, (upper + lower) / 2 / height)
        return [*middle, (right - left) / width, (lower - upper) / height]

    def conclude(self) -> None:
        """Describe the classes, and tell what YOLO cannot."""
        names = dict(zip(self.model.category_ids, self.model.class_names, strict=True))
        described: dict[str, Any] = {"train": "images/train", "names": dict(sorted(names.items()))}
        described |= {"confidences": True} if self.confidences else {}
        text = yaml.safe_dump(described, allow_unicode=True, sort_keys=False)
        write_text(self.folder / "data.yaml", text)
        if self.simplified:
            notice(
                f"{self.simplified} masks have holes or several parts, of which YOLO's polygons "
                "have the outline of the largest; --as-form coco keeps all"
            )


class VocLabels(LabelWriter):
    """`JPEGImages/` and `Annotations/`: an XML file per image; classes by name, boxes alone."""

    form = "voc"

    def write(self, source: ImageSource, answer: Detections, name: str) -> None:
        """Copy the image and write its XML file."""
        copy = self.copy(source, self.folder / "JPEGImages", name)
        root = ElementTree.Element("annotation")
        ElementTree.SubElement(root, "filename").text = copy.name
        size = ElementTree.SubElement(root, "size")
        for side, pixels in zip(("width", "height", "depth"), (*answer.size[::-1], 3), strict=True):
            ElementTree.SubElement(size, side).text = str(pixels)
        for label, box in zip(answer.labels, answer.boxes, strict=True):
            entry = ElementTree.SubElement(root, "object")
            ElementTree.SubElement(entry, "name").text = answer.class_names[label]
            ElementTree.SubElement(entry, "difficult").text = "0"
            corners = ElementTree.SubElement(entry, "bndbox")
            ends = box + np.array([1, 1, 0, 0])  # VOC names the first and the last pixel, from 1
            for end, value in zip(("xmin", "ymin", "xmax", "ymax"), ends.tolist(), strict=True):
                ElementTree.SubElement(corners, end).text = f"{value:.4f}"
        folder = self.folder / "Annotations"
        folder.mkdir(exist_ok=True)
        ElementTree.indent(root)
        write_text(folder / f"{name}.xml", ElementTree.tostring(root, encoding="unicode"))

    def conclude(self) -> None:
        """Say what VOC has no place for."""
        if self.model.network.has_masks:
            notice("VOC's XML has no masks: the boxes alone are written; --as-form coco has both")
