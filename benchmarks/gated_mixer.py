"""A mixer of stages 1 and 2 that decides first and computes after: the helper of `gate.py`.

A gate, distilled from the nominator, names the context of every token from the block's input. Then
only what was named is computed, in parts: windows for the window context, squares of the same size
with a border of one token for the convolution, blocks for the global one. Parts that hold no token
of a context are left out; the others are gathered, computed, and the tokens that asked put back.
"""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nommer.acceleration.packed import pack
from nommer.acceleration.spectral import widen_blocks
from nommer.backbone.config import CONTEXTS
from nommer.backbone.layout import as_grid, as_maps, missing_to_multiple, pad_grid
from nommer.backbone.network import NomMer

HIDDEN = 16
"""Channels of a gate."""

Where = tuple[Tensor, Tensor, Tensor]
"""Image, row and column of each part that is computed."""


class Gate(nn.Module):
    """Scores of the contexts from a block's normalised input, by what is near and by the image."""

    def __init__(self, width: int, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.reduce = nn.Linear(width, hidden)
        self.near = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.far = nn.Linear(hidden, hidden)
        self.score = nn.Linear(hidden, len(CONTEXTS))

    def forward(self, grid: Tensor) -> Tensor:
        """(B, rows, columns, width) to (B, rows, columns, contexts)."""
        hidden = F.gelu(self.reduce(grid))
        around = as_grid(self.near(as_maps(hidden)))
        whole = self.far(hidden.mean((1, 2), keepdim=True))
        return self.score(F.gelu(around + whole))

    def packed(self) -> "Gate":
        """Return a copy with weights packed for the processor's products, as `fuse` has them."""
        made = copy.deepcopy(self).eval().requires_grad_(requires_grad=False)
        for name in ("reduce", "near", "far", "score"):
            setattr(made, name, pack(getattr(made, name)))
        return made


def parts_of(grid: Tensor, side: int) -> Tensor:
    """View a grid, whose sides are multiples of `side`, as (B, down, across, side, side, ...)."""
    cut = grid.unflatten(2, (-1, side)).unflatten(1, (-1, side))
    return cut.transpose(2, 3)


class Part(nn.Module):
    """One context of a fused mixer, computed where it is wanted.

    With `dense_from` or more of the parts wanted, all are computed as the fused network does it.
    """

    def __init__(self, context: Any, side: int, dense_from: float) -> None:
        super().__init__()
        self.context, self.side, self.dense_from = context, side, dense_from
        self.register_buffer("seen", torch.zeros(2, dtype=torch.long), persistent=False)
        self.counts = False

    def put(self, out: Tensor, grid: Tensor, wanted: Tensor) -> None:
        """Write the context of the tokens that want it, bool (B, rows, columns), into `out`.

        `out` may have more rows and columns than `grid`; what is written there means nothing.
        """
        rows, columns = wanted.shape[1:]
        below, beside = (missing_to_multiple(one, self.side) for one in (rows, columns))
        asked = parts_of(F.pad(wanted, (0, beside, 0, below)), self.side)
        needed = asked.flatten(3).any(-1)
        if self.counts:
            self.seen += torch.tensor([needed.sum(), needed.numel()])
        where = needed.nonzero(as_tuple=True)
        if not len(where[0]):
            return
        if len(where[0]) >= self.dense_from * needed.numel():
            inside = out[:, :rows, :columns]
            inside.copy_(torch.where(wanted[..., None], self.context(grid), inside))
            return
        places = parts_of(out[:, : rows + below, : columns + beside], self.side)
        new = self.compute(grid, where)
        places[where] = torch.where(asked[where][..., None], new, places[where])

    def compute(self, grid: Tensor, where: Where) -> Tensor:
        """Return the context of the tokens of these parts, (parts, side, side, width)."""
        raise NotImplementedError


class ConvolutionPart(Part):
    """The 1x1 reduction everywhere, for its neighbours share it; the rest part by part."""

    def __init__(self, context: Any, side: int, dense_from: float) -> None:
        super().__init__(context, side, dense_from)
        self.inner = copy.copy(context.conv2)
        self.inner.padding = (0, 0)

    def compute(self, grid: Tensor, where: Where) -> Tensor:
        """Gather squares with a border of one token, zeros outside of the grid."""
        side, (rows, columns) = self.side, grid.shape[1:3]
        hidden = as_grid(self.context.conv1(as_maps(grid)))
        below, beside = (missing_to_multiple(one, side) for one in (rows, columns))
        hidden = F.pad(hidden, (0, 0, 1, 1 + beside, 1, 1 + below))
        squares = hidden.unfold(1, side + 2, side).unfold(2, side + 2, side).movedim(3, -1)
        inner = self.inner(as_maps(squares[where]))
        own = parts_of(pad_grid(grid, side, "constant"), side)[where]
        return as_grid(self.context.conv3(inner, as_maps(own)))


class WindowPart(Part):
    """Attention in the windows that are wanted."""

    def compute(self, grid: Tensor, where: Where) -> Tensor:
        """Gather windows."""
        padded = pad_grid(grid, self.side, "constant")
        windows = parts_of(padded, self.side)
        bias = self.context.score_bias(grid, padded)
        if len(bias) > 1:
            image, row, column = where
            bias = bias[(image * windows.shape[1] + row) * windows.shape[2] + column]
        attended = self.context.attention(windows[where].flatten(1, 2), bias)
        return attended.unflatten(1, (self.side, self.side))


class GlobalPart(Part):
    """Global attention in the images that want it, widened in the blocks that want it."""

    def compute(self, grid: Tensor, where: Where) -> Tensor:
        """Leave out whole images, then blocks."""
        image, row, column = where
        images, image = image.unique(return_inverse=True)
        some = grid if len(images) == len(grid) else grid[images]
        padded = as_maps(pad_grid(some, self.side, "replicate"))
        attended = self.context.attention(as_grid(self.context.compress(padded)))
        chosen = attended[image, row, column][:, None, None]
        return widen_blocks(chosen, self.context.expand, self.side)


PARTS: dict[str, type[Part]] = {
    "convolution": ConvolutionPart, "window": WindowPart, "global": GlobalPart,
}  # fmt: skip


class GatedContext(nn.Module):
    """The mixer of a fused block, with a gate before the contexts instead of a nominator after.

    Args:
        mixer: of a fused network.
        gate: of a grid, scores of the contexts.
        dense_from: part of a context's parts from which it is computed whole.
    """

    def __init__(self, mixer: Any, gate: nn.Module, dense_from: float) -> None:
        super().__init__()
        self.gate = gate
        window, block = mixer.window.window_size, mixer.spectral.block_size
        contexts = (mixer.convolution, mixer.window, mixer.spectral)
        kinds = zip(PARTS.values(), contexts, (window, window, block), strict=True)
        self.parts = nn.ModuleList(kind(one, side, dense_from) for kind, one, side in kinds)

    def forward(self, grid: Tensor) -> Tensor:
        """The named context of every token, (B, rows, columns, width)."""
        choice = self.gate(grid).argmax(-1)
        rows, columns = grid.shape[1:3]
        larger = [
            max(one + missing_to_multiple(one, part.side) for part in self.parts)
            for one in (rows, columns)
        ]
        out = grid.new_empty(len(grid), *larger, grid.shape[-1])
        for index, part in enumerate(self.parts):
            part.put(out, grid, choice == index)
        return out[:, :rows, :columns]

    def count(self, counts: bool = True) -> None:
        """Count from now on which parts are computed, or no longer."""
        for part in self.parts:
            part.counts = counts
            part.seen.zero_()

    def shares(self) -> dict[str, float]:
        """Return the share of the parts that was computed of each context, since `count`."""
        seen = [part.seen.tolist() for part in self.parts]
        return {
            name: needed / max(1, of) for name, (needed, of) in zip(CONTEXTS, seen, strict=True)
        }


class Given(nn.Module):
    """A gate that knows beforehand: places of a window's size each nominate one context, drawn."""

    def __init__(self, side: int, window: float, spectral: float) -> None:
        super().__init__()
        self.side, self.bounds = side, torch.tensor([1 - window - spectral, 1 - spectral])
        self.made: dict[tuple[int, ...], Tensor] = {}

    def forward(self, grid: Tensor) -> Tensor:
        """Return the same scores for every grid of a shape."""
        shape = tuple(grid.shape[:3])
        if shape not in self.made:
            batch, rows, columns = (shape[0], -(-shape[1] // self.side), -(-shape[2] // self.side))
            count = batch * rows * columns
            order = torch.randperm(count, generator=torch.Generator().manual_seed(0)) + 0.5
            drawn = torch.bucketize(order / count, self.bounds).view(batch, rows, columns)
            spread = drawn.repeat_interleave(self.side, 1).repeat_interleave(self.side, 2)
            self.made[shape] = F.one_hot(spread[:, : shape[1], : shape[2]], 3).float()
        return self.made[shape]


def gated(network: NomMer, gates: dict[str, nn.Module], dense_from: float) -> NomMer:
    """Return a copy of a fused network whose blocks decide first."""
    made = copy.deepcopy(network)
    blocks = [block for stage in made.stages[:2] for block in stage.blocks]
    for block, gate in zip(blocks, gates.values(), strict=True):
        block.mixer = GatedContext(block.mixer, gate, dense_from)
    return made


def shifted(gate: Gate, offset: float) -> Gate:
    """Return a packed copy that prefers the convolution by `offset`."""
    made = copy.deepcopy(gate)
    with torch.no_grad():
        made.score.bias[CONTEXTS.index("convolution")] += offset
    return made.packed()
