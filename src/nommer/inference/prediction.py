"""Answering images with a model that is on disk, and writing the answers down."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nommer.acceleration.compile import exact_float32
from nommer.data.audit import look_at_range
from nommer.distributed.devices import torch_device
from nommer.errors import InputError, refuse_given
from nommer.files import write_json
from nommer.fonts import legend
from nommer.inference.inputs import images_to_answer, load_to_answer
from nommer.inference.precision import autocast, computation_of, precision_for
from nommer.models.features import refusal
from nommer.predictions import (
    Classification,
    Detections,
    Failure,
    SegmentationSummary,
    to_pandas,
)
from nommer.progress import notice
from nommer.runs.folder import run_of
from nommer.runs.results import ENVIRONMENT, environment
from nommer.runs.results_folder import results_folder
from nommer.settings.predict import PredictCall
from nommer.shown import clean
from nommer.tasks.registry import task_of

if TYPE_CHECKING:
    import pandas as pd

Answer = Classification | SegmentationSummary | Detections | Failure


_SHOWN = 12
"""Answers that a notebook shows."""


@dataclass(frozen=True, repr=False)
class PredictionResult:
    """Answers in the order of the images, and where they are written."""

    predictions: Sequence[Answer]
    """Of a segmenter the shares of the classes; the labels of the pixels are in `out`."""
    out: Path

    def __repr__(self) -> str:
        failed = sum(isinstance(one, Failure) for one in self.predictions)
        without = f", {failed} of them errors" if failed else ""
        return f"<{len(self.predictions)} answers{without} in {self.out}>"

    def _repr_html_(self) -> str:
        """Return the first answers with their pictures, as notebooks show them."""
        first = "".join(one._repr_html_() for one in self.predictions[:_SHOWN])
        return f"<p>{escape(clean(repr(self)))}</p>{first}"

    def to_pandas(self) -> "pd.DataFrame":
        """Return all answers as one table of pandas.

        Raises:
            InputError: pandas is not installed.
        """
        return to_pandas([row for one in self.predictions for row in one.rows()])


def predict_images(settings: PredictCall) -> PredictionResult:
    """Answer images, as `nommer.predict` describes."""
    chosen, sources = images_to_answer(settings)
    paths = [one for one in sources if isinstance(one, Path)] if isinstance(sources, list) else []
    model = load_to_answer(chosen, settings.device)
    task = task_of(model)
    if not task.answers:
        raise InputError(refusal())
    given = {name: getattr(settings, name) for name in ("top", "batch_size", "threshold", "most")}
    given["refuse"] = None if settings.refuse else False
    known = task.results.answer_options
    refuse_given(task.name, **{name: value for name, value in given.items() if name not in known})
    inference: Any = settings.inference  # it is converted
    task.check_inference(inference)
    how = task.results.answers_how(model, settings)
    precision = precision_for(model, settings.precision, run_of(Path(chosen)), settings.device)
    computation = computation_of(model, precision, settings.device)
    labels = task.results.label_writer(model, settings)
    folder = results_folder(
        Path(chosen), "predict", settings.out, overwrite=settings.overwrite, images=paths
    )
    write_json(folder / ENVIRONMENT, environment() | computation.to_dict())
    computation.notice()
    if how:
        notice(how)
    if settings.pictures and (told := legend(model.class_names)):
        notice(told)
    for issue in look_at_range(paths, model.preprocessing.reading):
        notice(f"{issue.what}; train with --pixels.range, or give images scaled to 16 bits")
    with autocast(torch_device(settings.device), precision), exact_float32():
        also = {"labels": labels} if labels else {}
        answers = task.results.save_answers(model, sources, folder, settings, **also)
        return PredictionResult(answers, folder)
