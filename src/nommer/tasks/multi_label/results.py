"""Multi-label classification: tables and pictures of an evaluation."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from nommer.data.images import decode
from nommer.files import write_csv, write_json
from nommer.models.classification import Classifier
from nommer.predictions import Classification
from nommer.tasks.classification.results import ClassificationResults
from nommer.tasks.doubts import Doubt, doubts_of_multi_label
from nommer.tasks.labels import LabelWriter
from nommer.tasks.multi_label.labels import TableLabels

if TYPE_CHECKING:
    from nommer.tasks.evaluation import Evaluation

_SHOWN = 32
"""Pictures in a grid."""

_RECALLS = np.linspace(0, 1, 101)


class MultiLabelResults(ClassificationResults):
    """Average precision and its company, and pictures with all classes in the caption."""

    plots = "curves.png, precision_recall.png, nominations.png, val_predictions.jpg"
    answer_options = frozenset({"top", "batch_size", "threshold"})
    label_writers: ClassVar[tuple[type[LabelWriter], ...]] = (TableLabels,)

    def save_evaluation(
        self,
        evaluation: "Evaluation",
        model: Classifier,
        data: Any,
        out: Path,
        *,
        facts: Mapping[str, Any],
    ) -> None:
        """Write `result.json`, `per_class.csv`, `predictions.csv` and the plots into `out`."""
        from nommer.tasks.plots import plot_grid, plot_precision_recall

        report, names = evaluation.report, model.class_names
        rows = report.per_class(names)
        told = {**facts, **report.summary(), "classes": names, "per_class": rows}
        write_json(out / "result.json", told)
        write_csv(out / "per_class.csv", rows)
        answers = answers_of(evaluation, model)
        write_csv(out / "predictions.csv", prediction_rows(evaluation, answers, names))
        plot_precision_recall(
            interpolated_precision(evaluation, len(names)),
            names,
            out / "precision_recall.png",
            title="precision and recall",
        )
        pictures = prediction_pictures(evaluation, answers, model)
        plot_grid(pictures, out / "val_predictions.jpg", columns=6)

    def held_out(self, evaluation: "Evaluation", model: Classifier) -> list[dict[str, Any]]:
        """Return file, true classes and calibrated probabilities of each image."""
        pairs = zip(evaluation.samples, evaluation.answers, strict=True)
        return [
            {
                "file": str(sample.path),
                "classes": [model.class_names[label] for label in sample.classes],
                "probabilities": answer.tolist(),
            }
            for sample, answer in pairs
        ]

    def doubts(self, rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[Doubt]:
        """Return the images by how well their classes fit, the worst first."""
        return doubts_of_multi_label(rows, names)


def answers_of(evaluation: "Evaluation", model: Classifier) -> list[Classification]:
    """The model's answer to every sample."""
    return [
        Classification(
            str(sample.path), model.class_names, tuple(probabilities.tolist()), model.threshold
        )
        for sample, probabilities in zip(evaluation.samples, evaluation.answers, strict=True)
    ]


def prediction_rows(
    evaluation: "Evaluation", answers: Sequence[Classification], names: Sequence[str]
) -> list[dict[str, Any]]:
    """One row per sample.

    File, its classes, those answered, whether they are the same, and every probability.
    """
    rows = []
    for sample, answer in zip(evaluation.samples, answers, strict=True):
        truth = tuple(names[label] for label in sample.classes)
        shown = {
            "classes": ";".join(truth),
            "predicted": ";".join(answer.chosen),
            "correct": truth == answer.chosen,
        }
        probabilities = {
            f"p({name})": round(p, 6) for name, p in zip(names, answer.probabilities, strict=True)
        }
        rows.append({"file": str(sample.path), **shown, **probabilities})
    return rows


def interpolated_precision(evaluation: "Evaluation", classes: int) -> np.ndarray:
    """(101, classes) highest precision at each recall or above, -1 where a class does not occur."""
    from sklearn.metrics import precision_recall_curve

    scores = torch.stack(evaluation.answers).numpy()
    precision = np.full((len(_RECALLS), classes), -1.0)
    for label in range(classes):
        truth = np.array([label in sample.classes for sample in evaluation.samples])
        if truth.any():
            found, recall, _ = precision_recall_curve(truth, scores[:, label])
            highest = np.maximum.accumulate(found)  # the curve begins at recall 1
            precision[:, label] = highest[np.searchsorted(-recall, -_RECALLS, side="right") - 1]
    return precision


def prediction_pictures(
    evaluation: "Evaluation", answers: Sequence[Classification], model: Classifier
) -> list[tuple[Any, str, bool]]:
    """Return the pictures with the most wrong classes (half the grid at most), then others.

    Those are spread evenly over the rest.
    """
    truths = [
        tuple(model.class_names[label] for label in sample.classes) for sample in evaluation.samples
    ]
    errors = [
        len(set(truth) ^ set(answer.chosen)) for truth, answer in zip(truths, answers, strict=True)
    ]
    order = sorted((i for i, wrong in enumerate(errors) if wrong), key=lambda i: -errors[i])[
        : _SHOWN // 2
    ]
    others = sorted(set(range(len(errors))) - set(order))
    rest = min(len(others), _SHOWN - len(order))
    order += [others[i * len(others) // rest] for i in range(rest)]
    pictures = []
    for i in order:
        path = evaluation.samples[i].path
        picture = model.preprocessing.crop(decode(path, model.preprocessing.reading))
        answer = ", ".join(answers[i].chosen) or "none"
        truth = "" if not errors[i] else f"\nis {', '.join(truths[i]) or 'none'}"
        pictures.append((picture, f"{answer}{truth}", not errors[i]))
    return pictures
