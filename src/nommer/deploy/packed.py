"""Linear layers and convolutions whose weights lie in memory as the processor's matrix products want them.

torch's own layers bring float32 weights into that order again at every call, or (linear layers) use a library that is
slower on many processors; and they write what an activation or an addition then reads again. Here oneDNN packs the
weights once and does the activation or the addition on the way out, through the same operators that torch.compile uses
(`torch.ops.mkldnn`). Where they do not apply (another device or dtype, autocast, gradients, tracing for a compiler or
an export) each layer is the plain one that it is made from: its literal twin, with which the tests compare it.
"""

from typing import Any, Literal, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nommer.backbone.linear import Linear

Activation = Literal["none", "relu", "gelu"]

_ACTIVATIONS = {"none": lambda x: x, "relu": F.relu, "gelu": F.gelu}
_OPERATORS = torch.ops.mkldnn


def _packs(dtype: torch.dtype) -> bool:
    """Whether oneDNN computes in this dtype on this processor."""
    if not torch._C._has_mkldnn or not torch.backends.mkldnn.enabled:
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and _OPERATORS._is_mkldnn_bf16_supported())


class _Packed(nn.Module):
    """A layer with `weight` and `bias` that keeps its packed weight beside them, made when it is first used."""

    weight: Tensor
    bias: Tensor | None
    _packed: Tensor | None = None

    def packed(self, x: Tensor) -> Tensor | None:
        """The packed weight, or None where the plain layer has to do for `x`."""
        if torch.compiler.is_compiling() or x.device.type != "cpu" or x.dtype != self.weight.dtype:
            return None
        if torch.is_autocast_enabled("cpu") or not _packs(x.dtype):
            return None
        if torch.is_grad_enabled() and (x.requires_grad or self.weight.requires_grad):
            return None
        if self._packed is None:
            self._packed = self._pack(x)
        return self._packed

    def _pack(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def _apply(self, fn: Any, recurse: bool = True) -> "_Packed":
        self._packed = None  # of another device or dtype from now on
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    def _load_from_state_dict(self, *args: Any, **options: Any) -> None:
        self._packed = None
        super()._load_from_state_dict(*args, **options)

    def __getstate__(self) -> dict[str, Any]:
        """Without the packed weight, which can be neither copied nor stored."""
        return self.__dict__ | {"_packed": None}


class PackedLinear(_Packed):
    """`activation(linear(x))`, or with a `residual` `linear(x) + residual`."""

    def __init__(self, linear: nn.Linear, activation: Activation = "none") -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias, self.activation = linear.weight, linear.bias, activation

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """(..., in_features) to (..., out_features), of which `residual` has the shape."""
        packed = self.packed(x)
        if packed is None:
            out = _ACTIVATIONS[self.activation](F.linear(x, self.weight, self.bias))
            return out if residual is None else out + residual
        if residual is not None:
            return _OPERATORS._linear_pointwise.binary(x, residual, packed, self.bias, "add")
        return _OPERATORS._linear_pointwise(x, packed, self.bias, self.activation, [], "none")

    def _pack(self, x: Tensor) -> Tensor:
        return _OPERATORS._reorder_linear_weight(self.weight.detach().contiguous())


class PackedConv2d(_Packed):
    """`activation(convolution(x))`, or with a `residual` `activation(convolution(x) + residual)`; no gelu."""

    def __init__(self, conv: nn.Conv2d, activation: Literal["none", "relu"] = "none") -> None:
        super().__init__()
        self.weight, self.bias, self.activation = conv.weight, conv.bias, activation
        self.kernel_size, self.stride, self.padding = conv.kernel_size, conv.stride, conv.padding
        self.dilation, self.groups = conv.dilation, conv.groups

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """(B, channels, H, W) to what the convolution makes of it, of which `residual` has the shape."""
        packed, where = self.packed(x), (self.padding, self.stride, self.dilation, self.groups)
        if packed is None:
            out = F.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)
            return _ACTIVATIONS[self.activation](out if residual is None else out + residual)
        if residual is None:
            return _OPERATORS._convolution_pointwise(x, packed, self.bias, *where, self.activation, [], "")
        if x.dtype != torch.float32 and self.groups > 1:  # add_relu is not there for it
            out = _OPERATORS._convolution_pointwise(x, packed, self.bias, *where, "none", [], "") + residual
            return _ACTIVATIONS[self.activation](out)
        then = None if self.activation == "none" else self.activation
        return _OPERATORS._convolution_pointwise.binary(
            x, residual, packed, self.bias, *where, "add", 1.0, then, [], ""
        )

    def _pack(self, x: Tensor) -> Tensor:
        weight = self.weight.detach()
        where = (self.padding, self.stride, self.dilation, self.groups)
        return _OPERATORS._reorder_convolution_weight(weight, *where, list(x.shape))


def can_pack(module: nn.Module) -> TypeGuard[nn.Linear | nn.Conv2d]:
    """Whether this is a plain linear layer, or a plain convolution whose padding is a number of zeros."""
    if type(module) is nn.Conv2d:
        return module.padding_mode == "zeros" and not isinstance(module.padding, str)
    return type(module) in (nn.Linear, Linear)


def pack(module: nn.Linear | nn.Conv2d, activation: Activation = "none") -> "PackedLinear | PackedConv2d":
    """The packed layer that computes `activation(module(x))`; it shares its parameters with `module`."""
    if isinstance(module, nn.Linear):
        return PackedLinear(module, activation)
    if activation == "gelu":
        raise ValueError("a packed convolution ends with relu or none, got gelu")
    return PackedConv2d(module, activation)
