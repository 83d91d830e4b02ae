"""Linear layers and convolutions whose weights lie as the processor's matrix products want them.

torch's own layers bring float32 weights into that order again at every call, or (linear layers) use
a library that is slower on many processors; and they write what an activation or an addition then
reads again. Here oneDNN packs the weights once and does the activation or the addition on the way
out, through the same operators that torch.compile uses (`torch.ops.mkldnn`); in what torch.compile
makes, each layer is one operator (`custom_op`). Under autocast the weight is cast once, when it is
packed, where autocast would cast it at every call. Where they do not apply (another device or
dtype, gradients, an export, a count of operations) each layer is the plain one that it is made
from: its literal twin, with which the tests compare it.
"""

from typing import Any, Literal, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nommer.acceleration.cpu import at_work_on_cpu, plain_on_cpu, wants_gradient
from nommer.acceleration.custom_op import packed_layer, register

Activation = Literal["none", "relu", "gelu"]

_ACTIVATIONS = {"none": lambda x: x, "relu": F.relu, "gelu": F.gelu}
_AUTOCAST = (torch.float32, torch.bfloat16)
"""What autocast brings to its own dtype; it leaves float64 as it is."""
_OPERATORS = torch.ops.mkldnn
_HAS_BF16 = torch._C._has_mkldnn and _OPERATORS._is_mkldnn_bf16_supported()


def _packs(dtype: torch.dtype) -> bool:
    """Tell whether oneDNN computes in this dtype on this processor."""
    if not torch._C._has_mkldnn or not torch.backends.mkldnn.enabled:
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and _HAS_BF16)


class _Packed(nn.Module):
    """A layer that keeps its packed weight beside `weight` and `bias`, made when first used."""

    weight: Tensor
    bias: Tensor | None
    _packed: tuple[Tensor, Tensor | None, torch.dtype] | None = None
    """Weight and bias as they are computed with, and their dtype."""

    def __init__(self) -> None:
        super().__init__()
        self._number = register(self)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """Compute the layer, and add a `residual` of the shape that comes out."""
        if self.autocasts(x):
            return self.compute(x.to(torch.get_autocast_dtype("cpu")), residual)
        if not self.applies(x):
            return self.plain(x, residual)
        if torch.compiler.is_compiling():
            return packed_layer(x, residual, self._number)
        return self.compute(x, residual)

    def applies(self, x: Tensor) -> bool:
        """Tell whether packed weights apply to `x`; else the plain layer has to do."""
        if torch.compiler.is_exporting() or not _packs(x.dtype) or wants_gradient(x, self.weight):
            return False
        if not torch.compiler.is_compiling():
            return at_work_on_cpu(x, self.weight)
        return (
            x.device.type == "cpu"
            and x.dtype == self.weight.dtype
            and not torch.is_autocast_enabled("cpu")
        )

    def autocasts(self, x: Tensor) -> bool:
        """Tell whether packed weights apply to `x` in the dtype that autocast brings it to."""
        if not torch.is_autocast_enabled("cpu") or wants_gradient(x, self.weight):
            return False
        cast = x.dtype in _AUTOCAST and self.weight.dtype in _AUTOCAST
        return cast and _packs(torch.get_autocast_dtype("cpu")) and plain_on_cpu(x, self.weight)

    def packed(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return packed weight and bias in the dtype of `x`, made for the first one of it."""
        if self._packed is None or self._packed[-1] != x.dtype:
            bias = None if self.bias is None else self.bias.detach().to(x.dtype)
            self._packed = self._pack(self.weight.detach().to(x.dtype), x), bias, x.dtype
        weight, bias, _ = self._packed
        return weight, bias

    def plain(self, x: Tensor, residual: Tensor | None) -> Tensor:
        """Compute as `compute` does, by torch's own operators: its literal twin."""
        raise NotImplementedError

    def compute(self, x: Tensor, residual: Tensor | None) -> Tensor:
        """Compute the layer by its packed weight."""
        raise NotImplementedError

    def shaped(self, x: Tensor) -> Tensor:
        """Return a tensor of the shape and layout that comes out."""
        raise NotImplementedError

    def _pack(self, weight: Tensor, x: Tensor) -> Tensor:
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

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._number = register(self)


class PackedLinear(_Packed):
    """`activation(linear(x))`, or with a `residual` `linear(x) + residual`."""

    def __init__(self, linear: nn.Linear, activation: Activation = "none") -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias, self.activation = linear.weight, linear.bias, activation

    def plain(self, x: Tensor, residual: Tensor | None) -> Tensor:
        """(..., in_features) to (..., out_features), of which `residual` has the shape."""
        out = _ACTIVATIONS[self.activation](F.linear(x, self.weight, self.bias))
        return out if residual is None else out + residual

    def compute(self, x: Tensor, residual: Tensor | None) -> Tensor:
        """As `plain`."""
        packed, bias = self.packed(x)
        if residual is not None and residual.dtype == x.dtype:
            return _OPERATORS._linear_pointwise.binary(x, residual, packed, bias, "add")
        out = _OPERATORS._linear_pointwise(x, packed, bias, self.activation, [], "none")
        return out if residual is None else out + residual

    def shaped(self, x: Tensor) -> Tensor:
        """(..., out_features)."""
        return x.new_empty(*x.shape[:-1], self.out_features)

    def _pack(self, weight: Tensor, x: Tensor) -> Tensor:
        return _OPERATORS._reorder_linear_weight(weight.contiguous())


class PackedConv2d(_Packed):
    """`activation(conv(x))`, or with a `residual` `activation(conv(x) + residual)`."""

    def __init__(self, conv: nn.Conv2d, activation: Literal["none", "relu"] = "none") -> None:
        super().__init__()
        self.weight, self.bias, self.activation = conv.weight, conv.bias, activation
        self.kernel_size, self.stride, self.padding = conv.kernel_size, conv.stride, conv.padding
        self.dilation, self.groups = conv.dilation, conv.groups

    def plain(self, x: Tensor, residual: Tensor | None) -> Tensor:
        """(B, channels, H, W) to (B, out_channels, ...), of which `residual` has the shape."""
        out = F.conv2d(
            x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )
        return _ACTIVATIONS[self.activation](out if residual is None else out + residual)

    def compute(self, x: Tensor, residual: Tensor | None) -> Tensor:
        """As `plain`."""
        packed, bias = self.packed(x)
        where = (self.padding, self.stride, self.dilation, self.groups)
        if residual is None:
            return _OPERATORS._convolution_pointwise(
                x, packed, bias, *where, self.activation, [], ""
            )
        grouped = x.dtype != torch.float32 and self.groups > 1  # add_relu is not there for it
        if grouped or residual.dtype != x.dtype:
            out = _OPERATORS._convolution_pointwise(x, packed, bias, *where, "none", [], "")
            return _ACTIVATIONS[self.activation](out + residual)
        then = None if self.activation == "none" else self.activation
        return _OPERATORS._convolution_pointwise.binary(
            x, residual, packed, bias, *where, "add", 1.0, then, [], ""
        )

    def shaped(self, x: Tensor) -> Tensor:
        """(B, out_channels, ...) with the channels last, as oneDNN gives it whatever `x` is."""
        weight = x.new_empty(self.weight.shape)
        out = F.conv2d(x, weight, None, self.stride, self.padding, self.dilation, self.groups)
        return out.contiguous(memory_format=torch.channels_last)

    def _pack(self, weight: Tensor, x: Tensor) -> Tensor:
        where = (self.padding, self.stride, self.dilation, self.groups)
        return _OPERATORS._reorder_convolution_weight(weight, *where, list(x.shape))


def can_pack(module: nn.Module) -> TypeGuard[nn.Linear | nn.Conv2d]:
    """Tell plain linear layers, and plain convolutions whose padding is a number of zeros."""
    if type(module) is nn.Conv2d:
        return module.padding_mode == "zeros" and not isinstance(module.padding, str)
    return type(module) is nn.Linear


def pack(
    module: nn.Linear | nn.Conv2d, activation: Activation = "none"
) -> "PackedLinear | PackedConv2d":
    """Return the packed layer of `activation(module(x))`; it shares the parameters of `module`."""
    if isinstance(module, nn.Linear):
        return PackedLinear(module, activation)
    if activation == "gelu":
        raise ValueError("a packed convolution ends with relu or none, got gelu")
    return PackedConv2d(module, activation)
