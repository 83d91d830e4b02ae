"""Everything that `nommer export` is told."""

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from nommer.errors import InputError, check_share
from nommer.settings.schema import Settings, Takes, given, required

FormatName: TypeAlias = Literal["onnx", "torch_export"]
ExportPrecision: TypeAlias = Literal["float32", "float16", "int8"]

OPSETS = (18, 23)
"""First and last opset of ONNX that is written: the exporter knows no older ones, and the checks of
today's runtimes reach to the last."""

OPSET = 20
"""The one that is written where none is asked for; ONNX Runtime reads it from 1.17 on."""


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
    whole: bool = False
    """Put preparation and answers into the file too (onnx only): pixels in, answers out.
    It takes images (batch, height, width, 3) uint8 of any size, resizes and normalises them, and
    answers with probabilities and class ids, or with boxes, scores, class ids and masks in pixels
    of the image. The answers are compared on image files."""
    opset: int | None = None
    """Opset of ONNX, 18 to 23. By default 20, which ONNX Runtime reads from 1.17 on.
    OpenCV's dnn reads none of these networks."""
    precision: ExportPrecision = "float32"
    """float32, float16, or int8 (both onnx only): 8-bit integers, calibrated on --data.
    The loss of accuracy is measured."""
    max_drop: float | None = None
    """Largest loss, 0 to 1, with which a model in int8, in float16 or a whole one is delivered.
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
        of_onnx = {
            f"--precision {self.precision}": self.precision != "float32",
            "--whole": self.whole,
            "--opset": self.opset is not None,
        }
        for option, is_given in of_onnx.items():
            if is_given and self.format != "onnx":
                raise InputError(f"{option} is for --format onnx only, got --format {self.format}")
        first, last = OPSETS
        if self.opset is not None and not first <= self.opset <= last:
            raise InputError(
                f"--opset must be from {first} to {last}, got {self.opset}; 18 is the oldest that "
                "the exporter writes"
            )
        if self.whole and self.dynamic_size:
            raise InputError(
                "--dynamic-size: a whole file takes images of any size in any case; leave it out"
            )
        if self.max_drop is not None and self.precision == "float32" and not self.whole:
            raise InputError("--max-drop is for --precision int8 or float16 and --whole only")
        check_share("--max-drop", self.max_drop)
