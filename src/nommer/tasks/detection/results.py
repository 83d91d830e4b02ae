"""Detection: tables and pictures of an evaluation and of training batches."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
import torch
from PIL import Image
from torchvision.transforms.v2.functional import to_pil_image
from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks

from nommer.data.images import decode
from nommer.data.sources import ImageSource
from nommer.files import write_csv, write_json
from nommer.models.detection import Detector
from nommer.predictions import Detections, Failure
from nommer.tasks.detection.answers import save_detections
from nommer.tasks.detection.labels import CocoLabels, VocLabels, YoloLabels
from nommer.tasks.detection.matching import match
from nommer.tasks.doubts import quality_of_objects
from nommer.tasks.labels import LabelWriter
from nommer.tasks.results import TaskResults, answered

if TYPE_CHECKING:
    from nommer.data.detection import DetectionData
    from nommer.data.formats.objects import DetectionSample
    from nommer.tasks.detection.matching import ImageAnswer
    from nommer.tasks.detection.metrics import DetectionReport
    from nommer.tasks.evaluation import Evaluation

_SHOWN = 6
"""Rows of a grid of pictures."""


class DetectionResults(TaskResults):
    """Average precision, confusion, and pictures with the objects drawn in."""

    plots = (
        "curves.png, precision_recall.png, confusion_matrix.png, nominations.png, "
        "val_predictions.jpg"
    )
    answer_options = frozenset({"threshold", "most", "inference", "track"})
    label_writers: ClassVar[tuple[type[LabelWriter], ...]] = (CocoLabels, YoloLabels, VocLabels)

    def save_evaluation(
        self,
        evaluation: "Evaluation",
        model: Detector,
        data: Any,
        out: Path,
        *,
        facts: Mapping[str, Any],
    ) -> None:
        """Write `result.json`, `detections.json`, `per_class.csv`, `predictions.csv` and plots."""
        from nommer.tasks.plots import plot_confusion, plot_precision_recall, plot_rows

        report, names = cast("DetectionReport", evaluation.report), model.class_names
        with_background = [*names, name_of_background(names)]
        confusion = {"confusion": report.confusion.tolist(), "classes": with_background}
        write_json(out / "result.json", {**facts, **report.summary(), **confusion})
        found = chain.from_iterable(answer.results for answer in evaluation.answers)
        write_json(out / "detections.json", list(found))
        threshold = 0.5 if report.best_threshold is None else report.best_threshold
        answered = zip(evaluation.samples, evaluation.answers, strict=True)
        rows = [image_row(sample, answer, threshold) for sample, answer in answered]
        write_csv(out / "per_class.csv", report.per_class(names))
        write_csv(out / "predictions.csv", rows)
        plot_precision_recall(report.boxes.precision, names, out / "precision_recall.png")
        plot_confusion(report.confusion, with_background, out / "confusion_matrix.png")
        pictures = prediction_pictures(evaluation, rows, model, threshold)
        plot_rows(pictures, out / "val_predictions.jpg")

    def held_out(self, evaluation: "Evaluation", model: Detector) -> list[dict[str, Any]]:
        """Return a row per image, and how well its objects fit the answer."""
        threshold = model.decisions.threshold or 0.5
        answers, classes = evaluation.answers, range(len(model.class_names))
        labelled = [
            {"bboxes": one.true_boxes.numpy(), "labels": one.true_labels.numpy()} for one in answers
        ]
        boxes = [torch.cat([one.boxes, one.scores[:, None]], 1).numpy() for one in answers]
        per_class = [
            [found[(one.labels == label).numpy()] for label in classes]
            for one, found in zip(answers, boxes, strict=True)
        ]
        rows = []
        told = zip(evaluation.samples, answers, strict=True)
        for (sample, one), quality in zip(
            told, quality_of_objects(labelled, per_class), strict=True
        ):
            row = image_row(sample, one, threshold) | {"label_quality": quality}
            row["label"] = f"{row['objects']} objects"
            row["answer"] = f"{row['missed']} not found, {row['false_alarms']} more"
            rows.append(row)
        return rows

    def save_training_batch(self, data: "DetectionData", model: Detector, path: Path) -> None:
        """Write a picture of the first training images, augmented, with their objects."""
        from nommer.tasks.plots import plot_rows

        shown: list[tuple[Image.Image, str]] = []
        for index, seed in islice(data.train_sampler(), 2 * _SHOWN):
            sample = data.train[(index, seed)]
            image, target = model.preprocessing.denormalise(sample.images[0]), sample.targets[0]
            pixels = (image * 255).round().to(torch.uint8)
            if len(target.get("masks", ())):
                pixels = draw_segmentation_masks(pixels, target["masks"].bool(), alpha=0.4)
            if len(target["boxes"]):
                names = [model.class_names[label - 1] for label in target["labels"].tolist()]
                pixels = draw_bounding_boxes(pixels, target["boxes"], names, width=2)
            shown.append((to_pil_image(pixels), data.train.samples[index].path.name))
        plot_rows([shown[i : i + 4] for i in range(0, len(shown), 4)], path)

    def answers_how(self, model: Detector, settings: Any) -> str:
        """Say from which score on objects are answered."""
        return model.answers_how(settings.threshold)

    def save_answers(
        self,
        model: Detector,
        sources: Iterable[ImageSource],
        folder: Path,
        settings: Any,
        *,
        labels: LabelWriter | None = None,
    ) -> Sequence[Detections | Failure]:
        """Write objects as JSON, CSV, COCO and YOLO have them, and annotated images."""
        answers = answered(sources, self.answering(model, settings), labels)
        return save_detections(answers, folder, model=model, pictures=settings.pictures)


def name_of_background(names: Sequence[str]) -> str:
    """Return what the confusion matrix calls the place of no object, which no class is called."""
    return next(name for name in ("background", "no object", "(no object)") if name not in names)


def image_row(sample: "DetectionSample", answer: "ImageAnswer", threshold: float) -> dict[str, Any]:
    """Return one row: the objects of an image, those found at IoU 0.5, and false alarms."""
    matches = match([answer])
    sure = matches.scores >= threshold
    found = int(matches.found[sure].sum())
    return {
        "file": str(sample.path),
        "objects": matches.objects,
        "found": found,
        "missed": matches.objects - found,
        "false_alarms": int(sure.sum()) - found,
    }


def prediction_pictures(
    evaluation: "Evaluation",
    rows: Sequence[Mapping[str, Any]],
    model: Detector,
    threshold: float,
) -> list[list[tuple[Image.Image, str]]]:
    """Return truth and answer of some images, evenly over the ranks of their mistakes."""
    order = sorted(range(len(rows)), key=lambda i: -rows[i]["missed"] - rows[i]["false_alarms"])
    chosen = [
        order[i]
        for i in np.linspace(0, len(order) - 1, min(2 * _SHOWN, len(order))).round().astype(int)
    ]
    samples, answers = evaluation.samples, evaluation.answers
    pairs = [_pair(samples[i], answers[i], rows[i], model, threshold) for i in chosen]
    return [[*one, *other] for one, other in zip(pairs[::2], [*pairs[1::2], []], strict=False)]


def _pair(
    sample: "DetectionSample",
    answered: "ImageAnswer",
    row: Mapping[str, Any],
    model: Detector,
    threshold: float,
) -> list[tuple[Image.Image, str]]:
    image, objects = decode(sample.path, model.preprocessing.reading), sample.objects
    found = answered.as_detections(model.class_names, sample).at_least(threshold)
    size = (image.height, image.width)
    masks = (
        tuple(mask for mask in objects.masks if mask is not None)
        if objects.have_masks.all()
        else None
    )
    scores = np.ones(len(objects))
    truth = Detections(
        "truth", model.class_names, size, objects.boxes, scores, objects.labels, masks or None
    )
    caption = f"{row['found']} found, {row['missed']} missed, {row['false_alarms']} false alarms"
    return [
        (truth.plot(image, with_scores=False), f"{sample.path.name}: {row['objects']} objects"),
        (found.plot(image), caption),
    ]
