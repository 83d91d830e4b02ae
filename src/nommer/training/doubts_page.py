"""The page of labels that are probably wrong, with pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from nommer.data.images import ImageError
from nommer.report import Page
from nommer.settings.own_parts import OwnParts
from nommer.settings.train import TrainSettings
from nommer.tasks.data import Data
from nommer.tasks.doubts import Doubt
from nommer.tasks.grid import grid
from nommer.tasks.task import Task
from nommer.training.own_parts import own_datasets
from nommer.training.preparation import find_samples

_LEAST, _SHOWN, _LISTED = 8, 40, 200
"""Images that are shown, and rows of the table; the CSV file beside the page has all."""


def write_doubts(
    settings: TrainSettings, own: OwnParts, task: Task, doubts: Sequence[Doubt], path: Path
) -> None:
    """Write the page of the gravest doubts about labels."""
    wrong = sum(bool(doubt.wrong) for doubt in doubts)
    estimated = any(doubt.wrong is not None for doubt in doubts)
    number = f" {wrong:,} of {len(doubts):,} are worth a look, by estimate." if estimated else ""
    page = Page(
        f"Doubtful labels: {settings.data.name}",
        summary="Labels by how badly they fit the answers of models that did not learn from them, "
        f"the worst first.{number} A doubt is a reason to look, no proof.",
    )
    shown = min(_SHOWN, max(_LEAST, wrong)) if estimated else _SHOWN
    with own_datasets(own):
        _, data = find_samples(settings, own)
        pictures = _pictures(data, task, doubts[:shown])
    if pictures:
        alt = "; ".join(text.replace("\n", ", ") for _, text in pictures)
        page.figure(grid(pictures), caption="The images that are doubted most.", alt=alt)
    columns = ["file", "label", "answer", "quality", *(["look at it"] if estimated else [])]
    rows = [
        [
            *(data.name_of(Path(doubt.file)), doubt.label, doubt.answer, doubt.quality),
            *([{True: "yes", False: "no"}[bool(doubt.wrong)]] if estimated else []),
        ]
        for doubt in doubts[:_LISTED]
    ]
    page.section("Which they are")
    page.table(columns, rows, caption="All of them are in doubtful_labels.csv.")
    page.save(path)


def _pictures(data: Data, task: Task, doubts: Sequence[Doubt]) -> list[tuple[Image.Image, str]]:
    samples: dict[str, Any] = {str(sample.path): sample for sample in data.samples()}
    pictures = []
    for doubt in doubts:
        try:
            picture, _ = task.checking.draw(data, samples[doubt.file])
        except (ImageError, KeyError):
            continue
        name = Path(doubt.file).name
        pictures.append((picture, f"{name}\nlabel: {doubt.label}\nanswer: {doubt.answer}"))
    return pictures
