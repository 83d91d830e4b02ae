"""The multiply-accumulates of a network."""

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def giga_macs(model: nn.Module, size: int | tuple[int, int]) -> float:
    """Count the multiply-accumulates of one image of `size` (height, width), in units of 1e9.

    Convolutions, products and attention are counted.
    """
    sides = (size, size) if isinstance(size, int) else size
    counted = copy.deepcopy(model).to("meta").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        counted(torch.zeros(1, 3, *sides, device="meta"))
    return counter.get_total_flops() / 2e9
