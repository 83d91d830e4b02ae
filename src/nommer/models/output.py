"""Predictions on disk.

Tables and annotated images, labels as images, objects as COCO and YOLO write them.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from nommer.data.images import decode
from nommer.files import write_csv, write_json
from nommer.models.detection import Detector
from nommer.predictions import (
    Classification,
    Detections,
    Failure,
    Segmentation,
    SegmentationSummary,
)
from nommer.settings.pixel_range import Reading

_COLUMNS = ("image", "rank", "class", "probability", "error")


def save_predictions(
    predictions: Sequence[Classification | Failure], folder: Path, *, top: int
) -> None:
    """Write `result.json`, and `predictions.csv` with one row per image and rank."""
    write_json(
        folder / "result.json",
        [p.to_dict(top) if isinstance(p, Classification) else p.to_dict() for p in predictions],
    )
    rows: list[dict[str, Any]] = []
    for prediction in predictions:
        if isinstance(prediction, Failure):
            rows.append(
                dict(zip(_COLUMNS, (prediction.source, "", "", "", prediction.error), strict=True))
            )
            continue
        for rank, (name, probability) in enumerate(prediction.top(top), start=1):
            row = dict(
                zip(
                    _COLUMNS, (prediction.source, rank, name, f"{probability:.6f}", ""), strict=True
                )
            )
            rows.append(
                row
                if prediction.threshold is None
                else row | {"answered": name in prediction.chosen}
            )
    write_csv(folder / "predictions.csv", rows)


def save_pictures(
    paths: Sequence[Path],
    predictions: Sequence[Classification | Failure],
    folder: Path,
    *,
    reading: Reading,
) -> None:
    """Write every answered image with its most probable classes under it."""
    folder.mkdir()
    for path, name, prediction in zip(paths, unique_names(paths), predictions, strict=True):
        if isinstance(prediction, Classification):
            prediction.save(folder / f"{name}.jpg", decode(path, reading))


def describe_labels(
    names: Sequence[str], colours: Sequence[tuple[int, int, int]]
) -> list[dict[str, Any]]:
    """What the values in index and palette images mean."""
    return [
        {"label": label, "name": name, "color": list(colour)}
        for label, (name, colour) in enumerate(zip(names, colours, strict=True))
    ]


def save_segmentations(
    answers: Iterable[tuple[Path, Segmentation | Failure]],
    folder: Path,
    *,
    pictures: bool,
    reading: Reading,
) -> list[SegmentationSummary | Failure]:
    """Write every answer as it comes, holding the pixels of one image at a time.

    Labels go to `index/NAME.png` (grey, the values are classes) and `palette/NAME.png` (in the
    classes' colours), if `pictures` the tinted image with a legend to `overlays/NAME.png`; in the
    end the shares to `result.json`, and to `predictions.csv` with one row per image and class.

    Returns:
        What is left of the answers without their pixels.
    """
    kinds = ("index", "palette", "overlays") if pictures else ("index", "palette")
    for kind in kinds:
        (folder / kind).mkdir()
    names = _UniqueNames()
    summaries: list[SegmentationSummary | Failure] = []
    for path, answer in answers:
        name = f"{names.of(path)}.png"
        if isinstance(answer, Failure):
            summaries.append(answer)
            continue
        answer.index_image().save(folder / "index" / name)
        answer.palette_image().save(folder / "palette" / name)
        if pictures:
            answer.save(folder / "overlays" / name, decode(path, reading))
        summaries.append(answer.summary())
    write_json(folder / "result.json", [summary.to_dict() for summary in summaries])
    write_csv(folder / "predictions.csv", _share_rows(summaries))
    return summaries


def save_detections(
    answers: Iterable[tuple[Path, Detections | Failure]],
    folder: Path,
    *,
    model: Detector,
    pictures: bool,
) -> list[Detections | Failure]:
    """Write every answer as it comes, holding the pixels of one image at a time.

    An image's objects go to `labels/NAME.txt` as YOLO writes them, if `pictures` the annotated
    image to `images/NAME.png`; in the end all of them to `result.json`, and with masks and category
    ids to `coco.json`, a data set as COCO writes it whose annotations have scores; and to
    `predictions.csv` with one row per object.

    Args:
        answers: of each file, in order.
        folder: exists already.
        model: that answers; its classes and category ids are written.
        pictures: write the annotated images too.

    Returns:
        The answers.
    """
    for kind in ("labels", "images") if pictures else ("labels",):
        (folder / kind).mkdir()
    names = _UniqueNames()
    kept: list[Detections | Failure] = []
    for path, answer in answers:
        name = names.of(path)
        kept.append(answer)
        if isinstance(answer, Failure):
            continue
        (folder / "labels" / f"{name}.txt").write_text(answer.to_yolo(), encoding="ascii")
        if pictures:
            answer.save(
                folder / "images" / f"{name}.png",
                decode(path, model.preprocessing.reading),
            )
    write_json(folder / "result.json", [answer.to_dict() for answer in kept])
    write_json(folder / "coco.json", _as_coco(kept, model))
    write_csv(folder / "predictions.csv", _object_rows(kept))
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
        height, width = answer.size
        images.append({"id": number, "file_name": answer.source, "height": height, "width": width})
        for found, area in zip(
            answer.to_coco(number, model.category_ids), answer.areas.tolist(), strict=True
        ):
            annotations.append({"id": len(annotations) + 1, "area": area, "iscrowd": 0, **found})
    classes = zip(model.category_ids, model.class_names, strict=True)
    categories = [{"id": number, "name": name} for number, name in classes]
    return {"images": images, "annotations": annotations, "categories": categories}


def _object_rows(answers: Sequence[Detections | Failure]) -> list[dict[str, Any]]:
    columns = ("image", "class", "score", "left", "upper", "right", "lower", "error")
    rows: list[dict[str, Any]] = []
    for answer in answers:
        if isinstance(answer, Failure):
            rows.append(
                dict.fromkeys(columns, "") | {"image": answer.source, "error": answer.error}
            )
            continue
        for label, score, box in zip(answer.labels, answer.scores, answer.boxes, strict=True):
            cells = (f"{score:.6f}", *(f"{value:.2f}" for value in box), "")
            rows.append(
                dict(zip(columns, (answer.source, answer.class_names[label], *cells), strict=True))
            )
    return rows


def _share_rows(summaries: Sequence[SegmentationSummary | Failure]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for summary in summaries:
        if isinstance(summary, Failure):
            rows.append({"image": summary.source, "class": "", "share": "", "error": summary.error})
            continue
        for name, share in summary.shares.items():
            rows.append(
                {"image": summary.source, "class": name, "share": f"{share:.6f}", "error": ""}
            )
    return rows


def unique_names(paths: Sequence[Path]) -> list[str]:
    """A name for each file's result.

    Its own without the ending, and a number behind it where that is taken.
    """
    names = _UniqueNames()
    return [names.of(path) for path in paths]


class _UniqueNames:
    """Names for files of results, none twice.

    Small and capital letters are one, as some disks take them.

    A name is the file's own without the ending, where that is taken with the least free number
    behind it.
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}

    def of(self, path: Path) -> str:
        """The name for the result of this file."""
        name, stem = path.stem, path.stem.casefold()
        while name.casefold() in self._taken:
            number = self._next.get(stem, 2)
            name, self._next[stem] = f"{path.stem}-{number}", number + 1
        self._taken.add(name.casefold())
        return name
