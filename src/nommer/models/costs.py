"""The multiply-accumulates of a network."""

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def giga_macs(model: nn.Module, size: int) -> float:
    """Count the multiply-accumulates of one image of `size` x `size`, in units of 1e9.

    Convolutions, products and attention are counted.
    """
    counted = copy.deepcopy(model).to("meta").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        counted(torch.zeros(1, 3, size, size, device="meta"))
    return counter.get_total_flops() / 2e9
