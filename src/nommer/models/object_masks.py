"""Masks of objects: in the cells of their boxes, where networks learn them, and in pixels."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer, UInt8
from torch import Tensor
from torchvision.ops import roi_align


def crop_masks(
    masks: UInt8[Tensor, "objects height width_px"],
    boxes: Float[Tensor, "boxes 4"],
    matches: Integer[Tensor, "boxes"],
    *,
    cells: int,
    aligned: bool,
) -> Float[Tensor, "boxes {cells} {cells}"]:
    """Return the masks in the cells of each box.

    Args:
        masks: (n, h, w) of an image's objects.
        boxes: (m, 4) in pixels of that image.
        matches: (m,) the object that each box shows.
        cells: along a side of a box.
        aligned: as in `RCNNProtocol`: 1 or 0, else the share of the cell, half a pixel off.
    """
    rois = torch.cat([matches[:, None].to(boxes), boxes], 1)
    shares = roi_align(masks[:, None].to(boxes), rois, cells, aligned=aligned)[:, 0]
    return (shares >= 0.5).to(shares) if aligned else shares


def paste_mask(
    mask: Float[Tensor, "cells cells"],
    box: Float[Tensor, "4"],
    size: tuple[int, int],
    *,
    threshold: float,
) -> np.ndarray:
    """The pixels of an image in which a mask is, (H, W) uint8.

    Args:
        mask: probabilities in the cells of the box, on the CPU; they are interpolated in between,
            and 0 outside.
        box: in pixels of the image.
        size: (H, W).
        threshold: least probability of a pixel.
    """
    left, upper, right, lower = box.tolist()
    rows, columns = (
        torch.arange(max(0, math.floor(first)), min(math.ceil(last), side), dtype=torch.float32)
        for first, last, side in ((upper, lower, size[0]), (left, right, size[1]))
    )
    y = (rows + 0.5 - upper) / (lower - upper) * 2 - 1
    x = (columns + 0.5 - left) / (right - left) * 2 - 1
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)
    inside = (
        F.grid_sample(mask[None, None].float(), grid[None], align_corners=False)[0, 0] >= threshold
    )
    pixels = np.zeros(size, np.uint8)
    if inside.any():
        top, start = int(rows[0]), int(columns[0])
        pixels[top : top + len(rows), start : start + len(columns)] = inside.numpy()
    return pixels
