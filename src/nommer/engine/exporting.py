"""A whole export: the model, the images that it is compared on, the file and its report."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nommer.deploy.export import export_model
from nommer.deploy.int8 import QuantisationReport
from nommer.deploy.parity import ParityReport, parity_images
from nommer.engine.inputs import images_to_compare
from nommer.engine.quantising import quantise_export
from nommer.engine.run import results_folder, run_of
from nommer.errors import InputError
from nommer.heads.detection import Detector
from nommer.heads.storage import load, network_of
from nommer.progress import notice

FormatName = Literal["onnx", "torch_export"]
ExportPrecision = Literal["float32", "int8"]


@dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """The arguments of `nommer.export`; see there."""

    model: Path
    format: FormatName
    dynamic_size: bool
    precision: ExportPrecision
    max_drop: float
    data: Path | str | None
    out: Path | str | None
    overwrite: bool

    def __post_init__(self) -> None:
        if self.precision == "int8" and self.format != "onnx":
            raise InputError(f"--precision int8 is for --format onnx only, got --format {self.format}")
        if not 0 <= self.max_drop <= 1:
            raise InputError(f"--max-drop must be from 0 to 1, got {self.max_drop}")


@dataclass(frozen=True)
class ExportResult:
    """How closely the exported model follows, and where it is."""

    report: ParityReport
    """Of the export in float32."""
    out: Path
    quantisation: QuantisationReport | None = None
    """Of an export in 8-bit integers."""


def export_to_file(settings: ExportSettings) -> ExportResult:
    """Export a model, as `nommer.export` describes."""
    model = load(settings.model)
    network_of(model, settings.model)
    if isinstance(model, Detector):
        if settings.precision == "int8":
            raise InputError(f"{settings.model}: --precision int8 is for classifiers and segmenters, not for detectors")
        if model.network.has_masks:
            notice("masks stay behind: the exported file finds classes and boxes")
    data = None if settings.data is None else Path(settings.data)
    paths = images_to_compare(run_of(settings.model), data)
    images = parity_images(model, paths)
    folder = results_folder(settings.model, "export", settings.out, overwrite=settings.overwrite)
    report = export_model(model, images, folder, format_name=settings.format, dynamic_size=settings.dynamic_size)
    if settings.precision == "float32" or isinstance(model, Detector):
        return ExportResult(report, folder)
    lost = quantise_export(model, settings.model, data, paths, folder, max_drop=settings.max_drop)
    return ExportResult(report, folder, lost)
