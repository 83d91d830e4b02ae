"""Classification: tables and pictures of an evaluation, of training batches and of answers."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torchvision.transforms.v2.functional import to_pil_image

from nommer.data.images import decode
from nommer.data.sources import ImageSource, open_any
from nommer.files import write_csv, write_json
from nommer.models.classification import Classifier
from nommer.predictions import Classification, Failure
from nommer.settings.pixel_range import Reading
from nommer.tasks.classification.labels import FolderLabels
from nommer.tasks.doubts import Doubt, doubts_of_classes
from nommer.tasks.labels import LabelWriter
from nommer.tasks.names import UniqueNames
from nommer.tasks.results import TaskResults, answered

if TYPE_CHECKING:
    from nommer.data.classification import ClassificationData
    from nommer.tasks.evaluation import Evaluation

_SHOWN = 32
"""Pictures in a grid."""

_COLUMNS = ("image", "rank", "class", "probability", "error")


class ClassificationResults(TaskResults):
    """Top-1 and its company, confusion, calibration, and pictures with a caption each."""

    plots = "curves.png, confusion_matrix.png, nominations.png, val_predictions.jpg"
    answer_options = frozenset({"top", "batch_size", "refuse"})
    label_writers: ClassVar[tuple[type[LabelWriter], ...]] = (FolderLabels,)

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
        from nommer.tasks.plots import plot_confusion, plot_grid

        report, names = evaluation.report, model.class_names
        confusion = {"confusion": report.confusion.tolist(), "classes": names}
        write_json(out / "result.json", {**facts, **report.summary(), **confusion})
        write_csv(out / "per_class.csv", report.per_class(names))
        write_csv(out / "predictions.csv", prediction_rows(evaluation, names))
        plot_confusion(report.confusion, names, out / "confusion_matrix.png")
        plot_grid(prediction_pictures(evaluation, model), out / "val_predictions.jpg")

    def held_out(self, evaluation: "Evaluation", model: Classifier) -> list[dict[str, Any]]:
        """Return file, true class and calibrated probabilities of each image."""
        rows = prediction_rows(evaluation, model.class_names)
        for row, answer in zip(rows, evaluation.answers, strict=True):
            row["probabilities"] = answer.tolist()
        return rows

    def doubts(self, rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[Doubt]:
        """Return the images by how well their class fits, the worst first."""
        return doubts_of_classes(rows, names)

    def save_training_batch(
        self, data: "ClassificationData", model: Classifier, path: Path
    ) -> None:
        """Write a picture of the first training images as the network will see them, augmented."""
        from nommer.tasks.plots import plot_grid

        shown = []
        for index, seed in islice(data.train_sampler(), _SHOWN):
            picture = to_pil_image(data.preprocessing.denormalise(data.train[(index, seed)].images))
            labels = data.train.samples[index].classes
            named = ", ".join(model.class_names[label] for label in labels)
            shown.append((picture, named or ("none" if model.class_names else ""), True))
        plot_grid(shown, path)

    def answers_how(self, model: Classifier, settings: Any) -> str:
        """Say which classes are answered, and when none of them is."""
        return model.answers_how(settings.threshold, refuse=settings.refuse)

    def save_answers(
        self,
        model: Classifier,
        sources: Iterable[ImageSource],
        folder: Path,
        settings: Any,
        *,
        labels: LabelWriter | None = None,
    ) -> Sequence[Classification | Failure]:
        """Write tables of the most probable classes, and annotated images."""
        answers = answered(sources, self.answering(model, settings), labels)
        if settings.pictures:
            reading = model.preprocessing.reading
            answers = save_pictures(answers, folder / "images", reading=reading)
        predictions = [prediction for _, prediction in answers]
        save_predictions(predictions, folder, top=settings.top or 5)
        return predictions


def prediction_rows(evaluation: "Evaluation", names: Sequence[str]) -> list[dict[str, Any]]:
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


def prediction_pictures(evaluation: "Evaluation", model: Classifier) -> list[tuple[Any, str, bool]]:
    """Return the surest mistakes (half the grid at most), then samples spread over the rest."""
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


def save_predictions(
    predictions: Sequence[Classification | Failure], folder: Path, *, top: int
) -> None:
    """Write `result.json`, and `predictions.csv` with one row per image and rank."""
    write_json(
        folder / "result.json",
        [p.to_dict(top) if isinstance(p, Classification) else p.to_dict() for p in predictions],
    )
    rows: list[dict[str, Any]] = []
    for prediction in predictions:
        if isinstance(prediction, Failure):
            rows.append(
                dict(zip(_COLUMNS, (prediction.source, "", "", "", prediction.error), strict=True))
            )
            continue
        for rank, (name, probability) in enumerate(prediction.top(top), start=1):
            row = dict(
                zip(
                    _COLUMNS, (prediction.source, rank, name, f"{probability:.6f}", ""), strict=True
                )
            )
            if prediction.none_of_these is not None:
                row["none_of_these"] = prediction.none_of_these
            if prediction.threshold is not None:
                row["answered"] = name in prediction.chosen
            rows.append(row)
    write_csv(folder / "predictions.csv", rows, _COLUMNS)


def save_pictures(
    answers: Iterable[tuple[ImageSource, Classification | Failure]],
    folder: Path,
    *,
    reading: Reading,
) -> Iterator[tuple[ImageSource, Classification | Failure]]:
    """Write every answered image with its most probable classes under it, and hand it on."""
    folder.mkdir()
    names = UniqueNames()
    for source, prediction in answers:
        name = names.of(source)
        if isinstance(prediction, Classification):
            prediction.save(folder / f"{name}.jpg", open_any(source, reading))
        yield source, prediction
