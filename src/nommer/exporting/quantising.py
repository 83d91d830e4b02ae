"""An exported model in 8-bit integers, delivered only if it answers nearly as well as in float32."""

from collections.abc import Sequence, Set
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import torch
from torch import Tensor

from nommer.errors import InputError
from nommer.exporting import int8
from nommer.exporting.int8 import QuantisationReport
from nommer.exporting.parity import prepare_some
from nommer.files import write_json
from nommer.inference.evaluation import EvaluationSettings, Opened, open_model_and_data
from nommer.models.classification import Classifier
from nommer.models.exported import load_exported
from nommer.models.segmentation import Segmenter
from nommer.progress import notice
from nommer.settings.inference import Inference

_METRICS = {
    "classification": "top1",
    "multi-label classification": "mean_ap",
    "segmentation": "miou",
}
"""What is judged, by task."""


def quantise_export(
    model: Classifier | Segmenter,
    source: Path,
    data: Path | None,
    paths: Sequence[Path],
    folder: Path,
    *,
    max_drop: float,
) -> QuantisationReport:
    """Replace `folder/model.onnx` by the same in 8-bit integers, and write
    `folder/quantisation.json`.

    Args:
        model: the original.
        source: where it was loaded from.
        data: what to judge both on, by default the run's own data; where nothing is labelled only
            answers are compared.
        paths: images to calibrate on, but for those that are judged, and to compare answers on.
        folder: with a float32 export in ONNX.
        max_drop: largest loss of top-1 accuracy or mean IoU; without labels, largest share of other
            answers.

    Raises:
        InputError: more is lost; then the report stays, but no model.
    """
    opened = _open_labelled(source, data)
    file, candidate = folder / "model.onnx", folder / ".candidate.onnx"
    judged = set() if opened is None else {sample.path for sample in opened.data.samples()}
    seen, compared = _choose_images(model, paths, judged)
    try:
        notice(f"quantising: {len(seen)} images to calibrate on")
        int8.quantise(file, candidate, torch.stack(list(seen.values())))
        plain, quantised = (
            cast("Classifier | Segmenter", load_exported(path)) for path in (file, candidate)
        )
        agreement = int8.agreement(plain, quantised, torch.stack(list(compared.values())))
        name, before, after = _judge(opened, plain, quantised)
        drop = 1 - agreement if before is None or after is None else before - after
        report = QuantisationReport(
            weight_bits=int8.weight_bits(),
            calibration_images=len(seen),
            images=len(compared),
            seen_images=len(seen.keys() & compared.keys()),
            agreement=agreement,
            metric=name,
            float32=before,
            int8=after,
            judged_images=len(judged),
            drop=drop,
            max_drop=max_drop,
            passed=drop <= max_drop,
        )
        write_json(folder / "quantisation.json", report.to_dict())
        if not report.passed:
            file.unlink()
            lost = (
                f"loses {drop:.4f} of {name}"
                if name
                else f"gives {drop:.4f} of the images another answer"
            )
            raise InputError(
                f"{folder / 'quantisation.json'}: the model in 8-bit integers {lost} (allowed "
                f"{max_drop:g}); no model "
                "was delivered; allow more with --max-drop, or export it with --precision float32"
            )
        candidate.replace(file)
    finally:
        candidate.unlink(missing_ok=True)
    return report


def _choose_images(
    model: Classifier | Segmenter, paths: Sequence[Path], judged: Set[Path]
) -> tuple[dict[Path, Tensor], dict[Path, Tensor]]:
    """Prepared images to calibrate on, and those to compare answers on.

    Others, where there are as many.

    The former are not among the `judged` and the latter are, where there are any such.
    """
    dense = isinstance(model, Segmenter)
    free = [path for path in paths if path not in judged] or paths
    seen = prepare_some(
        model, free, int8.DENSE_CALIBRATION_IMAGES if dense else int8.CALIBRATION_IMAGES
    )
    compared = [path for path in paths if path in judged] or paths
    others = [path for path in compared if path not in seen]
    wanted = int8.DENSE_AGREEMENT_IMAGES if dense else int8.AGREEMENT_IMAGES
    return seen, prepare_some(model, others if len(others) >= len(seen) else compared, wanted)


def _open_labelled(source: Path, data: Path | None) -> Opened | None:
    """The data with labels, as `evaluate` takes them; None where there are no labels."""
    try:
        return open_model_and_data(_settings(source, data))
    except InputError as error:
        notice(f"nothing to judge 8-bit integers on ({error}): only answers are compared")
        return None


def _judge(
    opened: Opened | None, plain: Classifier | Segmenter, quantised: Classifier | Segmenter
) -> tuple[str | None, float | None, float | None]:
    """The name of the metric, and what both models reach on the labelled data.

    Nones where there are none.
    """
    if opened is None or opened.task.name not in _METRICS:
        return None, None, None
    name, settings = _METRICS[opened.task.name], _settings(Path(), None)
    with TemporaryDirectory() as folder:
        reports = [
            replace(opened, model=model, precision="32")
            .evaluate(opened.data, settings, Path(folder))
            .report
            for model in (plain, quantised)
        ]
    before, after = (float(getattr(report, name)) for report in reports)
    return name, before, after


def _settings(model: Path, data: Path | None) -> EvaluationSettings:
    return EvaluationSettings(
        model=model,
        data=data,
        classes=None,
        split="auto",
        out=None,
        batch_size=None,
        device="cpu",
        precision="32",
        workers=0,
        on_bad_sample="skip",
        overwrite=False,
        inference=Inference(),
    )
