"""What is written about a segmenter that was judged, and about the batches it learns from."""

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torchvision.transforms.v2.functional import to_pil_image

from nommer.data.formats.mask_pairs import MaskSample
from nommer.data.images import decode
from nommer.data.masks import MaskEncoding, read_mask
from nommer.data.segmentation import SegmentationData
from nommer.files import write_csv, write_json
from nommer.models.segmentation import Segmenter
from nommer.predictions import Segmentation
from nommer.tasks.plots import plot_bars, plot_confusion, plot_rows
from nommer.tasks.task import Evaluation

_SHOWN = 6
"""Rows of a grid of pictures."""


def save_evaluation(
    evaluation: Evaluation,
    model: Segmenter,
    encoding: MaskEncoding,
    out: Path,
    *,
    facts: Mapping[str, Any],
) -> None:
    """Write `result.json`, `per_class.csv`, `predictions.csv` and the plots into `out`."""
    report, names = evaluation.report, model.class_names
    confusion = {"confusion": report.confusion.tolist(), "classes": names}
    rows = report.per_class(names)
    write_json(out / "result.json", {**facts, **report.summary(), **confusion})
    write_csv(out / "per_class.csv", rows)
    write_csv(out / "predictions.csv", image_rows(evaluation))
    plot_bars(
        {row["class"]: row["iou"] for row in rows},
        model.colours,
        report.summary()["miou"],
        out / "iou.png",
    )
    plot_confusion(report.confusion, names, out / "confusion_matrix.png", in_percent=True)
    plot_rows(
        prediction_pictures(evaluation, model, encoding),
        out / "val_predictions.jpg",
        legend=legend_of(model),
    )


def legend_of(model: Segmenter) -> dict[str, tuple[int, int, int]]:
    """What the colours in pictures of masks mean."""
    return dict(zip(model.class_names, model.colours, strict=True)) | {"(ignored)": (0, 0, 0)}


def image_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """One row per image: file, judged pixels, its own pixel accuracy and mean IoU (None without
    judged pixels).
    """
    return [
        {
            "file": str(sample.path),
            "pixels": score.pixels,
            "pixel_accuracy": score.accuracy,
            "miou": score.miou,
        }
        for sample, score in zip(evaluation.samples, evaluation.answers, strict=True)
    ]


def prediction_pictures(
    evaluation: Evaluation, model: Segmenter, encoding: MaskEncoding
) -> list[list[tuple[Image.Image, str]]]:
    """Image, truth and prediction of some images, from the worst to the best, evenly over the ranks
    of their IoU.
    """
    judged = [row for row in image_rows(evaluation) if row["miou"] is not None]
    order = sorted(judged, key=lambda row: row["miou"])
    chosen = [
        order[i]
        for i in np.linspace(0, len(order) - 1, min(_SHOWN, len(order))).round().astype(int)
    ]
    samples = {str(sample.path): sample for sample in evaluation.samples}
    return [_picture_row(samples[row["file"]], row["miou"], model, encoding) for row in chosen]


def _picture_row(
    sample: MaskSample, miou: float, model: Segmenter, encoding: MaskEncoding
) -> list[tuple[Image.Image, str]]:
    image = decode(sample.path, model.preprocessing.reading)
    truth = Segmentation(
        "truth", model.class_names, model.colours, read_mask(sample.mask, encoding)
    )
    (predicted,) = model.predict(image)
    shown = predicted.palette_image() if isinstance(predicted, Segmentation) else image
    return [
        (image, sample.path.name),
        (truth.palette_image(), "truth"),
        (shown, f"prediction, mIoU {miou:.1%}"),
    ]


def save_training_batch(data: SegmentationData, model: Segmenter, path: Path) -> None:
    """A picture of the first crops as the network will see them, augmented, beside their masks."""
    rows: list[list[tuple[Image.Image, str]]] = []
    for index, seed in islice(data.train_sampler(), 2 * _SHOWN):
        sample = data.train[(index, seed)]
        picture = to_pil_image(model.preprocessing.denormalise(sample.images))
        mask = Segmentation(
            "", model.class_names, model.colours, sample.masks.numpy().astype(np.uint8)
        )
        rows.append(
            [(picture, data.train.samples[index].path.name), (mask.palette_image(), "mask")]
        )
    plot_rows(pair_up(rows), path, legend=legend_of(model))


def pair_up(rows: Sequence[list[Any]]) -> list[list[Any]]:
    """Every two rows as one."""
    return [[cell for row in rows[i : i + 2] for cell in row] for i in range(0, len(rows), 2)]
