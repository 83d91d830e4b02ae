"""Compilation, layout of weights, and settings of the GPU's libraries, around whole networks."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from nommer.backbone.network import NomMer
from nommer.backbone.stage import Stage
from nommer.errors import InputError
from nommer.models.recogniser import Recogniser

COMPILERS = ("g++", "clang++", "cl")

_OPEN_SIZES = ("force_layout_optimization", "strict_output_strides")
"""Options of torch's compiler that keep the backward pass of a convolution from fixing the sides.

The first keeps it from asking for the order of strides that are open, the second has views take the
strides that they had.
"""

_MOST_GRAPHS = 64
"""Graphs of blocks of one class: per stage, drop path and mode, and for grids of a single part."""

Output = TypeVar("Output")


def channels_last(model: nn.Module) -> None:
    """Lay the weights of convolutions out with the channels last, as token grids are.

    Values and names stay. Convolutions then take and give token grids as they are, and GPUs use the
    kernels that are made for them; on CPUs networks of convolutions train and teach in 0.6 to 1.05
    of the time (`docs/performance.md`). Other weights of four dimensions are no convolution kernels
    and keep their layout.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.to(memory_format=torch.channels_last)


def compiled(forward: Callable[[Tensor], Output]) -> Callable[[Tensor], Output]:
    """Return a function of images (B, channels, H, W), compiled as a whole at its first call.

    Every image size is compiled for itself, up to torch's limit of eight, after which it runs
    uncompiled; for images of many sizes there is `compile_blocks`. Batches of any length share what
    is compiled.
    """
    translated: Any = torch.compile(forward)

    def call(images: Tensor) -> Output:
        torch._dynamo.mark_static(images, [2, 3])
        output: Output = translated(images)
        return output

    return call


def compile_blocks(model: nn.Module) -> bool:
    """Have stem, downsampling and every block of a NomMer compiled at their first call.

    Sizes stay open, so a few graphs serve images of all sizes, in training too. Of the whole
    network torch does not generate such code in useful time: its sizes are nested roundings, while
    those of each part are new symbols.

    Returns:
        True where there is a NomMer in `model`.
    """
    network = next((module for module in model.modules() if isinstance(module, NomMer)), None)
    if network is None:
        return False
    options = {name: True for name in _OPEN_SIZES if hasattr(torch._inductor.config, name)}
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _MOST_GRAPHS)
    stages = cast("Iterable[Stage]", network.stages)
    parts = [
        network.stem,
        *(part for stage in stages for part in (stage.downsample, *stage.blocks)),
    ]
    for part in parts:
        part.compile(dynamic=True, options=options)
    return True


def compile_inference(model: Recogniser) -> None:
    """Have the forward pass of a classifier, segmenter or detector compiled at its first call.

    A classifier's images have one size; the others' have many, so there it is the blocks of a
    NomMer, and of another network the whole, for each size. Modules, names of weights and hooks
    stay. See `compiled` and `compile_blocks`.
    """
    network = model.network
    if not model.one_size and compile_blocks(network):
        return
    method = model.inference_method
    setattr(network, method, compiled(getattr(network, method)))


def check_compiler() -> None:
    """Refuse to compile where torch would find no compiler.

    Raises:
        InputError: none of those that are looked for.
    """
    wanted = os.environ.get("CXX")
    if not any(shutil.which(name) for name in ((wanted,) if wanted else COMPILERS)):
        raise InputError(
            f"--compile: torch needs a C++ compiler and there is none on the path "
            f"(looked for {wanted or ', '.join(COMPILERS)}); install one or leave out --compile"
        )


@contextmanager
def exact_float32() -> Iterator[None]:
    """Compute float32 as float32 on a GPU too: cuDNN's convolutions would round products to TF32.

    Who asks for `--precision 32` wants its digits; for speed there is bf16.
    """
    rounded = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = rounded


@contextmanager
def sound_attention() -> Iterator[None]:
    """Keep attention on a GPU from cuDNN's kernels, whose backward pass gives NaN in stage 3.

    Known of sequences of 64 tokens (an image of 64 pixels, stem of stride 2) on H100 and H200 with
    torch 2.11 to 2.13: https://github.com/pytorch/pytorch/issues/196678. Flash and memory-efficient
    attention take over.
    """
    enabled = torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]
    torch.backends.cuda.enable_cudnn_sdp(enabled=False)
    try:
        yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(enabled=enabled)
