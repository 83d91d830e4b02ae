"""Objects on disk, as JSON, CSV, COCO and YOLO have them, and drawn into the images."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from nommer.data.sources import ImageSource, open_any
from nommer.files import write_csv, write_json, write_text
from nommer.models.detection import Detector
from nommer.predictions import Detections, Failure
from nommer.tasks.detection.labels import coco_annotations, coco_categories, coco_image
from nommer.tasks.names import UniqueNames
from nommer.tasks.results import with_files

_COLUMNS = ("image", "class", "score", "left", "upper", "right", "lower", "error")


def save_detections(
    answers: Iterable[tuple[ImageSource, Detections | Failure]],
    folder: Path,
    *,
    model: Detector,
    pictures: bool,
) -> list[Detections | Failure]:
    """Write every answer as it comes, holding the pixels of one image at a time.

    An image's objects go to `labels/NAME.txt` as YOLO writes them, with the numbers that the data
    had for the classes, which `classes.yaml` names; if `pictures` the annotated
    image to `images/NAME.png`; in the end all of them to `result.json`, and with masks and category
    ids to `coco.json`, a data set as COCO writes it whose annotations have scores; and to
    `predictions.csv` with one row per object.

    Args:
        answers: of each image, in order.
        folder: exists already.
        model: that answers; its classes and category ids are written.
        pictures: write the annotated images too.

    Returns:
        The answers.
    """
    for kind in ("labels", "images") if pictures else ("labels",):
        (folder / kind).mkdir()
    names = UniqueNames()
    kept: list[Detections | Failure] = []
    files: list[str] = []
    for source, answer in answers:
        name = names.of(source)
        kept.append(answer)
        files.append(f"labels/{name}.txt")
        if isinstance(answer, Failure):
            continue
        labels = answer.to_yolo(model.category_ids)
        (folder / "labels" / f"{name}.txt").write_text(labels, encoding="ascii")
        if pictures:
            image = open_any(source, model.preprocessing.reading)
            answer.save(folder / "images" / f"{name}.png", image)
    write_json(folder / "result.json", with_files(kept, files))
    write_json(folder / "coco.json", _as_coco(kept, model))
    names_of_classes = dict(zip(model.category_ids, model.class_names, strict=True))
    text = yaml.safe_dump({"names": names_of_classes}, allow_unicode=True, sort_keys=False)
    write_text(folder / "classes.yaml", text)
    write_csv(folder / "predictions.csv", _object_rows(kept), _COLUMNS)
    return kept


def _as_coco(answers: Sequence[Detections | Failure], model: Detector) -> dict[str, Any]:
    """A data set as COCO writes it.

    Images are numbered from 1 in their order, those without an answer left out.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, answer in enumerate(answers, start=1):
        if isinstance(answer, Failure):
            continue
        images.append(coco_image(answer, number, answer.source))
        for found in coco_annotations(answer, number, model.category_ids):
            annotations.append({"id": len(annotations) + 1, **found})
    categories = coco_categories(model)
    return {"images": images, "annotations": annotations, "categories": categories}


def _object_rows(answers: Sequence[Detections | Failure]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for answer in answers:
        if isinstance(answer, Failure):
            rows.append(
                dict.fromkeys(_COLUMNS, "") | {"image": answer.source, "error": answer.error}
            )
            continue
        if not len(answer):
            rows.append(dict.fromkeys(_COLUMNS, "") | {"image": answer.source})
        for label, score, box in zip(answer.labels, answer.scores, answer.boxes, strict=True):
            cells = (f"{score:.6f}", *(f"{value:.2f}" for value in box), "")
            rows.append(
                dict(zip(_COLUMNS, (answer.source, answer.class_names[label], *cells), strict=True))
            )
    return rows
