"""A model as one file that tells its classes and preprocessing.

It is delivered only if it computes the same.
"""

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from nommer.errors import InputError
from nommer.exporting.capture import capture, describe, without_torchvisions_warning
from nommer.exporting.metadata import write_described
from nommer.exporting.parity import compare
from nommer.files import write_atomically, write_json
from nommer.models.exported import build_exported, load_exported
from nommer.models.exported_networks import INPUT
from nommer.models.onnx_files import METADATA
from nommer.models.recogniser import Recogniser
from nommer.settings.export import OPSET
from nommer.tasks.exporting import ParityReport, Prepared
from nommer.tasks.registry import task_of


def export_model(
    model: Recogniser,
    images: Prepared,
    folder: Path,
    *,
    format_name: str = "onnx",
    dynamic_size: bool = False,
    opset: int = OPSET,
    whole: bool = False,
) -> ParityReport:
    """Write `folder/model.onnx` (or `model.pt2`) and `folder/parity.json`.

    The file takes images (batch, 3, height, width) float32, prepared as its metadata say, with any
    batch size; height and width are the model's own, or with `dynamic_size` any from the smallest
    that the metadata name. Of a detector it takes one image of any such size at a time.

    Args:
        model: on the CPU.
        images: prepared real images for the comparison, as of `parity_images`.
        folder: an existing folder.
        format_name: a name of `FORMATS`.
        dynamic_size: leave height and width open.
        opset: of ONNX.
        whole: trace for a whole file, with the outputs that it needs.

    Raises:
        InputError: the exported model does not follow (then the report is written, but no model),
            or the network cannot be traced for any size.
        OSError: the disk is full, ...; no model is left.
    """
    form = FORMATS[format_name]
    size = task_of(model).exporting.image_size(model, dynamic=dynamic_size)
    candidate = folder / f".candidate{form.suffix}"
    try:
        captured = Captured(*capture(model, size, whole=whole), opset)
        description = describe(model, size)
        written = form.write(captured, description, candidate)
        report = replace(compare(model, written, images, size), left_out=description["left_out"])
        write_json(folder / "parity.json", report.to_dict())
        if not report.passed:
            raise InputError(
                f"{folder / 'parity.json'}: the exported model differs by "
                f"{report.largest_difference:.2g} (allowed "
                f"{report.tolerance:.0e}), same answer in {report.same_top1} of {report.runs}; no "
                "model was delivered"
            )
        candidate.replace(folder / f"model{form.suffix}")
    finally:
        candidate.unlink(missing_ok=True)
    return report


@dataclass(frozen=True)
class Captured:
    """A traced model, and how it is written."""

    program: ExportedProgram
    shapes: tuple[dict[int, Dim]]
    outputs: tuple[str, ...]
    opset: int


def write_onnx(captured: Captured, description: dict[str, Any], path: Path) -> Recogniser:
    """Write one ONNX file, with `description` in its metadata, and read it again.

    Its IR version is the oldest that knows the opset, so that older runtimes take it.
    """
    with without_torchvisions_warning():
        onnx = torch.onnx.export(
            captured.program,
            dynamo=True,
            input_names=[INPUT],
            output_names=list(captured.outputs),
            dynamic_shapes=captured.shapes,
            opset_version=captured.opset,
            external_data=False,
            verbose=False,
        )
    if onnx is None:
        raise RuntimeError("the exporter returned no program")
    model = onnx.model_proto
    model.ir_version = oldest_ir(model.opset_import)
    write_described(model, description, path)
    return load_exported(path)


def write_program(captured: Captured, description: dict[str, Any], path: Path) -> Recogniser:
    """Write one pt2 file, with `description` as its extra file.

    Loading such a file runs what it says, so nommer reads none, and this one only here: the very
    bytes that were made in this process, before they are written.

    Returns:
        The model that these bytes compute.
    """
    program = captured.program
    for (
        node
    ) in program.graph.nodes:  # where in the source it comes from; the paths are nobody's business
        for name in (
            "stack_trace",
            "nn_module_stack",
            "source_fn_stack",
            "torch_fn",
            "from_node",
            "custom",
        ):
            node.meta.pop(name, None)
    program.example_inputs = None
    content, text = io.BytesIO(), json.dumps(description)
    torch.export.save(program, content, extra_files={METADATA: text})
    made = content.getvalue()
    write_atomically(path, lambda stream: stream.write(made))
    module = torch.export.load(io.BytesIO(made)).module(check_guards=False)
    return build_exported(ProgramRuntime(module, description["outputs"]), json.loads(text), path)


def oldest_ir(opsets: Any) -> int:
    """Return the oldest IR version of ONNX that knows these opsets."""
    from onnx.helper import find_min_ir_version_for  # noqa: PLC0415 - slow to import

    return int(find_min_ir_version_for(list(opsets), ignore_unknown=True))


class ProgramRuntime:
    """A `torch.export` program that was made in this process."""

    name = "PyTorch's program of torch.export"

    def __init__(self, module: nn.Module, names: Sequence[str]) -> None:
        self.module, self.names = module, tuple(names)

    def __call__(self, names: Sequence[str], images: Tensor) -> list[Tensor]:
        """The outputs of these names for images (B, 3, H, W) float32."""
        found = self.module(images)
        outputs = dict(
            zip(self.names, found if isinstance(found, tuple) else (found,), strict=True)
        )
        return [outputs[name] for name in names]


@dataclass(frozen=True)
class Format:
    """A way to write an exported model."""

    suffix: str
    write: Callable[[Captured, dict[str, Any], Path], Recogniser]
    """Writes the file, and returns the model that it computes."""


FORMATS = {"onnx": Format(".onnx", write_onnx), "torch_export": Format(".pt2", write_program)}
"""By name."""
