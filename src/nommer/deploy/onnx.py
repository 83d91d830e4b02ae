"""A classifier as one ONNX file that tells its classes and preprocessing, delivered only if it computes the same."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nommer.deploy.fuse import fuse
from nommer.errors import InputError
from nommer.files import write_json
from nommer.heads.classification import Classifier
from nommer.heads.exported import INPUT, METADATA, OUTPUT, load_onnx

TOLERANCE = 1e-4
"""Largest difference of a class score, relative to the largest score of the image (at least 1)."""

BATCHES = (1, 2, 5, 16)
"""Batch sizes in which the images are compared."""


@dataclass(frozen=True)
class ParityReport:
    """How closely an exported model follows the one it was made from, on real images."""

    images: int
    batches: tuple[int, ...]
    """Batch sizes in which all images were run."""
    largest_difference: float
    """Of any class score, relative to the image's largest (at least 1)."""
    tolerance: float
    same_top1: int
    """Image runs whose most probable class is the same, of `runs`."""
    runs: int
    passed: bool
    """No difference above the tolerance, and no other class on top."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def export_onnx(model: Classifier, images: Tensor, folder: Path) -> ParityReport:
    """Write `folder/model.onnx` and `folder/parity.json`.

    The file takes images (batch, 3, image_size, image_size) float32, prepared as its metadata say, with any batch size.

    Args:
        model: a classifier on the CPU.
        images: (N, 3, image_size, image_size) prepared real images for the comparison.
        folder: an existing folder.

    Raises:
        InputError: the exported model does not follow; then the report is written, but no model.
    """
    candidate = folder / ".candidate.onnx"
    try:
        _write(model, candidate)
        report = compare(model, load_onnx(candidate), images)
        write_json(folder / "parity.json", report.to_dict())
        if not report.passed:
            raise InputError(
                f"{folder / 'parity.json'}: the exported model differs by {report.largest_difference:.2g} (allowed "
                f"{report.tolerance:.0e}), same top-1 in {report.same_top1} of {report.runs}; no model was delivered"
            )
        candidate.replace(folder / "model.onnx")
    finally:
        candidate.unlink(missing_ok=True)
    return report


def _write(model: Classifier, path: Path) -> None:
    size = model.preprocessing.image_size
    batch = torch.export.Dim("batch", min=1)
    program = torch.onnx.export(
        fuse(model),
        (torch.zeros(2, 3, size, size),),
        dynamo=True,
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_shapes=({0: batch},),
        external_data=False,
        verbose=False,
    )
    if program is None:
        raise RuntimeError("the exporter returned no program")
    description = {"class_names": model.class_names, "preprocessing": model.preprocessing.to_dict()}
    program.model.metadata_props[METADATA] = json.dumps(description | {"nommer_version": version("nommer")})
    program.save(path)


@torch.inference_mode()
def compare(
    reference: Classifier, exported: Classifier, images: Tensor, batches: Sequence[int] = BATCHES
) -> ParityReport:
    """Run both on the same prepared images, in batches of several sizes."""
    reference = reference.eval()
    largest, same, runs = 0.0, 0, 0
    for size in batches:
        for part in torch.split(images, size):
            expected, found = reference(part), exported(part)
            scale = expected.abs().amax(-1, keepdim=True).clamp_min(1)
            largest = max(largest, ((expected - found).abs() / scale).max().item())
            same += int((expected.argmax(-1) == found.argmax(-1)).sum())
            runs += len(part)
    return ParityReport(
        images=len(images),
        batches=tuple(batches),
        largest_difference=largest,
        tolerance=TOLERANCE,
        same_top1=same,
        runs=runs,
        passed=largest <= TOLERANCE and same == runs,
    )
