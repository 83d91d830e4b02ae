"""What is written about a classifier that was judged, and about the batches it learns from."""

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torchvision.transforms.v2.functional import to_pil_image

from nommer.data.classification import ClassificationData
from nommer.data.images import decode
from nommer.files import write_csv, write_json
from nommer.models.classification import Classifier
from nommer.tasks.plots import plot_calibration, plot_confusion, plot_grid
from nommer.tasks.task import Evaluation

_SHOWN = 32
"""Pictures in a grid."""


def save_evaluation(
    evaluation: Evaluation, model: Classifier, out: Path, *, facts: Mapping[str, Any]
) -> None:
    """Write `result.json`, `per_class.csv`, `predictions.csv` and the plots into `out`."""
    labels = torch.tensor([sample.label for sample in evaluation.samples])
    report, names = evaluation.report, model.class_names
    confusion = {"confusion": report.confusion.tolist(), "classes": names}
    write_json(out / "result.json", {**facts, **report.summary(), **confusion})
    write_csv(out / "per_class.csv", report.per_class(names))
    write_csv(out / "predictions.csv", prediction_rows(evaluation, names))
    plot_confusion(report.confusion, names, out / "confusion_matrix.png")
    plot_calibration(torch.stack(evaluation.answers), labels, out / "calibration.png")
    plot_grid(prediction_pictures(evaluation, model), out / "val_predictions.jpg")


def prediction_rows(evaluation: Evaluation, names: Sequence[str]) -> list[dict[str, Any]]:
    """One row per sample: file, true class, predicted class and its probability."""
    best, predicted = torch.stack(evaluation.answers).max(-1)
    return [
        {
            "file": str(sample.path),
            "class": names[sample.label],
            "predicted": names[label],
            "probability": round(probability, 6),
            "correct": label == sample.label,
        }
        for sample, label, probability in zip(
            evaluation.samples, predicted.tolist(), best.tolist(), strict=True
        )
    ]


def prediction_pictures(evaluation: Evaluation, model: Classifier) -> list[tuple[Any, str, bool]]:
    """The surest mistakes first (half the grid at most), then samples spread evenly over the rest."""
    best, predicted = torch.stack(evaluation.answers).max(-1)
    wrong = [i for i, sample in enumerate(evaluation.samples) if int(predicted[i]) != sample.label]
    wrong.sort(key=lambda i: -best[i].item())
    right = sorted(set(range(len(evaluation.samples))) - set(wrong))
    chosen = wrong[: _SHOWN // 2]
    rest = min(len(right), _SHOWN - len(chosen))
    chosen += [right[i * len(right) // rest] for i in range(rest)]
    pictures = []
    for i in chosen:
        sample, label = evaluation.samples[i], int(predicted[i])
        picture = model.preprocessing.crop(decode(sample.path, model.preprocessing.reading))
        truth = "" if label == sample.label else f"\nis {model.class_names[sample.label]}"
        pictures.append(
            (picture, f"{model.class_names[label]} {best[i]:.0%}{truth}", label == sample.label)
        )
    return pictures


def save_training_batch(data: ClassificationData, class_names: Sequence[str], path: Path) -> None:
    """A picture of the first training images as the network will see them, augmented."""
    shown = []
    for index, seed in islice(data.train_sampler(), _SHOWN):
        picture = to_pil_image(data.preprocessing.denormalise(data.train[(index, seed)].images))
        named = ", ".join(class_names[label] for label in data.train.samples[index].classes)
        shown.append((picture, named or "none", True))
    plot_grid(shown, path)
