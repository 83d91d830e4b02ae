"""Segmentation: tables and pictures of an evaluation, of training batches and of answers."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from PIL import Image
from torchvision.transforms.v2.functional import to_pil_image

from nommer.data.images import decode
from nommer.data.masks import read_mask
from nommer.data.sources import ImageSource, open_any
from nommer.files import write_csv, write_json
from nommer.models.segmentation import Segmenter
from nommer.predictions import Failure, Segmentation, SegmentationSummary
from nommer.settings.pixel_range import Reading
from nommer.tasks.doubts import quality_of_pixels
from nommer.tasks.labels import LabelWriter
from nommer.tasks.names import UniqueNames
from nommer.tasks.results import TaskResults, answered, with_files
from nommer.tasks.segmentation.labels import MaskLabels

if TYPE_CHECKING:
    from nommer.data.formats.mask_pairs import MaskSample
    from nommer.data.formats.masks import MaskFolders
    from nommer.data.masks import MaskEncoding
    from nommer.data.segmentation import SegmentationData
    from nommer.tasks.evaluation import Evaluation

_COLUMNS = ("image", "class", "share", "error")

_SHOWN = 6
"""Rows of a grid of pictures."""


class SegmentationResults(TaskResults):
    """IoU per class, confusion, and pictures in the colours of the classes."""

    plots = "curves.png, iou.png, confusion_matrix.png, nominations.png, val_predictions.jpg"
    answer_options = frozenset({"inference"})
    label_writers: ClassVar[tuple[type[LabelWriter], ...]] = (MaskLabels,)

    def save_evaluation(
        self,
        evaluation: "Evaluation",
        model: Segmenter,
        data: "MaskFolders",
        out: Path,
        *,
        facts: Mapping[str, Any],
    ) -> None:
        """Write `result.json`, `per_class.csv`, `predictions.csv` and the plots into `out`."""
        from nommer.tasks.plots import plot_bars, plot_confusion, plot_rows

        report, names = evaluation.report, model.class_names
        confusion = {"confusion": report.confusion.tolist(), "classes": names}
        rows = report.per_class(names)
        write_json(out / "result.json", {**facts, **report.summary(), **confusion})
        write_csv(out / "per_class.csv", rows)
        write_csv(out / "predictions.csv", image_rows(evaluation))
        values, mean = {row["class"]: row["iou"] for row in rows}, report.summary()["miou"]
        plot_bars(values, model.colours, mean, out / "iou.png")
        plot_confusion(report.confusion, names, out / "confusion_matrix.png", in_percent=True)
        pictures = prediction_pictures(evaluation, model, data.encoding)
        plot_rows(pictures, out / "val_predictions.jpg", legend=legend_of(model))

    def held_out(self, evaluation: "Evaluation", model: Segmenter) -> list[dict[str, Any]]:
        """Return a row per image, and how well its mask fits the probabilities of some pixels."""
        rows = image_rows(evaluation)
        for row, kept in zip(rows, evaluation.evidence, strict=True):
            row["label_quality"] = quality_of_pixels(kept.logits.softmax(1), kept.truth)
            row["label"], row["answer"] = "mask", f"mIoU {row['miou'] or 0:.1%}"
        return rows

    def save_training_batch(self, data: "SegmentationData", model: Segmenter, path: Path) -> None:
        """Write a picture of the first crops, augmented, beside their masks."""
        from nommer.tasks.plots import plot_rows

        rows: list[list[tuple[Image.Image, str]]] = []
        for index, seed in islice(data.train_sampler(), 2 * _SHOWN):
            sample = data.train[(index, seed)]
            picture = to_pil_image(model.preprocessing.denormalise(sample.images))
            labels = sample.masks.numpy().astype(np.uint8)
            mask = Segmentation("", model.class_names, model.colours, labels)
            name = data.train.samples[index].path.name
            rows.append([(picture, name), (mask.palette_image(), "mask")])
        plot_rows(pair_up(rows), path, legend=legend_of(model))

    def save_answers(
        self,
        model: Segmenter,
        sources: Iterable[ImageSource],
        folder: Path,
        settings: Any,
        *,
        labels: LabelWriter | None = None,
    ) -> Sequence[SegmentationSummary | Failure]:
        """Write labels of all pixels, overlays, and shares of the classes."""
        write_json(folder / "classes.json", describe_labels(model.class_names, model.colours))
        return save_segmentations(
            answered(sources, self.answering(model, settings), labels),
            folder,
            pictures=settings.pictures,
            reading=model.preprocessing.reading,
        )


def describe_labels(
    names: Sequence[str], colours: Sequence[tuple[int, int, int]]
) -> list[dict[str, Any]]:
    """Return what the values in index and palette images mean."""
    return [
        {"label": label, "name": name, "color": list(colour)}
        for label, (name, colour) in enumerate(zip(names, colours, strict=True))
    ]


def legend_of(model: Segmenter) -> dict[str, tuple[int, int, int]]:
    """Return the meaning of the colours in pictures of masks."""
    return dict(zip(model.class_names, model.colours, strict=True)) | {"(ignored)": (0, 0, 0)}


def image_rows(evaluation: "Evaluation") -> list[dict[str, Any]]:
    """Return one row per image: file, labelled pixels, its own pixel accuracy and mean IoU.

    None without labelled pixels.
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
    evaluation: "Evaluation", model: Segmenter, encoding: "MaskEncoding"
) -> list[list[tuple[Image.Image, str]]]:
    """Return image, truth and prediction of some images, evenly over the ranks of their IoU."""
    known = [row for row in image_rows(evaluation) if row["miou"] is not None]
    order = sorted(known, key=lambda row: row["miou"])
    chosen = [
        order[i]
        for i in np.linspace(0, len(order) - 1, min(_SHOWN, len(order))).round().astype(int)
    ]
    samples = {str(sample.path): sample for sample in evaluation.samples}
    return [_picture_row(samples[row["file"]], row["miou"], model, encoding) for row in chosen]


def _picture_row(
    sample: "MaskSample", miou: float, model: Segmenter, encoding: "MaskEncoding"
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


def pair_up(rows: Sequence[list[Any]]) -> list[list[Any]]:
    """Every two rows as one."""
    return [[cell for row in rows[i : i + 2] for cell in row] for i in range(0, len(rows), 2)]


def save_segmentations(
    answers: Iterable[tuple[ImageSource, Segmentation | Failure]],
    folder: Path,
    *,
    pictures: bool,
    reading: Reading,
) -> list[SegmentationSummary | Failure]:
    """Write every answer as it comes, holding the pixels of one image at a time.

    Labels go to `index/NAME.png` (grey, the values are classes) and `palette/NAME.png` (in the
    classes' colours), if `pictures` the tinted image with a legend to `overlays/NAME.png`; in the
    end the shares to `result.json`, and to `predictions.csv` with one row per image and class.

    Returns:
        What is left of the answers without their pixels.
    """
    kinds = ("index", "palette", "overlays") if pictures else ("index", "palette")
    for kind in kinds:
        (folder / kind).mkdir()
    names = UniqueNames()
    summaries: list[SegmentationSummary | Failure] = []
    files: list[str] = []
    for source, answer in answers:
        name = f"{names.of(source)}.png"
        files.append(f"index/{name}")
        if isinstance(answer, Failure):
            summaries.append(answer)
            continue
        answer.index_image().save(folder / "index" / name)
        answer.palette_image().save(folder / "palette" / name)
        if pictures:
            answer.save(folder / "overlays" / name, open_any(source, reading))
        summaries.append(answer.summary())
    write_json(folder / "result.json", with_files(summaries, files))
    write_csv(folder / "predictions.csv", _share_rows(summaries), _COLUMNS)
    return summaries


def _share_rows(summaries: Sequence[SegmentationSummary | Failure]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for summary in summaries:
        if isinstance(summary, Failure):
            rows.append({"image": summary.source, "class": "", "share": "", "error": summary.error})
            continue
        for name, share in summary.shares.items():
            rows.append(
                {"image": summary.source, "class": name, "share": f"{share:.6f}", "error": ""}
            )
    return rows
