"""The networks that `nommer benchmark` runs, and how each backend and precision runs them."""

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import timm
import torch
import torch.nn.functional as F
from timm.optim import create_optimizer_v2
from torch import Tensor, nn

from nommer.acceleration.compile import channels_last, compile_blocks
from nommer.acceleration.fuse import fuse
from nommer.acceleration.split_attention import split_attention
from nommer.acceleration.training import accelerate
from nommer.benchmarking.cases import Case
from nommer.errors import InputError
from nommer.models.onnx_files import open_session

DTYPES = {"32": torch.float32, "bf16": torch.bfloat16, "16": torch.float16}
"""The number formats in which precisions compute products."""

NUM_CLASSES = 1000

Step = Callable[[], Any]


def dtype_of(precision: str) -> torch.dtype:
    """The number format of a precision's products."""
    return DTYPES[precision.removesuffix("-true")]


def build(name: str, size: int) -> nn.Module:
    """Build a network of timm's registry for images of `size` x `size`, from a fixed seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            return timm.create_model(name, num_classes=NUM_CLASSES, img_size=size)
        except TypeError:  # a network that does not ask for the size
            return timm.create_model(name, num_classes=NUM_CLASSES)


class Networks:
    """The networks of a benchmark on its device, each built once per image size.

    Args:
        device: what torch calls it.
        builders: how to build the networks that are not timm's, by name, for a size.
    """

    def __init__(
        self, device: str, builders: dict[str, Callable[[int], nn.Module]] | None = None
    ) -> None:
        self.device = torch.device(device)
        self.builders = builders or {}
        self._built: dict[tuple[Any, ...], nn.Module] = {}
        self._size = 0

    def plain(self, name: str, size: int) -> nn.Module:
        """The network as it is; only those of one size are kept."""
        if size != self._size:
            self._built, self._size = {}, size
        if (name,) not in self._built:
            network = self.builders[name](size) if name in self.builders else build(name, size)
            channels_last(network)
            self._built[name,] = network.to(self.device)
        return self._built[name,]

    def inference(self, case: Case) -> nn.Module:
        """The network as a backend and precision want it, for inference; not yet compiled."""
        key = (
            case.model,
            "fused" in case.backend or case.backend == "onnxruntime",
            case.precision.endswith("true"),
        )
        plain = self.plain(case.model, case.size)
        if key not in self._built:
            network = fuse(plain) if key[1] and hasattr(plain, "config") else plain
            channels_last(network)
            if key[2]:
                network = copy.deepcopy(network).to(dtype_of(case.precision))
            self._built[key] = network
        return self._built[key].eval()

    def step(self, case: Case) -> tuple[Step, Callable[[], int]]:
        """Return the call to time, and a function that tells the bytes it keeps between calls.

        Raises:
            Exception: whatever building, exporting or the first call to a compiler may raise.
        """
        if case.mode == "training":
            return self.training_step(self.training(case), case)
        network = with_open_sizes(self.inference(case), case)
        images = self._images(case)
        if case.backend == "onnxruntime":
            return _onnxruntime(network, images), lambda: num_bytes(network)
        forward = compiled(network) if "compiled" in case.backend else network
        images = images.to(dtype_of(case.precision)) if case.precision.endswith("true") else images

        def infer() -> None:
            with torch.inference_mode(), self._autocast(case):
                forward(images)

        return infer, lambda: num_bytes(network)

    def training(self, case: Case) -> nn.Module:
        """Return a network of its own that is trained, as `nommer train` does; not yet compiled."""
        return accelerate(copy.deepcopy(self.plain(case.model, case.size)).train())

    def training_step(self, network: nn.Module, case: Case) -> tuple[Step, Callable[[], int]]:
        """Return a training step to time, and a function that tells the bytes it keeps."""
        network = with_open_sizes(network, case)
        images = self._images(case)
        labels = torch.arange(case.batch, device=self.device) % NUM_CLASSES
        forward = compiled(network) if "compiled" in case.backend else network
        fused: dict[str, Any] = {"fused": True} if self.device.type == "cuda" else {}
        optimizer = create_optimizer_v2(network, "adamw", lr=1e-5, weight_decay=0.05, **fused)
        scaler = torch.GradScaler(self.device.type, enabled=case.precision == "16")

        def train() -> None:
            optimizer.zero_grad(set_to_none=True)
            with self._autocast(case):
                loss = F.cross_entropy(forward(images).float(), labels)
            scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            scaler.step(optimizer)
            scaler.update()

        def kept() -> int:
            optimizer.zero_grad(set_to_none=True)
            states = (value for state in optimizer.state.values() for value in state.values())
            return num_bytes(network) + sum(
                value.nbytes for value in states if isinstance(value, Tensor)
            )

        return train, kept

    def _images(self, case: Case) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        return torch.randn(case.batch, 3, case.size, case.size, generator=generator).to(self.device)

    def _autocast(self, case: Case) -> AbstractContextManager[Any]:
        if case.precision == "32" or case.precision.endswith("true"):
            return nullcontext()
        return torch.autocast(self.device.type, dtype=dtype_of(case.precision))


def compiled(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """The forward pass, to be compiled for one size at its first call."""
    return cast("Callable[[Tensor], Tensor]", torch.compile(network.forward, dynamic=False))


def with_open_sizes(network: nn.Module, case: Case) -> nn.Module:
    """A copy whose blocks are compiled at their first call, where the backend says so.

    Else the network.

    Raises:
        InputError: it has no blocks of a NomMer.
    """
    if "blocks" not in case.backend:
        return network
    copied = copy.deepcopy(network)
    if not compile_blocks(copied):
        raise InputError(f"{case.model}: only the blocks of a NomMer are compiled with sizes open")
    return copied


def num_bytes(network: nn.Module) -> int:
    """Bytes of the weights and buffers, packed ones included."""
    held = [*network.parameters(), *network.buffers()]
    return sum(tensor.nbytes for tensor in held)


def _onnxruntime(network: nn.Module, images: Tensor) -> Step:
    """Run an ONNX file of the network in ONNX Runtime, with as many threads as torch has."""
    network = split_attention(copy.deepcopy(network))
    with TemporaryDirectory(prefix="nommer-") as folder:
        session = open_session(
            write_onnx(network, images, Path(folder)), threads=torch.get_num_threads()
        )
    given = {session.get_inputs()[0].name: images.numpy()}
    return lambda: session.run(None, given)


def write_onnx(network: nn.Module, images: Tensor, folder: Path) -> Path:
    """An ONNX file of the network, by torch's exporter, for images of this shape."""
    path = folder / "model.onnx"
    torch.onnx.export(network, (images,), path, dynamo=True, external_data=False, verbose=False)
    return path
