"""Conditions of the processor's own operators: plain tensors, into which nothing looks."""

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

_PLAIN = (Tensor, nn.Parameter)


def at_work_on_cpu(*tensors: Tensor) -> bool:
    """Tell plain tensors of one dtype on the CPU, outside of compilers, transforms and autocast."""
    same = len({tensor.dtype for tensor in tensors}) == 1
    return same and not torch.is_autocast_enabled("cpu") and plain_on_cpu(*tensors)


def plain_on_cpu(*tensors: Tensor) -> bool:
    """Tell plain tensors on the CPU, outside of compilers and transforms.

    Those look into what is computed and know torch's own operators best. So do forward
    differentiation, and modes called in the place of every operator, such as one that counts work.
    """
    if torch.compiler.is_compiling() or _looked_into():
        return False
    return all(type(tensor) in _PLAIN and tensor.device.type == "cpu" for tensor in tensors)


def _looked_into() -> bool:
    transformed = torch._C._are_functorch_transforms_active()
    counted = torch._C._len_torch_dispatch_stack() > 0
    return transformed or counted or forward_ad._current_level >= 0


def wants_gradient(*tensors: Tensor | None) -> bool:
    """Tell whether a product of these is to be remembered for the backward pass."""
    return torch.is_grad_enabled() and any(
        tensor is not None and tensor.requires_grad for tensor in tensors
    )
