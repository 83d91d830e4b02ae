"""The computation of a model as one `torch.export` program.

What every format of an export is written from.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import torch
from torch.export import Dim, ExportedProgram
from torch.fx.experimental import _config

from nommer.acceleration.fuse import fuse
from nommer.acceleration.split_attention import split_attention
from nommer.errors import InputError
from nommer.exporting.any_size import for_any_size
from nommer.models.onnx_files import FORMAT
from nommer.models.recogniser import Recogniser
from nommer.tasks.image_size import ImageSize
from nommer.tasks.registry import task_of

tracing: Any = _config
"""The tracer of torch; it has no types."""


def capture(
    model: Recogniser, size: ImageSize, *, whole: bool = False
) -> tuple[ExportedProgram, tuple[dict[int, Dim]], tuple[str, ...]]:
    """The program of the fused model, its open dimensions, and the names of its outputs.

    The dimensions are as `torch.export` takes them. For a `whole` file it has outputs of its own.

    Raises:
        InputError: the network cannot be traced so that the size of the images stays open.
    """
    task = task_of(model).exporting
    module = split_attention(fuse(model))
    open_sides = {0: Dim("batch", min=1)} if task.open_batch else {}
    if size.smallest is not None:
        module = for_any_size(module)
        open_sides |= {2: Dim("height", min=size.smallest), 3: Dim("width", min=size.smallest)}
    graph, outputs = (
        task.whole_graph(module) if whole else (task.graph(module), task.outputs_of(module))
    )
    traced = graph.eval()
    shapes, example = (open_sides,), torch.zeros(2 if 0 in open_sides else 1, 3, *size.traced)
    try:
        # Tracing would else take what happens to hold at the example's size, as how its memory
        # lies, for a condition.
        with (
            tracing.patch(backed_size_oblivious=size.smallest is not None),
            torch.no_grad(),
            without_torchvisions_warning(),
        ):
            program = torch.export.export(
                traced,
                (example,),
                dynamic_shapes=shapes,
                prefer_deferred_runtime_asserts_over_guards=size.smallest is not None,
            )
    except (RuntimeError, ValueError, AssertionError) as error:
        if size.smallest is None:
            raise
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"--dynamic-size: torch.export cannot trace this network for any size: {reason}"
        ) from error
    return program, shapes, outputs


@contextmanager
def without_torchvisions_warning() -> Iterator[None]:
    """Leave out a warning of torch about torchvision's suppression of doubles.

    It comes whenever that is traced.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`create_unbacked_symint`")
        yield


def describe(model: Recogniser, size: ImageSize, *, precision: str = "float32") -> dict[str, Any]:
    """Return all that whoever runs the file must know.

    Task, classes, preprocessing, and the images that it takes.
    """
    task = task_of(model).exporting
    return {
        "format": FORMAT,
        "task": model.task,
        "class_names": model.class_names,
        **model.labels(),
        **model.decisions.as_entry(),
        **task.describe(model),
        "outputs": task.outputs_of(model),
        "left_out": left_out(model, size),
        "preprocessing": model.preprocessing.to_dict(),
        "input": {
            "dynamic_batch": task.open_batch,
            "dynamic_size": size.smallest is not None,
            "size": size.usual,
            "smallest_size": size.smallest or size.usual,
        },
        "precision": precision,
        "nommer_version": version("nommer"),
    }


def left_out(model: Recogniser, size: ImageSize) -> tuple[str, ...]:
    """List what `predict` and `evaluate` do for the file, and other runtimes have to.

    And what is not there at all.
    """
    preparing = "decoding, resizing and normalising images, as `preprocessing` says"
    found = model.decisions.in_words(model.class_names)
    deciding = ("thresholds, calibration and refusals, as `decisions` says",) if found else ()
    return (preparing, *task_of(model).exporting.left_out(model, size), *deciding)
