"""Linear layers whose products in float32 on the CPU are oneDNN's, in both passes of training.

torch gives float32 linear layers to MKL, which many processors run slower (`docs/performance.md`).
The operator is the one that torch.compile uses (`torch.ops.mkldnn`); it takes the weight as it lies
in memory, or transposed, which the gradient of the input needs. Wherever the operator does not
apply (another device or dtype, autocast, compilation, export), the layer is the plain one.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nommer.acceleration.cpu import at_work_on_cpu, wants_gradient


class OneDNNLinear(nn.Linear):
    """`torch.nn.Linear`, faster on the CPU."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) to (..., out_features)."""
        if not (_has_onednn() and x.dtype == torch.float32 and x.ndim > 1 and x.numel()):
            return super().forward(x)
        if not at_work_on_cpu(x, self.weight):
            return super().forward(x)
        product = _Linear.apply if wants_gradient(x, self.weight, self.bias) else _product
        return product(x, self.weight, self.bias)


def _has_onednn() -> bool:
    return bool(torch._C._has_mkldnn and torch.backends.mkldnn.enabled)


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x @ weight.T + bias`."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "none")


class _Linear(torch.autograd.Function):
    """The product and its gradients; gradients of a gradient are torch's own.

    The weight's gradient stays with MKL, which is faster there.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        product = F.linear if torch.is_grad_enabled() else _product
        gradient = gradient.contiguous()
        rows = gradient.flatten(0, -2)
        return (
            product(gradient, weight.T) if of_x else None,
            rows.T @ x.flatten(0, -2) if of_weight else None,
            rows.sum(0) if of_bias else None,
        )
