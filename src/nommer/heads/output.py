"""Predictions on disk: tables and annotated images."""

from collections.abc import Sequence
from itertools import chain, count
from pathlib import Path
from typing import Any

from nommer.data.images import decode
from nommer.files import write_csv, write_json
from nommer.predictions import Classification, Failure

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


def unique_names(paths: Sequence[Path]) -> list[str]:
    """A name for each file's result: its own without the ending, and a number behind it where that is taken."""
    taken: set[str] = set()
    names = []
    for path in paths:
        name = next(name for name in chain([path.stem], (f"{path.stem}-{i}" for i in count(2))) if name not in taken)
        taken.add(name)
        names.append(name)
    return names
