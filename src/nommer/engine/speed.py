"""What makes a network faster and changes nothing else: layout of weights, compilation; and the digits of float32."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from nommer.errors import InputError
from nommer.heads.classification import Classifier
from nommer.heads.segmentation import Segmenter

COMPILERS = ("g++", "clang++", "cl")

Output = TypeVar("Output")


def channels_last(model: nn.Module) -> None:
    """Lay the weights of convolutions out with the channels last, as token grids are; values and names stay.

    Convolutions then take and give token grids as they are, and GPUs use the kernels that are made for them. Other
    weights of four dimensions are no convolution kernels and keep their layout.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.to(memory_format=torch.channels_last)


def compiled(forward: Callable[[Tensor], Output]) -> Callable[[Tensor], Output]:
    """A function of images (B, channels, H, W), compiled at its first call.

    Every image size is compiled for itself, up to torch's limit of eight, after which it runs uncompiled: code for any
    size takes torch minutes to generate (`docs/performance.md`). Batches of any length share what is compiled.
    """
    translated: Any = torch.compile(forward)

    def call(images: Tensor) -> Output:
        torch._dynamo.mark_static(images, [2, 3])
        output: Output = translated(images)
        return output

    return call


def compile_inference(model: Any) -> None:
    """Have the forward pass of a classifier, segmenter or detector compiled from its first call on.

    The method is replaced on this one object: modules, names of weights and hooks stay. See `compiled`.
    """
    network = model.network
    method = {Classifier: "forward", Segmenter: "scores"}.get(type(model), "feature_maps")
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
    """Compute float32 as float32 on a GPU too: by default cuDNN's convolutions would round products to TF32.

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
    """Attention on a GPU without cuDNN's kernels, whose backward pass gives NaN for sequences like those of stage 3.

    Known of sequences of 64 tokens (an image of 64 pixels, stem of stride 2) on H100 and H200 with torch 2.11 to 2.13:
    https://github.com/pytorch/pytorch/issues/196678. Flash and memory-efficient attention take over.
    """
    enabled = torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]
    torch.backends.cuda.enable_cudnn_sdp(enabled=False)
    try:
        yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(enabled=enabled)
