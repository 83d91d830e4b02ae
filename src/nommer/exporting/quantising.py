"""An exported model in 8-bit integers or float16, delivered only if it answers as in float32."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor

from nommer.errors import InputError
from nommer.exporting import int8
from nommer.exporting.candidate import candidate_in
from nommer.exporting.float16 import write_float16
from nommer.exporting.int8 import QuantisationReport
from nommer.exporting.parity import prepare_some
from nommer.files import write_json
from nommer.inference.evaluation import Opened, open_model_and_data
from nommer.models.exported import load_exported
from nommer.models.recogniser import Recogniser
from nommer.progress import notice
from nommer.settings.evaluate import EvaluateSettings
from nommer.tasks.exporting import Quantising
from nommer.tasks.registry import task_of


def quantise_export(
    model: Recogniser,
    opened: Opened | None,
    paths: Sequence[Path],
    folder: Path,
    *,
    precision: str,
    max_drop: float,
) -> QuantisationReport:
    """Replace `folder/model.onnx` by the same in 8-bit integers, or in float16.

    `folder/quantisation.json` tells what that costs.

    Args:
        model: the original.
        opened: what to evaluate both on; where nothing is labelled only answers are compared.
        paths: images to calibrate on, but for those of `data`, and to compare answers on.
        folder: with a float32 export in ONNX.
        precision: int8 or float16.
        max_drop: largest loss of top-1 accuracy or mean IoU; without labels, largest share of other
            answers.

    Raises:
        InputError: more is lost; then the report stays, but no model.
    """
    evaluated = set() if opened is None else {sample.path for sample in opened.data.samples()}
    seen, compared = _choose_images(model, paths, evaluated)
    with candidate_in(folder) as (file, candidate):
        if precision == "int8":
            notice(f"quantising: {len(seen)} images to calibrate on")
            int8.quantise(file, candidate, list(seen.values()))
        else:
            write_float16(file, candidate)
        plain, quantised = load_exported(file), load_exported(candidate)
        report = _report(opened, plain, quantised, seen, compared, max_drop)
        write_json(folder / "quantisation.json", report.to_dict())
        if not report.passed:
            file.unlink()
            raise _refusal(report, folder / "quantisation.json")
    return report


def _report(
    opened: Opened | None,
    plain: Recogniser,
    quantised: Recogniser,
    seen: Mapping[Path, Tensor],
    compared: Mapping[Path, Tensor],
    max_drop: float,
) -> QuantisationReport:
    """Compare the answers of both, and evaluate both where there are labels."""
    agreement = task_of(plain).exporting.agreement(plain, quantised, list(compared.values()))
    name, before, after = _evaluate(opened, plain, quantised)
    precision = quantised.network.precision
    drop = 1 - agreement if before is None or after is None else before - after
    return QuantisationReport(
        precision=precision,
        weight_bits=int8.weight_bits() if precision == "int8" else 16,
        calibration_images=len(seen) if precision == "int8" else 0,
        images=len(compared),
        seen_images=len(seen.keys() & compared.keys()),
        agreement=agreement,
        metric=name,
        float32=before,
        int8=after,
        judged_images=0 if opened is None else len({s.path for s in opened.data.samples()}),
        drop=drop,
        max_drop=max_drop,
        passed=drop <= max_drop,
    )


def _refusal(report: QuantisationReport, file: Path) -> InputError:
    lost = (
        f"loses {report.drop:.4f} of {report.metric}"
        if report.metric
        else f"gives {report.drop:.4f} of the images another answer"
    )
    return InputError(
        f"{file}: the model in {report.precision} {lost} (allowed {report.max_drop:g}); no model "
        "was delivered; allow more with --max-drop, or export it with --precision float32"
    )


def _quantising(model: Recogniser) -> Quantising:
    """Return how models of this task are quantised.

    Raises:
        ValueError: they are not.
    """
    quantising = task_of(model).exporting.quantising
    if quantising is None:
        raise ValueError(f"a model for {model.task} is not exported in 8-bit integers")
    return quantising


def _choose_images(
    model: Recogniser, paths: Sequence[Path], evaluated: Set[Path]
) -> tuple[dict[Path, Tensor], dict[Path, Tensor]]:
    """Return prepared images to calibrate on, and those to compare answers on.

    Others, where there are as many. The former are not among the `evaluated` and the latter are,
    where there are any such.
    """
    quantising = _quantising(model)
    free = [path for path in paths if path not in evaluated] or paths
    seen = prepare_some(model, free, quantising.calibration_images)
    compared = [path for path in paths if path in evaluated] or paths
    others = [path for path in compared if path not in seen]
    chosen = others if len(others) >= len(seen) else compared
    return seen, prepare_some(model, chosen, quantising.agreement_images)


def open_labelled(source: Path, data: Path | None) -> Opened | None:
    """Open the data with labels, as `evaluate` takes them; None where there are no labels."""
    try:
        return open_model_and_data(_settings(source, data))
    except InputError as error:
        reason = str(error).partition("; accepted ")[0]  # without the layouts: images will do here
        notice(f"nothing to evaluate the exported model on ({reason}): only answers are compared")
        return None


def _evaluate(
    opened: Opened | None, plain: Recogniser, quantised: Recogniser
) -> tuple[str | None, float | None, float | None]:
    """Return the name of the metric, and what both models reach on the labelled data.

    Nones where there are no labels.
    """
    if opened is None:
        return None, None, None
    name, settings = _quantising(plain).measure, _settings(Path(), None)
    with TemporaryDirectory() as folder:
        reports = [
            replace(opened, model=model, precision="32")
            .evaluate(opened.data, settings, Path(folder))
            .report
            for model in (plain, quantised)
        ]
    before, after = (float(getattr(report, name)) for report in reports)
    return name, before, after


def _settings(model: Path, data: Path | None) -> EvaluateSettings:
    return EvaluateSettings(
        model, data=data, device="cpu", precision="32", workers=0, on_bad_sample="skip"
    )
