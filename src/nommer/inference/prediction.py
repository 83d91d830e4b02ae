"""Answering images with a model that is on disk, and writing the answers down, per task."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from nommer.acceleration.compile import exact_float32
from nommer.data.audit import look_at_range
from nommer.data.images import find_images
from nommer.distributed.devices import torch_device
from nommer.errors import InputError, check_minimum, refuse_given, refuse_options
from nommer.files import write_json
from nommer.fonts import legend
from nommer.inference.inputs import load_to, or_of_zoo, read_list
from nommer.inference.precision import autocast, computation_of, precision_for
from nommer.models.classification import Classifier
from nommer.models.detection import Detector
from nommer.models.output import (
    describe_labels,
    save_detections,
    save_pictures,
    save_predictions,
    save_segmentations,
)
from nommer.models.segmentation import Segmenter
from nommer.models.storage import task_of
from nommer.predictions import Classification, Detections, Failure, SegmentationSummary
from nommer.progress import notice, track
from nommer.runs.folder import results_folder, run_of
from nommer.runs.results import ENVIRONMENT, environment
from nommer.settings.choices import Precision
from nommer.settings.inference import Inference

Answer = Classification | SegmentationSummary | Detections | Failure

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class PredictionSettings:
    """The arguments of `nommer.predict`; see there."""

    model: Path | str
    images: Sequence[str]
    top: int | None
    out: Path | str | None
    batch_size: int | None
    device: str
    pictures: bool
    overwrite: bool
    inference: Inference
    threshold: float | None
    most: int | None
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        for name in ("top", "batch_size", "most"):
            check_minimum(name.replace("_", "-"), getattr(self, name), 1)
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise InputError(f"--threshold must be from 0 to 1, got {self.threshold}")


@dataclass(frozen=True)
class PredictionResult:
    """Answers in the order of the images, and where they are written."""

    predictions: Sequence[Answer]
    """Of a segmenter the shares of the classes; the labels of the pixels are in `out`."""
    out: Path


def predict_images(settings: PredictionSettings) -> PredictionResult:
    """Answer images, as `nommer.predict` describes."""
    chosen, images = or_of_zoo(settings.model, settings.images)
    model, paths = load_to(chosen, settings.device), list(find_images(read_list(images)))
    task = task_of(model)
    answer = ANSWERS[task]
    given = {name: getattr(settings, name) for name in ("top", "batch_size", "threshold", "most")}
    refuse_given(
        task, **{name: value for name, value in given.items() if name not in answer.options}
    )
    if "inference" not in answer.options:
        refuse_options("inference", settings.inference, task)
    precision = precision_for(model, settings.precision, run_of(Path(chosen)), settings.device)
    computation = computation_of(model, precision, settings.device)
    folder = results_folder(
        Path(chosen), "predict", settings.out, overwrite=settings.overwrite, images=paths
    )
    write_json(folder / ENVIRONMENT, environment() | computation.to_dict())
    computation.notice()
    if settings.pictures and (told := legend(model.class_names)):
        notice(told)
    for issue in look_at_range(paths, model.preprocessing.reading):
        notice(f"{issue.what}; train with --pixels.range, or give images scaled to 16 bits")
    with autocast(torch_device(settings.device), precision), exact_float32():
        return PredictionResult(answer.write(model, paths, folder, settings), folder)


def classify(
    model: Classifier, paths: list[Path], folder: Path, settings: PredictionSettings
) -> Sequence[Answer]:
    """Tables of the most probable classes, and annotated images."""
    if settings.threshold is not None:
        model.threshold = settings.threshold
    answers = model.predict_stream(paths, batch_size=settings.batch_size or 32)
    predictions = list(_tracked(answers, paths))
    save_predictions(predictions, folder, top=settings.top or 5)
    if settings.pictures:
        save_pictures(paths, predictions, folder / "images", reading=model.preprocessing.reading)
    return predictions


def segment(
    model: Segmenter, paths: list[Path], folder: Path, settings: PredictionSettings
) -> Sequence[Answer]:
    """Labels of all pixels, overlays, and shares of the classes."""
    answers = _tracked(model.predict_stream(paths, inference=settings.inference), paths)
    write_json(folder / "classes.json", describe_labels(model.class_names, model.colours))
    return save_segmentations(
        zip(paths, answers, strict=True),
        folder,
        pictures=settings.pictures,
        reading=model.preprocessing.reading,
    )


def detect(
    model: Detector, paths: list[Path], folder: Path, settings: PredictionSettings
) -> Sequence[Answer]:
    """Objects as JSON, CSV, COCO and YOLO write them, and annotated images."""
    answers = _tracked(
        model.predict_stream(paths, threshold=settings.threshold, most=settings.most), paths
    )
    return save_detections(
        zip(paths, answers, strict=True), folder, model=model, pictures=settings.pictures
    )


def _tracked(answers: Iterator[T], paths: Sequence[Path]) -> Iterator[T]:
    return track(answers, total=len(paths), what="predicting")


@dataclass(frozen=True)
class _Answering:
    """How a task answers, and which of the options that not all tasks have are its own."""

    write: Callable[[Any, list[Path], Path, PredictionSettings], Sequence[Answer]]
    options: frozenset[str]


ANSWERS = {
    "classification": _Answering(classify, frozenset({"top", "batch_size"})),
    "multi-label classification": _Answering(
        classify, frozenset({"top", "batch_size", "threshold"})
    ),
    "segmentation": _Answering(segment, frozenset({"inference"})),
    "detection": _Answering(detect, frozenset({"threshold", "most"})),
}
"""By task."""
