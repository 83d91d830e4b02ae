"""When the faster ways on the CPU apply: to plain tensors there, at work and not being translated."""

import torch
from torch import Tensor, nn

_PLAIN = (Tensor, nn.Parameter)


def at_work_on_cpu(*tensors: Tensor) -> bool:
    """Whether these are plain tensors of one dtype on the CPU, outside of compilers, exports, transforms and autocast.

    All of those look into what is computed, and know torch's own operators best.
    """
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return False
    if any(type(tensor) not in _PLAIN or tensor.device.type != "cpu" for tensor in tensors):
        return False
    return len({tensor.dtype for tensor in tensors}) == 1 and not torch.is_autocast_enabled("cpu")


def wants_gradient(*tensors: Tensor | None) -> bool:
    """Whether a product of these is to be remembered for the backward pass."""
    return torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)
