"""A whole export: the model, the images that it is compared on, the file and its report."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nommer.deploy.export import export_model
from nommer.deploy.parity import ParityReport, parity_images
from nommer.engine.inputs import images_to_compare
from nommer.engine.run import results_folder, run_of
from nommer.errors import InputError
from nommer.heads.detection import Detector
from nommer.heads.storage import load, network_of

FormatName = Literal["onnx", "torch_export"]


@dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """The arguments of `nommer.export`; see there."""

    model: Path
    format: FormatName
    dynamic_size: bool
    data: Path | str | None
    out: Path | str | None
    overwrite: bool


@dataclass(frozen=True)
class ExportResult:
    """How closely the exported model follows, and where it is."""

    report: ParityReport
    out: Path


def export_to_file(settings: ExportSettings) -> ExportResult:
    """Export a model, as `nommer.export` describes."""
    model = load(settings.model)
    network_of(model, settings.model)
    if isinstance(model, Detector):
        raise InputError(f"{settings.model}: detectors cannot be exported yet, only classifiers and segmenters")
    paths = images_to_compare(run_of(settings.model), None if settings.data is None else Path(settings.data))
    images = parity_images(model, paths)
    folder = results_folder(settings.model, "export", settings.out, overwrite=settings.overwrite)
    report = export_model(model, images, folder, format_name=settings.format, dynamic_size=settings.dynamic_size)
    return ExportResult(report, folder)
