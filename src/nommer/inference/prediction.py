"""Answering images with a model that is on disk, and writing the answers down."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nommer.acceleration.compile import exact_float32
from nommer.data.audit import look_at_range
from nommer.data.cameras import camera_address
from nommer.data.sources import ImageSource
from nommer.data.videos import pyav
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
from nommer.settings.choices import Precision
from nommer.settings.predict import PredictCall
from nommer.shown import clean
from nommer.streams.groups import Answering
from nommer.streams.result import StreamResult
from nommer.streams.sources import Streams
from nommer.streams.tracking import check_tracking
from nommer.tasks.registry import task_of
from nommer.tasks.task import Task

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

    def __iter__(self) -> Iterator[Answer]:
        """Go through the answers."""
        return iter(self.predictions)

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


def predict_images(settings: PredictCall) -> PredictionResult | StreamResult:
    """Answer images, as `nommer.predict` describes."""
    chosen, sources = images_to_answer(settings)
    check_stream_options(settings, sources)
    model = load_to_answer(chosen, settings.device)
    task = task_of(model)
    if not task.answers:
        raise InputError(refusal())
    _check_options(task, settings)
    how = task.results.answers_how(model, settings)
    precision = precision_for(model, settings.precision, run_of(Path(chosen)), settings.device)
    computation = computation_of(model, precision, settings.device)
    labels = task.results.label_writer(model, settings)
    paths = _files(sources)
    folder = results_folder(
        Path(chosen),
        "predict",
        settings.out,
        overwrite=settings.overwrite,
        resume=settings.resume,
        images=paths,
    )
    write_json(folder / ENVIRONMENT, environment() | computation.to_dict())
    computation.notice()
    if how:
        notice(how)
    if settings.pictures and (told := legend(model.class_names)):
        notice(told)
    images = [] if isinstance(sources, Streams) else paths
    for issue in look_at_range(images, model.preprocessing.reading):
        notice(f"{issue.what}; train with --pixels.range, or give images scaled to 16 bits")
    computing = partial(_computing, torch_device(settings.device), precision)
    if isinstance(sources, Streams):
        answering = Answering(model, partial(task.results.answering, model), computing, labels)
        result = StreamResult(sources.groups, answering, folder, settings)
        return result if settings.stream else result.run()
    with computing():
        also = {"labels": labels} if labels else {}
        answers = task.results.save_answers(model, sources, folder, settings, **also)
        return PredictionResult(answers, folder)


@contextmanager
def _computing(device: str, precision: Precision) -> Iterator[None]:
    with autocast(device, precision), exact_float32():
        yield


def _check_options(task: Task, settings: PredictCall) -> None:
    """Refuse options that do nothing for a task."""
    given = {name: getattr(settings, name) for name in ("top", "batch_size", "threshold", "most")}
    given |= {"refuse": None if settings.refuse else False, "track": settings.track or None}
    known = task.results.answer_options
    refuse_given(task.name, **{name: value for name, value in given.items() if name not in known})
    inference: Any = settings.inference  # it is converted
    task.check_inference(inference)


def _files(sources: Iterable[ImageSource] | Streams) -> list[Path]:
    """Return the images that are files."""
    if isinstance(sources, Streams):
        return sources.files
    return [one for one in sources if isinstance(one, Path)] if isinstance(sources, list) else []


def check_stream_options(settings: PredictCall, sources: Iterable[ImageSource] | Streams) -> None:
    """Refuse options that do nothing for what is answered, and what is not installed.

    Raises:
        InputError: the first of them.
    """
    streams = sources if isinstance(sources, Streams) else None
    if streams is None or not streams.has_frames:
        for name in ("stride", "frames", "track"):
            if getattr(settings, name):
                raise InputError(f"--{name}: is for videos and cameras, and none is given")
    if streams is None and settings.resume:
        raise InputError("--resume: is for videos and folders that are watched; leave it out")
    if streams is not None and streams.has_frames:
        pyav("predict of videos")
        for camera in streams.cameras:
            camera_address(camera)
    if settings.track:
        check_tracking()
