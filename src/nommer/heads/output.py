"""Predictions on disk: tables and annotated images; of segmentations also the labels as images."""

from collections.abc import Iterable, Sequence
from itertools import chain, count
from pathlib import Path
from typing import Any

from nommer.data.images import decode
from nommer.files import write_csv, write_json
from nommer.predictions import Classification, Failure, Segmentation, SegmentationSummary

_COLUMNS = ("image", "rank", "class", "probability", "error")


def save_predictions(predictions: Sequence[Classification | Failure], folder: Path, *, top: int) -> None:
    """Write `result.json`, and `predictions.csv` with one row per image and rank."""
    write_json(
        folder / "result.json", [p.to_dict(top) if isinstance(p, Classification) else p.to_dict() for p in predictions]
    )
    rows: list[dict[str, Any]] = []
    for prediction in predictions:
        if isinstance(prediction, Failure):
            rows.append(dict(zip(_COLUMNS, (prediction.source, "", "", "", prediction.error), strict=True)))
            continue
        for rank, (name, probability) in enumerate(prediction.top(top), start=1):
            rows.append(dict(zip(_COLUMNS, (prediction.source, rank, name, f"{probability:.6f}", ""), strict=True)))
    write_csv(folder / "predictions.csv", rows)


def save_pictures(
    paths: Sequence[Path],
    predictions: Sequence[Classification | Failure],
    folder: Path,
    *,
    background: tuple[int, int, int],
) -> None:
    """Write every answered image with its most probable classes under it."""
    folder.mkdir()
    for path, name, prediction in zip(paths, unique_names(paths), predictions, strict=True):
        if isinstance(prediction, Classification):
            prediction.save(folder / f"{name}.jpg", decode(path, background=background))


def save_segmentations(
    answers: Iterable[tuple[Path, Segmentation | Failure]],
    folder: Path,
    *,
    pictures: bool,
    background: tuple[int, int, int],
) -> list[SegmentationSummary | Failure]:
    """Write every answer as it comes, holding the pixels of one image at a time.

    Labels go to `index/NAME.png` (grey, the values are classes) and `palette/NAME.png` (in the classes' colours), if
    `pictures` the tinted image with a legend to `overlays/NAME.png`; in the end the shares to `result.json`, and to
    `predictions.csv` with one row per image and class.

    Returns:
        What is left of the answers without their pixels.
    """
    kinds = ("index", "palette", "overlays") if pictures else ("index", "palette")
    for kind in kinds:
        (folder / kind).mkdir()
    taken: set[str] = set()
    summaries: list[SegmentationSummary | Failure] = []
    for path, answer in answers:
        name = f"{_unique_name(path, taken)}.png"
        if isinstance(answer, Failure):
            summaries.append(answer)
            continue
        answer.index_image().save(folder / "index" / name)
        answer.palette_image().save(folder / "palette" / name)
        if pictures:
            answer.save(folder / "overlays" / name, decode(path, background=background))
        summaries.append(answer.summary())
    write_json(folder / "result.json", [summary.to_dict() for summary in summaries])
    write_csv(folder / "predictions.csv", _share_rows(summaries))
    return summaries


def _share_rows(summaries: Sequence[SegmentationSummary | Failure]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for summary in summaries:
        if isinstance(summary, Failure):
            rows.append({"image": summary.source, "class": "", "share": "", "error": summary.error})
            continue
        for name, share in summary.shares.items():
            rows.append({"image": summary.source, "class": name, "share": f"{share:.6f}", "error": ""})
    return rows


def unique_names(paths: Sequence[Path]) -> list[str]:
    """A name for each file's result: its own without the ending, and a number behind it where that is taken."""
    taken: set[str] = set()
    return [_unique_name(path, taken) for path in paths]


def _unique_name(path: Path, taken: set[str]) -> str:
    name = next(name for name in chain([path.stem], (f"{path.stem}-{i}" for i in count(2))) if name not in taken)
    taken.add(name)
    return name
