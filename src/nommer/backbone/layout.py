"""Token grids seen as maps, and their sides filled up to a multiple.

A token grid `(B, rows, columns, width)` and channels-last NCHW maps are the same memory, so going
from one to the other costs nothing. Sides may be open, in what is compiled or exported for images
of any size; what torch cannot do with open sides is done in another way here and in `resampling`,
so that no equation knows of it.
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
"""Rows or columns; `SymInt` while they are open, which torch's own annotations call `int` too."""


def as_maps(grid: TokenGrid) -> FeatureMap:
    """View a token grid `(B, rows, columns, width)` as NCHW maps, without a copy."""
    return grid.permute(0, 3, 1, 2)


def as_grid(maps: FeatureMap) -> TokenGrid:
    """View NCHW maps as a token grid `(B, rows, columns, width)`, without a copy."""
    return maps.permute(0, 2, 3, 1)


def missing_to_multiple(size: Side, multiple: int) -> Side:
    """Return how much is missing from `size` to the next multiple of `multiple`, or 0."""
    # not `-size % multiple`: torch has to see that an open size divides evenly once it is padded
    return (size + multiple - 1) // multiple * multiple - size


def pad_maps(maps: FeatureMap, multiple: int, mode: str) -> NextMap:
    """Pad maps at the right and bottom until both sides are a multiple of `multiple`.

    Maps that lack nothing are returned themselves; maps with open sides are padded by whatever is
    missing, be it 0. `mode` is one of `torch.nn.functional.pad`: "constant" (zeros) or "replicate".
    """
    rows, columns = maps.shape[-2:]
    bottom, right = missing_to_multiple(rows, multiple), missing_to_multiple(columns, multiple)
    if statically_known_true(bottom == 0) and statically_known_true(right == 0):
        return maps
    if mode == "replicate" and torch.compiler.is_compiling() and not torch.compiler.is_exporting():
        # the layout of its backward pass is guessed wrongly where sides are open
        below = torch.arange(rows + bottom, device=maps.device) >= rows
        beside = torch.arange(columns + right, device=maps.device) >= columns
        maps = torch.where(below[:, None], maps[:, :, -1, None], F.pad(maps, (0, 0, 0, bottom)))
        return torch.where(beside, maps[..., -1, None], F.pad(maps, (0, right)))
    return F.pad(maps, (0, right, 0, bottom), mode=mode)


def pad_grid(grid: TokenGrid, multiple: int, mode: str) -> NextGrid:
    """Pad a token grid as `pad_maps` does; a grid that lacks nothing is returned itself."""
    maps = as_maps(grid)
    padded = pad_maps(maps, multiple, mode)
    return grid if padded is maps else as_grid(padded)


def crop_grid(padded: TokenGrid, rows: Side, columns: Side) -> NextGrid:
    """Return the first `rows` x `columns` of a padded grid; itself when it has no more."""
    more_rows, more_columns = padded.shape[1] - rows, padded.shape[2] - columns
    if statically_known_true(more_rows == 0) and statically_known_true(more_columns == 0):
        return padded
    if torch.compiler.is_compiling() and not torch.compiler.is_exporting():
        # the backward pass of a slice cannot be compiled for open sides
        return F.pad(padded, (0, 0, 0, -more_columns, 0, -more_rows))
    return padded[:, :rows, :columns]
