"""An exported ONNX model in 8-bit integers: post-training static quantisation by ONNX Runtime.

The values of every activation are observed on prepared real images; weights are rounded per
channel. The loss of accuracy is measured by the agreement of answers, and where there are labels by
evaluation; an export that costs too much is not delivered.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nommer.exporting.metadata import description_in, write_described
from nommer.models.exported_networks import INPUT

_BITS = 8

_NARROW = 8
"""Linear layers with fewer outputs stay in float32: they cost nothing, and the nominators' decide
between contexts.
"""


@dataclass(frozen=True)
class QuantisationReport:
    """The price of an exported model in 8-bit integers, on real images."""

    precision: str
    """int8, or float16."""
    weight_bits: int
    """16 of float16; 8, or 7 where the exporting processor would overflow at 8; a file of 8 may
    overflow on processors like that.
    """
    calibration_images: int
    images: int
    """Images whose answers are compared."""
    seen_images: int
    """Of these, how many were used for calibration: none, but where fewer than that many others are
    there.
    """
    agreement: float
    """Share of these images, of a segmenter of their pixels, with the same most probable class as
    in float32.
    """
    metric: str | None
    """The number that is compared where there are labels: top1, or miou."""
    float32: float | None
    """The metric of the model in float32."""
    int8: float | None
    """The metric of the quantised one, or of that in float16, on the same images."""
    judged_images: int
    drop: float
    """The loss: of the metric, or without labels the share of answers that are others."""
    max_drop: float
    """Largest loss with which a model is delivered."""
    passed: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def quantise(source: Path, target: Path, images: Sequence[Tensor]) -> None:
    """Write the ONNX model at `source` in 8-bit integers to `target`.

    The metadata stay the same but for the precision.

    Args:
        source: as `export_model` writes it.
        target: an ONNX file.
        images: prepared real images to calibrate on, (3, height, width) each.
    """
    import onnx  # noqa: PLC0415 - slow to import
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static  # noqa: PLC0415
    from onnxruntime.quantization.shape_inference import quant_pre_process  # noqa: PLC0415

    prepared, root, before = (
        target.with_name(".prepared.onnx"),
        logging.getLogger(),
        logging.getLogger().level,
    )
    root.setLevel(logging.ERROR)  # it advises what is done already
    try:
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(target),
            _Calibration(images),
            quant_format=QuantFormat.QDQ,
            nodes_to_quantize=_heavy_nodes(onnx.load(str(prepared)).graph),
            per_channel=True,
            reduce_range=weight_bits() < _BITS,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"CalibMovingAverage": False},
        )
    finally:
        root.setLevel(before)
        prepared.unlink(missing_ok=True)
    description = description_in(onnx.load(str(source), load_external_data=False))
    write_described(onnx.load(str(target)), description | {"precision": "int8"}, target)


class _Calibration:
    """Prepared images one after the other, as ONNX Runtime's calibration reads them."""

    def __init__(self, images: Sequence[Tensor]) -> None:
        self.images: Iterator[np.ndarray] = (image[None].numpy() for image in images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next input of the model, or None."""
        image = next(self.images, None)
        return None if image is None else {INPUT: image}


def _heavy_nodes(graph: Any) -> list[str]:
    """Names of the convolutions and linear layers, which take most of the time.

    Products of activations are no such.
    """
    sizes = {weight.name: tuple(weight.dims) for weight in graph.initializer}

    def is_heavy(node: Any) -> bool:
        if node.op_type == "Conv":
            return True
        shape = sizes.get(node.input[1], ()) if node.op_type in ("MatMul", "Gemm") else ()
        return len(shape) == 2 and min(shape) >= _NARROW

    return [node.name for node in graph.node if is_heavy(node)]


def weight_bits() -> int:
    """Bits of a quantised weight.

    8 where this processor adds up products without overflowing 16 bits in between.
    """
    capability = torch.backends.cpu.get_cpu_capability()
    return _BITS if "AVX512" in capability and torch.cpu._is_vnni_supported() else _BITS - 1
