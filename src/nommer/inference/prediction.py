"""Answering images with a model that is on disk, and writing the answers down."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nommer.acceleration.compile import exact_float32
from nommer.data.audit import look_at_range
from nommer.data.image_paths import find_images
from nommer.distributed.devices import torch_device
from nommer.errors import refuse_given, refuse_options
from nommer.files import write_json
from nommer.fonts import legend
from nommer.inference.inputs import load_to, or_of_zoo, read_list
from nommer.inference.precision import autocast, computation_of, precision_for
from nommer.predictions import Classification, Detections, Failure, SegmentationSummary
from nommer.progress import notice
from nommer.runs.folder import run_of
from nommer.runs.results import ENVIRONMENT, environment
from nommer.runs.results_folder import results_folder
from nommer.settings.predict import PredictSettings
from nommer.tasks.registry import task_of

Answer = Classification | SegmentationSummary | Detections | Failure


@dataclass(frozen=True)
class PredictionResult:
    """Answers in the order of the images, and where they are written."""

    predictions: Sequence[Answer]
    """Of a segmenter the shares of the classes; the labels of the pixels are in `out`."""
    out: Path


def predict_images(settings: PredictSettings) -> PredictionResult:
    """Answer images, as `nommer.predict` describes."""
    chosen, images = or_of_zoo(settings.model, settings.images)
    model, paths = load_to(chosen, settings.device), list(find_images(read_list(images)))
    task = task_of(model)
    given = {name: getattr(settings, name) for name in ("top", "batch_size", "threshold", "most")}
    known = task.results.answer_options
    refuse_given(task.name, **{name: value for name, value in given.items() if name not in known})
    if "inference" not in known:
        refuse_options("inference", settings.inference, task.name)
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
        return PredictionResult(task.results.save_answers(model, paths, folder, settings), folder)
