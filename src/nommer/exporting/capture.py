"""The computation of a model as one `torch.export` program.

What every format of an export is written from.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import torch
from torch import nn
from torch.export import Dim, ExportedProgram
from torch.fx.experimental import _config

from nommer.acceleration.fuse import fuse
from nommer.backbone.network import NomMer
from nommer.errors import InputError
from nommer.exporting.any_size import for_any_size
from nommer.exporting.objects import ObjectsOfOne
from nommer.models.classification import Classifier
from nommer.models.detection import Detector
from nommer.models.exported import CELLS, FORMAT, OBJECTS, OUTPUT
from nommer.models.pyramid import OnBackbone
from nommer.models.segmentation import Segmenter
from nommer.models.storage import task_of
from nommer.models.upernet import enlarge
from nommer.shapes import ClassMap, Images, PixelLogits

Exportable = Classifier | Segmenter | Detector


tracing: Any = _config
"""How torch traces; it has no types."""

_OUTPUTS = {
    "classification": (OUTPUT,),
    "multi-label classification": (OUTPUT,),
    "segmentation": (OUTPUT, CELLS),
    "detection": OBJECTS,
}
"""Names of what comes out, by task."""


_ODD = 17
"""By which the sides that are traced differ from twice the smallest."""


@dataclass(frozen=True)
class ImageSize:
    """What images an exported model takes: (batch, 3, height, width), any number of them."""

    usual: int
    """Side of the images that it was made for; the only one where the size is fixed."""
    smallest: int | None = None
    """Least height and width where any larger one will do; None where the size is fixed."""

    @property
    def examples(self) -> tuple[tuple[int, int], ...]:
        """Heights and widths at which the exported model is compared."""
        if self.smallest is None:
            return ((self.usual, self.usual),)
        low = max(self.smallest, 3 * self.usual // 4)
        return (
            (max(self.usual, self.smallest),) * 2,
            (low + 1, low + low // 2),
            (2 * low + 3, low),
        )

    @property
    def traced(self) -> tuple[int, int]:
        """Height and width at which the model is traced.

        Where they are open, sides that nothing divides.
        """
        if self.smallest is None:
            return self.usual, self.usual
        low = max(self.smallest, _ODD)
        return 2 * low - _ODD, 2 * low + _ODD


def image_size(model: Exportable, *, dynamic: bool) -> ImageSize:
    """The size of the images that `model` is exported for.

    Its own, of a segmenter up to whole cells.

    A detector's is open in any case, for every image has its own.
    """
    if isinstance(model, Detector):
        return ImageSize(model.preprocessing.short_side, _smallest(model))
    side = model.preprocessing.image_size
    if isinstance(model, Segmenter):
        side = -(-side // model.network.stride) * model.network.stride
    return ImageSize(side, _smallest(model) if dynamic else None)


def _smallest(model: Exportable) -> int:
    """More than one cell of the coarsest grid, one window and one block.

    Tracing takes a single one for a constant.
    """
    network: Any = (
        model.network.backbone if isinstance(model.network, OnBackbone) else model.network
    )
    reductions = [info["reduction"] for info in network.feature_info]
    if not isinstance(network, NomMer):
        return int(2 * reductions[-1] + 1)
    config = network.config
    blocks = [
        size * reduction
        for size, reduction in zip(config.block_sizes, config.reductions, strict=False)
    ]
    least = (
        2 * config.reductions[-1] if isinstance(model, Detector) else config.reductions[-1]
    )  # one more map
    return max(least, config.window_size * config.reductions[len(blocks) - 1], *blocks) + 1


def capture(model: Exportable, size: ImageSize) -> tuple[ExportedProgram, tuple[dict[int, Dim]]]:
    """The program of the fused model, and its open dimensions as `torch.export` takes them.

    Raises:
        InputError: the network cannot be traced so that the size of the images stays open.
    """
    module: nn.Module = fuse(model)
    open_sides = {} if isinstance(model, Detector) else {0: Dim("batch", min=1)}
    if size.smallest is not None:
        module = for_any_size(module)
        open_sides |= {2: Dim("height", min=size.smallest), 3: Dim("width", min=size.smallest)}
    if isinstance(module, Segmenter | Detector):
        module = (
            PixelsAndCells(module) if isinstance(module, Segmenter) else ObjectsOfOne(module)
        ).eval()
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
                module,
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
    return program, shapes


@contextmanager
def without_torchvisions_warning() -> Iterator[None]:
    """Leave out a warning that torchvision's suppression of doubles causes in torch, whenever it is
    traced.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`create_unbacked_symint`")
        yield


def describe(model: Exportable, size: ImageSize, *, precision: str = "float32") -> dict[str, Any]:
    """All that whoever runs the file must know.

    Task, classes, preprocessing, and what images it takes.
    """
    description: dict[str, Any] = {
        "format": FORMAT,
        "task": task_of(model),
        "class_names": model.class_names,
    }
    if isinstance(model, Segmenter):
        description |= {"colours": model.colours, "stride": model.network.stride}
    elif isinstance(model, Detector):
        description |= {
            "category_ids": model.category_ids,
            "protocol": asdict(model.network.protocol),
        }
    else:
        description |= {"class_ids": model.class_ids} if model.class_ids else {}
        description |= {} if model.threshold is None else {"threshold": model.threshold}
    description["outputs"] = _OUTPUTS[description["task"]]
    description["left_out"] = left_out(model, size)
    description["preprocessing"] = model.preprocessing.to_dict()
    description["input"] = {
        "dynamic_batch": not isinstance(model, Detector),
        "dynamic_size": size.smallest is not None,
        "size": size.usual,
        "smallest_size": size.smallest or size.usual,
    }
    return description | {"precision": precision, "nommer_version": version("nommer")}


def left_out(model: Exportable, size: ImageSize) -> tuple[str, ...]:
    """What `predict` and `evaluate` do for the file, and other runtimes have to.

    And what is not there at all.
    """
    found = ["decoding, resizing and normalising images, as `preprocessing` says"]
    if isinstance(model, Detector):
        if model.network.has_masks:
            found.append("masks of the objects: the file finds classes and boxes")
        return (
            *found,
            "bringing boxes to the size of the original image",
            "batches: one image at a time",
        )
    if isinstance(model, Segmenter):
        if size.smallest is None:
            found.append(
                f"going over larger images in windows of {size.usual} x {size.usual} pixels"
            )
        return (*found, "bringing scores to the size of the original image")
    return found[0], f"the {'softmax' if model.threshold is None else 'sigmoid'} of the scores"


class PixelsAndCells(nn.Module):
    """Both outputs of an exported segmenter."""

    def __init__(self, model: Segmenter) -> None:
        super().__init__()
        self.network = model.network

    def forward(self, images: Images) -> tuple[PixelLogits, ClassMap]:
        """Class scores of every pixel (B, classes, H, W), and those of the cells that they come
        from.
        """
        cells = self.network.scores(images)
        return enlarge(cells, images, self.network.stride), cells
