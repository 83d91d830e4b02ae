"""The verbs that ship a model: as a file for other runtimes, and what it costs to run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from nommer.benchmarking.benchmark import run_benchmark
from nommer.benchmarking.results import BenchmarkResult
from nommer.exporting.delivery import (
    ExportPrecision,
    ExportResult,
    ExportSettings,
    FormatName,
    export_to_file,
)
from nommer.settings.benchmark import BenchmarkSettings


def export(
    model: Path | str,
    *,
    format: FormatName = "onnx",  # noqa: A002 - the option's name, as elsewhere
    dynamic_size: bool = False,
    precision: ExportPrecision = "float32",
    max_drop: float | None = None,
    data: Path | str | None = None,
    out: Path | str | None = None,
    overwrite: bool = False,
) -> ExportResult:
    """Export a model for other runtimes.

    Nothing is delivered unless it computes the same on real images.

    Args:
        model: run folder, model folder, published checkpoint, or name of the zoo, such as
            nommer_nano.
        format: onnx, or torch_export (a pt2 file); one file that holds class names and
            preprocessing in its metadata and takes any batch size.
        dynamic_size: let the file take images of any height and width from a smallest one; without,
            it takes those of the model's own size, of a segmenter windows of the size of the
            training crops.
        precision: float32, or int8 (onnx only): 8-bit integers, calibrated on `data`; what accuracy
            that costs is measured.
        max_drop: largest loss, 0 to 1, with which a model in int8 is delivered: of top-1 accuracy
            or mean IoU where the data is labelled, else the share of images with another answer. By
            default 0.01.
        data: folder with images (searched deeply) on which both are compared. By default the run's
            own data.
        out: folder for model.onnx or model.pt2, parity.json, and of int8 quantisation.json. By
            default a new one in the run folder.
        overwrite: put this export in the place of an earlier one in `out`, which goes when this one
            has passed.

    Returns:
        The parity report, and the folder.

    Raises:
        InputError: anything given that does not fit, or an export that computes something else.
    """
    return export_to_file(ExportSettings(**{**locals(), "model": Path(model)}))


def benchmark(
    *,
    models: str | Sequence[str] = "nommer_tiny",
    peers: str | Sequence[str] = "swin_tiny_patch4_window7_224",
    sizes: str | Sequence[int] = "224",
    batches: str | Sequence[int] = "1,4",
    precisions: str | Sequence[str] = "32",
    backends: str | Sequence[str] = "eager,fused",
    mode: Literal["inference", "training", "both"] = "inference",
    device: str = "auto",
    threads: int | None = None,
    rounds: int = 20,
    seconds: float = 2.0,
    minutes: float = 10.0,
    out: Path | str | None = None,
    overwrite: bool = False,
) -> BenchmarkResult:
    """Measure how fast networks are and what memory they need, against networks of timm, in turns
    in one process.

    Lists are written with commas. What cannot be run, too large for the memory for example, is a
    row that says so.

    Args:
        models: names in timm's registry, ours and others.
        peers: networks to compare with; ratios are against the first.
        sizes: sides of the square images in pixels; with several, time per image is drawn against
            them.
        batches: images per call; 1 for the time that one image takes.
        precisions: 32, bf16, 16 as train and evaluate compute (autocast); bf16-true, 16-true for
            weights in them too, inference only.
        backends: eager, compiled for the size at hand, blocks (of a NomMer, compiled with sizes
            open); for inference also fused, fused-compiled, fused-blocks, and onnxruntime (in 32,
            on the CPU).
        mode: inference, training (forward, backward and AdamW) or both.
        device: auto, cpu, cuda, cuda:1 or mps.
        threads: of the CPU. By default as many as torch takes.
        rounds: times that each is measured at most.
        seconds: time that each may take, warming up apart; 3 rounds are always measured where there
            are as many.
        minutes: after so many, what is left is left out, and said to be.
        out: folder for report.md, result.json and time_by_pixels.png. By default a new one,
            runs/benchmark.
        overwrite: delete earlier results in `out`.

    Returns:
        All measurements, and the folder.

    Raises:
        InputError: anything given that does not fit; the message says what was found and what to
            do.
    """
    return run_benchmark(
        BenchmarkSettings(**{**locals(), "out": None if out is None else Path(out)})
    )
