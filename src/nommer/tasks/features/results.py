"""Results of a pretraining: how like the teacher each image is, its neighbours, and the card."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import torch
import torch.nn.functional as F

from nommer.data.formats.labelled import read_split
from nommer.data.images import decode
from nommer.data.sources import ImageSource
from nommer.errors import InputError
from nommer.files import write_csv, write_json, write_text
from nommer.models.features import FeatureExtractor, refusal
from nommer.runs.folder import RunFolder
from nommer.settings.pretrain import PretrainSettings
from nommer.tasks.classification.results import ClassificationResults
from nommer.tasks.labels import LabelWriter
from nommer.zoo import CARD

if TYPE_CHECKING:
    from nommer.tasks.evaluation import Evaluation
    from nommer.tasks.features.data import UnlabelledImages

_ROWS, _NEAREST = 6, 7
"""Images that are asked about in the picture of neighbours, and the nearest of each: a row."""


class ImitationResults(ClassificationResults):
    """Likeness to the teacher, the probe's neighbours in a picture, and a card beside the model."""

    plots = "curves.png, nominations.png, neighbours.jpg"
    answer_options = frozenset()

    def save_evaluation(
        self,
        evaluation: "Evaluation",
        model: FeatureExtractor,  # type: ignore[override]  # of this task
        data: "UnlabelledImages",
        out: Path,
        *,
        facts: Mapping[str, Any],
    ) -> None:
        """Write `result.json`, `similarity.csv`, `neighbours.jpg` and the model's card."""
        from nommer.tasks.features.card import card_of
        from nommer.tasks.plots import plot_grid

        numbers = evaluation.report.summary()
        write_json(out / "result.json", {**facts, **numbers})
        write_csv(out / "similarity.csv", similarity_rows(evaluation))
        if data.probe is not None:
            plot_grid(neighbour_pictures(evaluation, model, data), out / "neighbours.jpg")
        run = RunFolder(out)
        settings = run.settings()
        if isinstance(settings, PretrainSettings):
            counts: dict[str, int] = {
                split: len(files) for split, files in read_split(Path(), run.split).items()
            }
            write_text(run.model / CARD, card_of(settings, model, data, counts, facts, numbers))

    def save_answers(
        self,
        model: Any,
        sources: Iterable[ImageSource],
        folder: Path,
        settings: Any,
        *,
        labels: LabelWriter | None = None,
    ) -> NoReturn:
        """Refuse: there are no classes to answer with.

        Raises:
            InputError: always.
        """
        raise InputError(refusal())


def similarity_rows(evaluation: "Evaluation") -> list[dict[str, Any]]:
    """Return of every image held back its loss and its likeness to the teacher."""
    rows = []
    for sample, numbers in zip(evaluation.samples, evaluation.answers, strict=True):
        if sample.labels is not None:  # the probe's have a class
            loss, maps, pooled = (round(value, 6) for value in numbers.tolist())
            rows.append({"file": str(sample.path), "loss": loss, "maps": maps, "pooled": pooled})
    return rows


def neighbour_pictures(
    evaluation: "Evaluation", model: FeatureExtractor, data: "UnlabelledImages"
) -> list[tuple[Any, str, bool]]:
    """Return images that are asked about, each before its nearest known ones with their cosine."""
    held_back = len(evaluation.samples) - len(data.probe_samples)
    features = F.normalize(torch.stack(evaluation.answers[held_back:]), dim=-1)
    known, asked = features[: len(data.known)], features[len(data.known) :]
    names = data.probe.class_names if data.probe is not None else ()
    pictures = []
    for row in range(0, len(asked), max(1, len(asked) // _ROWS))[:_ROWS]:
        sample = data.asked[row]
        pictures.append((_seen(model, sample.path), f"{names[sample.label]}, asked", True))
        near, places = (known @ asked[row]).topk(min(_NEAREST, len(known)))
        for cosine, place in zip(near.tolist(), places.tolist(), strict=True):
            other = data.known[place]
            caption = f"{names[other.label]}, {cosine:.2f}"
            pictures.append((_seen(model, other.path), caption, other.label == sample.label))
    return pictures


def _seen(model: FeatureExtractor, path: Path) -> Any:
    return model.preprocessing.crop(decode(path, model.preprocessing.reading))
