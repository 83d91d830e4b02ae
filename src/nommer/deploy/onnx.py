"""A model as one ONNX file that tells its classes and preprocessing, delivered only if it computes the same."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.transforms.v2.functional import center_crop

from nommer.deploy.fuse import fuse
from nommer.errors import InputError
from nommer.files import write_json
from nommer.heads.classification import Classifier
from nommer.heads.exported import CELLS, INPUT, METADATA, OUTPUT, load_onnx
from nommer.heads.segmentation import Segmenter
from nommer.heads.storage import task_of
from nommer.heads.upernet import enlarge
from nommer.shapes import ClassMap, Images, PixelLogits

Exportable = Classifier | Segmenter

TOLERANCE = 1e-4
"""Largest difference of a class score, relative to the largest score of the image (at least 1)."""

BATCHES, DENSE_BATCHES = (1, 2, 5, 16), (1, 3)
"""Batch sizes in which the images are compared, those of a classifier and those of a segmenter."""

PARITY_IMAGES, DENSE_PARITY_IMAGES = 32, 4
"""Images on which a classifier is compared, and a segmenter, which answers for every pixel."""

ODD_PIXELS = 1e-3
"""Share of the pixels of a segmenter that may differ more: where two contexts, or two classes, are equally good but for
rounding, the other one may win, and changes the pixels around it."""


@dataclass(frozen=True)
class ParityReport:
    """How closely an exported model follows the one it was made from, on real images."""

    images: int
    batches: tuple[int, ...]
    """Batch sizes in which all images were run."""
    largest_difference: float
    """Of any class score, relative to the image's largest (at least 1)."""
    tolerance: float
    within_tolerance: int
    """Answers none of whose scores differs by more than the tolerance, of `runs`."""
    same_top1: int
    """Answers whose most probable class is the same, of `runs`."""
    runs: int
    """Answers compared: one per image and batch size, of a segmenter one per pixel."""
    needed: float
    """Share of the answers that must be the same."""
    passed: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def parity_images(model: Exportable, paths: Sequence[Path]) -> Images:
    """Some of the images in `paths`, evenly chosen, as the exported model takes them; for a segmenter their middle.

    Raises:
        InputError: none of those looked at can be read.
    """
    wanted = DENSE_PARITY_IMAGES if isinstance(model, Segmenter) else PARITY_IMAGES
    prepared = (model.prepare(path) for path in paths[:: max(1, len(paths) // wanted)])
    images = list(islice((image for image in prepared if isinstance(image, Tensor)), wanted))
    if not images:
        raise InputError("none of the images looked at can be read; give --data with images to compare on")
    return torch.stack([center_crop(image, [exported_size(model)] * 2) for image in images])


def exported_size(model: Exportable) -> int:
    """Side of the images that the exported model takes: the model's own, of a segmenter up to whole cells."""
    size = model.preprocessing.image_size
    return -(-size // model.network.stride) * model.network.stride if isinstance(model, Segmenter) else size


def export_onnx(model: Exportable, images: Images, folder: Path) -> ParityReport:
    """Write `folder/model.onnx` and `folder/parity.json`.

    The file takes images (batch, 3, size, size) float32, prepared as its metadata say, with any batch size; the size is
    `exported_size`.

    Args:
        model: a classifier or segmenter on the CPU.
        images: (N, 3, size, size) prepared real images for the comparison, as of `parity_images`.
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


def _write(model: Exportable, path: Path) -> None:
    size, fused = exported_size(model), fuse(model)
    batch = torch.export.Dim("batch", min=1)
    program = torch.onnx.export(
        _PixelsAndCells(fused).eval() if isinstance(fused, Segmenter) else fused,
        (torch.zeros(2, 3, size, size),),
        dynamo=True,
        input_names=[INPUT],
        output_names=[OUTPUT, CELLS] if isinstance(fused, Segmenter) else [OUTPUT],
        dynamic_shapes=({0: batch},),
        external_data=False,
        verbose=False,
    )
    if program is None:
        raise RuntimeError("the exporter returned no program")
    description: dict[str, Any] = {"task": task_of(model), "class_names": model.class_names}
    if isinstance(model, Segmenter):
        description["colours"] = model.colours
    description["preprocessing"] = model.preprocessing.to_dict()
    program.model.metadata_props[METADATA] = json.dumps(description | {"nommer_version": version("nommer")})
    program.save(path)


class _PixelsAndCells(nn.Module):
    """Both outputs of an exported segmenter."""

    def __init__(self, model: Segmenter) -> None:
        super().__init__()
        self.network = model.network

    def forward(self, images: Images) -> tuple[PixelLogits, ClassMap]:
        cells = self.network.scores(images)
        return enlarge(cells, images, self.network.stride), cells


@torch.inference_mode()
def compare(reference: Exportable, exported: Exportable, images: Images) -> ParityReport:
    """Run both on the same prepared images, in batches of several sizes."""
    reference, dense = reference.eval(), isinstance(reference, Segmenter)
    batches, needed = (DENSE_BATCHES, 1 - ODD_PIXELS) if dense else (BATCHES, 1.0)
    largest, within, same, runs = 0.0, 0, 0, 0
    for size in batches:
        for part in torch.split(images, size):
            expected, found = reference(part), exported(part)
            scale = expected.abs().flatten(1).amax(1).clamp_min(1)
            differences = (expected - found).abs().amax(1).reshape(len(part), -1) / scale[:, None]
            largest = max(largest, differences.max().item())
            within += int((differences <= TOLERANCE).sum())
            same += int((expected.argmax(1) == found.argmax(1)).sum())
            runs += differences.numel()
    return ParityReport(
        images=len(images),
        batches=batches,
        largest_difference=largest,
        tolerance=TOLERANCE,
        within_tolerance=within,
        same_top1=same,
        runs=runs,
        needed=needed,
        passed=min(within, same) >= needed * runs,
    )
