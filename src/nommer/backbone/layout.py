"""The few layout changes of the network that einops would make no clearer.

A token grid `(B, rows, columns, width)` and a channels-last NCHW tensor are the same memory, so
going from one to the other costs nothing.
"""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch.fx.experimental.symbolic_shapes import statically_known_true

from nommer.shapes import FeatureMap, NextGrid, NextMap, TokenGrid

if TYPE_CHECKING:
    Side = int
else:
    Side = int | torch.SymInt
"""Rows or columns; in an export for any size they are still open, and torch's types call them
numbers all the same.
"""


def as_maps(grid: TokenGrid) -> FeatureMap:
    """View a token grid `(B, rows, columns, width)` as NCHW maps, without a copy."""
    return grid.permute(0, 3, 1, 2)


def as_grid(maps: FeatureMap) -> TokenGrid:
    """View NCHW maps as a token grid `(B, rows, columns, width)`, without a copy."""
    return maps.permute(0, 2, 3, 1)


def missing_to_multiple(size: Side, multiple: int) -> Side:
    """How much is missing from `size` to the next multiple of `multiple`: 0 when it divides evenly."""
    return (
        size + multiple - 1
    ) // multiple * multiple - size  # a size that is still open divides evenly once padded


def pad_maps(maps: FeatureMap, multiple: int, mode: str) -> NextMap:
    """Pad maps at the right and bottom until both sides are a multiple of `multiple`.

    Returns `maps` itself, untouched, when nothing is missing; where the size is still open
    (compiled or exported for any size) they are padded whatever is missing. `mode` is a mode of
    `torch.nn.functional.pad`: "constant" (zeros) or "replicate".
    """
    rows, columns = maps.shape[-2:]
    bottom, right = missing_to_multiple(rows, multiple), missing_to_multiple(columns, multiple)
    if statically_known_true(bottom == 0) and statically_known_true(right == 0):
        return maps
    if mode == "replicate" and torch.compiler.is_compiling() and not torch.compiler.is_exporting():
        below = torch.arange(rows + bottom, device=maps.device) >= rows
        beside = torch.arange(columns + right, device=maps.device) >= columns
        maps = torch.where(below[:, None], maps[:, :, -1, None], F.pad(maps, (0, 0, 0, bottom)))
        return torch.where(beside, maps[..., -1, None], F.pad(maps, (0, right)))
    return F.pad(maps, (0, right, 0, bottom), mode=mode)


def crop_grid(grid: TokenGrid, rows: Side, columns: Side) -> NextGrid:
    """The first `rows` x `columns` of a grid that was padded.

    Itself, untouched, when it has no more.
    """
    more_rows, more_columns = grid.shape[1] - rows, grid.shape[2] - columns
    if statically_known_true(more_rows == 0) and statically_known_true(more_columns == 0):
        return grid
    if torch.compiler.is_compiling() and not torch.compiler.is_exporting():
        return F.pad(
            grid, (0, 0, 0, -more_columns, 0, -more_rows)
        )  # a slice's backward pass cannot be compiled open
    return grid[:, :rows, :columns]
