"""The nominator with scores as a GPU's matrix products want them."""

from functools import reduce
from operator import add

import torch.nn.functional as F
from torch import Tensor, nn

from nommer.acceleration.packed import PackedLinear
from nommer.backbone.nominator import Nominator, weighted_sum
from nommer.shapes import TokenGrid


class PaddedNominator(Nominator):
    """The nominator, its scores computed by `padded_linear`."""

    def forward(self, *contexts: TokenGrid) -> TokenGrid:
        """Per token the nominated context, (B, rows, columns, width)."""
        weights = self.nomination(padded_linear(self.score, reduce(add, contexts)))
        return weighted_sum(weights.to(contexts[0].dtype), contexts)


def padded_linear(layer: nn.Linear | PackedLinear, x: Tensor) -> Tensor:
    """Return `layer(x)`; on a GPU some outputs of zero weights are added and dropped again.

    Matrix products on tensor cores want a multiple of 8 outputs.
    """
    if not x.is_cuda:
        return layer(x)
    missing = -layer.out_features % 8
    weight, bias = F.pad(layer.weight, (0, 0, 0, missing)), layer.bias
    bias = None if bias is None else F.pad(bias, (0, missing))
    return F.linear(x, weight, bias)[..., : layer.out_features]
