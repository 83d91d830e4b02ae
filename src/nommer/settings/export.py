"""Everything that `nommer export` is told."""

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from nommer.errors import InputError
from nommer.settings.schema import Settings, Takes, given, required

FormatName: TypeAlias = Literal["onnx", "torch_export"]
ExportPrecision: TypeAlias = Literal["float32", "int8"]


@dataclass(frozen=True)
class ExportSettings(Settings):
    """Settings of an export.

    Raises:
        InputError: a value of another type, or out of range; the message names it.
    """

    model: Takes[Path, str] = required()
    """Run folder, model folder, published checkpoint, or name of the zoo, such as nommer_nano."""
    _: KW_ONLY
    format: FormatName = "onnx"
    """onnx, or torch_export (a pt2 file).
    One file that holds class names and preprocessing in its metadata and takes any batch size."""
    dynamic_size: bool = False
    """Let the file take images of any height and width from a smallest one.
    Without, it takes those of the model's own size, of a segmenter windows of the size of the
    training crops."""
    precision: ExportPrecision = "float32"
    """float32, or int8 (onnx only): 8-bit integers, calibrated on --data.
    The loss of accuracy is measured."""
    max_drop: float | None = None
    """Largest loss, 0 to 1, with which a model in int8 is delivered.
    Of top-1 accuracy or mean IoU where the data is labelled, else the share of images with another
    answer. By default 0.01."""
    data: Takes[Path | None, str] = given(None)
    """Folder with images (searched deeply) on which both are compared. By default the run's own
    data."""
    out: Takes[Path | None, str] = given(None)
    """Folder for model.onnx or model.pt2, parity.json, and of int8 quantisation.json. By default a
    new one in the run folder."""
    overwrite: bool = False
    """Put this export in the place of an earlier one in --out, which goes when this one has
    passed."""

    def check(self) -> None:
        """Refuse options that do not go together."""
        if self.precision == "int8" and self.format != "onnx":
            raise InputError(
                f"--precision int8 is for --format onnx only, got --format {self.format}"
            )
        if self.max_drop is not None and self.precision != "int8":
            raise InputError("--max-drop is for --precision int8 only")
        if self.max_drop is not None and not 0 <= self.max_drop <= 1:
            raise InputError(f"--max-drop must be from 0 to 1, got {self.max_drop}")
