"""Exported models behind the same interface as their originals, read from ONNX files alone."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nommer.checksums import check_stamp
from nommer.data.box_transforms import BoxPreprocessing
from nommer.data.joint_transforms import DensePreprocessing
from nommer.data.transforms import Preprocessing
from nommer.errors import InputError, quoted, shortened
from nommer.models.classification import Classifier
from nommer.models.descriptions import check_description_values
from nommer.models.detection import Detector
from nommer.models.inference import DenseNetwork
from nommer.models.rcnn import Image, ObjectNetwork
from nommer.models.segmentation import Segmenter
from nommer.progress import notice
from nommer.settings.rcnn import RCNNProtocol
from nommer.shapes import ClassMap, Images, Logits, PixelLogits

METADATA = "nommer"
"""Key of the metadata under which task, class names, colours, preprocessing and sizes stand, as
JSON.
"""

CHECKSUM = "nommer.sha256"
"""Key of the metadata under which the file's own checksum stands."""

INPUT, OUTPUT, CELLS = "images", "logits", "cells"
"""Names in the file. A segmenter has two outputs: class scores per pixel, and those per cell that
they come from.
"""

OBJECTS = ("boxes", "scores", "labels")
"""Outputs of a detector: (n, 4) in pixels of the image that it is given, (n,), and (n,) classes
counted from 0.
"""

_RANKS = {OUTPUT: (2, 4), CELLS: (4,)} | {"boxes": (2,), "scores": (1,), "labels": (1,)}
"""Dimensions of each output."""

FORMAT = 1
"""Version of the metadata; a reader refuses a newer one. Files without one are older and of the
first.
"""

SUFFIX = ".onnx"
"""Of the files that `load_exported` reads."""


@runtime_checkable
class Runtime(Protocol):
    """What computes an exported model, on the CPU."""

    name: str
    """As people call it."""

    def __call__(self, names: Sequence[str], images: Tensor) -> list[Tensor]:
        """The outputs of these names for images (B, 3, H, W) float32."""


def open_session(path: Path, *, threads: int | None = None) -> Any:
    """An `onnxruntime.InferenceSession` on the CPU.

    With so many threads, or as many as there are cores.

    ONNX Runtime is imported here, and with its telemetry off: else importing it would leave a file
    in the folder for temporary files and ask the network.

    Raises:
        InputError: a file that ONNX Runtime cannot read.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime  # noqa: PLC0415

    try:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except (
        Exception
    ) as error:  # its own have no common base, and a damaged file may raise nearly any of them
        raise InputError(f"{path}: cannot be read as an ONNX model: {error}") from error


class OnnxRuntime:
    """An ONNX model."""

    name = "ONNX Runtime"

    def __init__(self, session: Any) -> None:
        self.session = session

    def __call__(self, names: Sequence[str], images: Tensor) -> list[Tensor]:
        """The outputs of these names for images (B, 3, H, W) float32."""
        return [
            torch.from_numpy(output)
            for output in self.session.run(list(names), {INPUT: images.numpy()})
        ]


class ExportedNetwork(nn.Module):
    """An exported model as a module: images (B, 3, H, W) float32 to logits, on the CPU.

    Raises:
        InputError: what the file computes fails, or is not what its metadata say.
    """

    def __init__(self, runtime: Runtime, description: Mapping[str, Any], path: Path) -> None:
        super().__init__()
        self.runtime, self.path, self._padded = runtime, path, False
        self.num_classes = len(description["class_names"])
        self.precision = str(description["precision"])
        """Number format of its products: float32 or int8."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "ExportedNetwork":
        return self  # what runs it never changes

    def forward(self, images: Images) -> Logits | PixelLogits:
        """Class scores of prepared images (B, 3, H, W).

        (B, classes), of a segmenter (B, classes, H, W).
        """
        return self.run(OUTPUT, images)

    def notice_padding(self, side: int) -> None:
        """Say once that an image is padded because the file takes none with a side of less than
        `side` pixels.
        """
        if not self._padded:
            self._padded = True
            notice(
                f"{self.path}: takes images of {side} x {side} pixels or more; smaller ones are "
                "padded with zeros, and "
                "their answers differ from those of the model it was made from"
            )

    def run(self, output: str, images: Images) -> Tensor:
        """One output of the file."""
        (found,) = self.run_all((output,), images)
        return found

    def run_all(self, names: Sequence[str], images: Images) -> list[Tensor]:
        """Several outputs of the file."""
        try:
            found = self.runtime(names, images.float().cpu())
        except (
            Exception
        ) as error:  # whatever a runtime may raise of a file that was changed, or of a wrong size
            shape, reason = tuple(images.shape), str(error).strip().partition("\n")[0]
            raise InputError(
                f"{self.path}: cannot compute images of shape {shape}: {reason}"
            ) from error
        for name, output in zip(names, found, strict=True):
            if output.ndim not in _RANKS[name] or (
                name in (OUTPUT, CELLS) and len(output) != len(images)
            ):
                raise InputError(
                    f"{self.path}: gives {name} of shape {tuple(output.shape)} for images of shape "
                    f"{tuple(images.shape)}; export the model again"
                )
            classes = output.shape[1] if name in (OUTPUT, CELLS) else self.num_classes
            if classes != self.num_classes:
                raise InputError(
                    f"{self.path}: gives scores of {classes} classes, but its metadata name "
                    f"{self.num_classes}; "
                    "export the model again"
                )
        return [output.to(images.device) for output in found]


class ExportedDenseNetwork(ExportedNetwork, DenseNetwork):
    """An exported segmenter's network.

    It takes images of one size, or of any size from a smallest one.
    """

    def __init__(self, runtime: Runtime, description: Mapping[str, Any], path: Path) -> None:
        super().__init__(runtime, description, path)
        size = description["input"]
        self.stride, self.smallest = int(description["stride"]), int(size["smallest_size"])
        self.fixed_size = None if size["dynamic_size"] else int(size["size"])

    def scores(self, images: Images) -> ClassMap:
        """Class scores (B, classes, ceil(H / stride), ceil(W / stride)) of prepared images (B, 3,
        H, W).

        Images below the smallest size are padded with zeros at the right and bottom.
        """
        height, width = images.shape[-2:]
        below, beside = (max(0, self.smallest - side) for side in (height, width))
        if below or beside:
            self.notice_padding(self.smallest)
        cells = self.run(CELLS, F.pad(images, (0, beside, 0, below)) if below or beside else images)
        return cells[..., : -(-height // self.stride), : -(-width // self.stride)]


class ExportedObjectNetwork(ExportedNetwork, ObjectNetwork):
    """An exported detector's network; it takes one image at a time, of any size."""

    def __init__(self, runtime: Runtime, description: Mapping[str, Any], path: Path) -> None:
        super().__init__(runtime, description, path)
        self.protocol, self.has_masks = RCNNProtocol.from_dict(description["protocol"]), False
        self.smallest = int(description["input"]["smallest_size"])

    def detect(
        self, images: Sequence[Image], *, threshold: float, most: int
    ) -> list[dict[str, Tensor]]:
        """The objects in each image, as `RCNN.detect`.

        Raises:
            InputError: a lower threshold, or more answers, than the file was written with.
        """
        if threshold < self.protocol.threshold or most > self.protocol.most:
            raise InputError(
                f"an exported model answers with scores of {self.protocol.threshold:g} or more, at "
                "most "
                f"{self.protocol.most} times, got a threshold of {threshold:g} and {most} answers"
            )
        return [self._detect(image, threshold, most) for image in images]

    def _detect(self, image: Image, threshold: float, most: int) -> dict[str, Tensor]:
        height, width = image.shape[-2:]
        below, beside = (max(0, self.smallest - side) for side in (height, width))
        if below or beside:
            self.notice_padding(self.smallest)
        boxes, scores, labels = self.run_all(OBJECTS, F.pad(image[None], (0, beside, 0, below)))
        boxes = boxes.minimum(torch.tensor([width, height] * 2).to(boxes))
        kept = (scores > threshold).nonzero()[:most, 0]
        return {"boxes": boxes[kept], "scores": scores[kept], "labels": labels[kept] + 1}


def load_exported(path: Path) -> Classifier | Segmenter | Detector:
    """Load an ONNX file that `nommer export` wrote.

    Raises:
        InputError: a file that cannot be read, or that lacks the class names and the preprocessing.
    """
    try:
        check_stamp(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    session = open_session(path)
    try:
        description = _read(session.get_modelmeta().custom_metadata_map[METADATA])
        _check_graph(session, description)
        return build_exported(OnnxRuntime(session), description, path)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: was not written by `nommer export`, its metadata lack or spoil "
            f"{shortened(str(error), 200)}"
        ) from error


def _check_graph(session: Any, description: Mapping[str, Any]) -> None:
    """Refuse a graph that does not take images, or does not give what its metadata say.

    Raises:
        InputError: what was found and expected.
    """
    taken = {entry.name: (entry.type, len(entry.shape)) for entry in session.get_inputs()}
    if taken != {INPUT: ("tensor(float)", 4)}:
        raise InputError(
            f"takes {shortened(str(taken), 200)}, expected {INPUT} (batch, 3, height, width)"
        )
    given = {entry.name: len(entry.shape) for entry in session.get_outputs()}
    for name in description["outputs"]:
        ranks = _RANKS.get(name, ())
        if name == OUTPUT:
            ranks = (4 if description["task"] == "segmentation" else 2,)
        if given.get(name) not in ranks:
            raise InputError(
                f"gives {shortened(name)} with {given.get(name, 'no')} dimensions, expected "
                f"{' or '.join(map(str, ranks)) or 'another name'}; export the model again"
            )


def build_exported(
    runtime: Runtime, description: dict[str, Any], path: Path
) -> Classifier | Segmenter | Detector:
    """The model that `runtime` computes, as its metadata describe it."""
    return _BUILDERS[description["task"]](runtime, description, path).eval()


def _read(text: str) -> dict[str, Any]:
    """The metadata of nommer.

    Raises:
        InputError: a newer nommer wrote them, or they are for a task that this one does not know.
    """
    description = json.loads(text)
    if not isinstance(description, dict):
        raise TypeError("everything")
    found = description.get("format", FORMAT)
    if found != FORMAT:
        raise InputError(
            f"written by a newer nommer (format {quoted(found)}, known: {FORMAT}); upgrade nommer"
        )
    if description["task"] not in _BUILDERS:
        raise InputError(
            f"a model for the task {quoted(description['task'])}, which this nommer does not know "
            f"(known: {', '.join(_BUILDERS)}); upgrade nommer"
        )
    check_description_values(description)
    return description


def _classifier(runtime: Runtime, description: dict[str, Any], path: Path) -> Classifier:
    return Classifier(
        ExportedNetwork(runtime, description, path),
        class_names=description["class_names"],
        class_ids=description.get("class_ids", ()),
        preprocessing=Preprocessing(**description["preprocessing"]),
        threshold=description.get("threshold"),
    )


def _segmenter(runtime: Runtime, description: dict[str, Any], path: Path) -> Segmenter:
    return Segmenter(
        ExportedDenseNetwork(runtime, description, path),
        class_names=description["class_names"],
        colours=description["colours"],
        preprocessing=DensePreprocessing(**description["preprocessing"]),
    )


def _detector(runtime: Runtime, description: dict[str, Any], path: Path) -> Detector:
    return Detector(
        ExportedObjectNetwork(runtime, description, path),
        class_names=description["class_names"],
        category_ids=description["category_ids"],
        preprocessing=BoxPreprocessing(**description["preprocessing"]),
    )


_BUILDERS: dict[
    str, Callable[[Runtime, dict[str, Any], Path], Classifier | Segmenter | Detector]
] = {
    "classification": _classifier,
    "multi-label classification": _classifier,
    "segmentation": _segmenter,
    "detection": _detector,
}
"""How the model of each task is built from what runs it and what its metadata say."""
