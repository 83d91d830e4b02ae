"""An exported ONNX model with weights and products in float16: half the size, for GPUs."""

from pathlib import Path

from nommer.exporting.metadata import description_in, write_described

_EXACT = ("NonMaxSuppression", "Range", "Resize", "RoiAlign", "TopK")
"""Operations that stay in float32: they choose, or runtimes know no other kind."""


def write_float16(source: Path, target: Path) -> None:
    """Write the ONNX model at `source` in float16 to `target`; inputs and outputs stay as they are.

    Args:
        source: as `export_model` writes it.
        target: an ONNX file.
    """
    import onnx  # noqa: PLC0415 - slow to import
    from onnxruntime.transformers.float16 import (  # noqa: PLC0415
        DEFAULT_OP_BLOCK_LIST,
        convert_float_to_float16,
    )
    from onnxruntime.transformers.onnx_model import OnnxModel  # noqa: PLC0415

    model = onnx.load(str(source))
    halved = convert_float_to_float16(
        model, keep_io_types=True, op_block_list=sorted({*DEFAULT_OP_BLOCK_LIST, *_EXACT})
    )
    OnnxModel.graph_topological_sort(halved.graph)  # its casts stand at the end
    write_described(halved, description_in(model) | {"precision": "float16"}, target)
