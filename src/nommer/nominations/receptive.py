"""Composite receptive fields: the pixels that can influence a token, given the nominations.

The sets are exact in what the architecture connects: every pixel outside has no influence, whatever
the weights are, as long as the nominations stay. Which of the pixels inside matter much is another
question; the gradient tells.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from nommer.backbone.network import NomMer
from nommer.backbone.nominator import NominatedContext
from nommer.backbone.stage import BlockSequence
from nommer.models.evaluation_mode import evaluating
from nommer.shapes import Images

Place = tuple[int, int]
"""Row and column: of a pixel of the network's input, or of a token in its grid."""

GridMask = Bool[Tensor, "rows columns"]
NextMask = Bool[Tensor, "next_rows next_columns"]
PixelMask = Bool[Tensor, "height width_px"]


def mixers(network: NomMer) -> Iterator[tuple[int, str, nn.Module]]:
    """Yield every block's stage (0 to 3), name such as "stage 1 block 1", and mixer, in order."""
    for stage, module in enumerate(network.stages):
        for index, block in enumerate(cast("BlockSequence", module.blocks)):
            yield stage, f"stage {stage + 1} block {index + 1}", cast("nn.Module", block.mixer)


def one_token(place: Place, grid: tuple[int, int]) -> GridMask:
    """Return a map of this size that is true at one place."""
    mask = torch.zeros(grid, dtype=torch.bool)
    mask[place] = True
    return mask


def context_support(context: str, tokens: GridMask, *, window_size: int) -> GridMask:
    """Return the tokens that one context of any of `tokens` draws on.

    Args:
        context: its name.
        tokens: (rows, columns).
        window_size: side of the windows, in tokens.
    """
    if context == "convolution":
        return _neighbourhood(tokens)
    if context == "window":
        pooled = F.max_pool2d(tokens.float()[None], window_size, ceil_mode=True)[0]
        return _spread(pooled > 0, window_size, (tokens.shape[0], tokens.shape[1]))
    return torch.full_like(tokens, bool(tokens.any()))  # global: every block attends to every block


def receptive_fields(
    network: NomMer, used: Mapping[str, Mapping[str, Tensor]], place: Place, size: tuple[int, int]
) -> dict[str, PixelMask]:
    """Return the pixels that can influence the token as it leaves each nominator block, (H, W).

    Args:
        network: the NomMer.
        used: per nominator block and context (rows, columns), above 0 where a token takes the
            context.
        place: a pixel (row, column); in every stage, the token that it lies in is meant.
        size: (H, W) of the network's input.
    """
    blocks = [
        (stage, name)
        for stage, name, mixer in mixers(network)
        if isinstance(mixer, NominatedContext)
    ]
    fields = {}
    for last, (stage, name) in enumerate(blocks):
        stride = network.config.reductions[stage]
        tokens = one_token(
            (place[0] // stride, place[1] // stride), network.config.grid_size(*size, stage)
        )
        reached = stage
        for of_stage, of_block in reversed(blocks[: last + 1]):
            if of_stage < reached:
                tokens, reached = (
                    _before_downsample(tokens, network.config.grid_size(*size, of_stage)),
                    of_stage,
                )
            tokens = _before_block(tokens, used[of_block], network.config.window_size)
        fields[name] = _spread(tokens, network.config.reductions[0], size)
    return fields


def gradient_fields(
    network: NomMer, images: Images, places: Sequence[Place]
) -> Float[Tensor, "places height width_px"]:
    """Measure how strongly each pixel moves a token as it leaves the last nominator block.

    This effective receptive field is the gradient of the sum of the token's channels, its absolute
    values summed over the channels of the image and scaled to add to 1 (all 0 where no pixel has
    any influence).

    Source: Luo, Li, Urtasun and Zemel, "Understanding the Effective Receptive Field in Deep
    Convolutional Neural Networks", NeurIPS 2016.

    Args:
        network: is run in evaluation mode, so that nominations are constant.
        images: one image, (1, channels, H, W).
        places: pixels (row, column).
    """
    last = max(stage for stage, _, mixer in mixers(network) if isinstance(mixer, NominatedContext))
    stride, fields = network.config.reductions[last], []
    with evaluating(network) as model, torch.inference_mode(mode=False), torch.enable_grad():
        pixels = images.clone().requires_grad_()
        grid = model.stem(pixels)
        for stage in model.stages[: last + 1]:
            grid = stage(grid)
        for row, column in places:
            token = grid[0, row // stride, column // stride].sum()
            (gradient,) = torch.autograd.grad(token, pixels, retain_graph=True)
            strength = gradient[0].abs().sum(0).float()
            fields.append(strength / strength.sum().clamp_min(torch.finfo(torch.float32).tiny))
    return torch.stack(fields).cpu()


def _before_block(tokens: GridMask, used: Mapping[str, Tensor], window_size: int) -> GridMask:
    """Return what a block's tokens draw on: themselves, and the contexts they take."""
    before = tokens
    for context, weights in used.items():
        before = before | context_support(context, tokens & (weights > 0), window_size=window_size)
    return before


def _before_downsample(tokens: GridMask, grid: tuple[int, int]) -> NextMask:
    """Return the tokens before a 3x3 convolution and 2x2 pooling that some of `tokens` draw on."""
    return _neighbourhood(_spread(tokens, 2, grid))


def _neighbourhood(tokens: GridMask) -> GridMask:
    return F.max_pool2d(tokens.float()[None], 3, stride=1, padding=1)[0] > 0


def _spread(mask: GridMask, factor: int, size: tuple[int, int]) -> NextMask:
    """Spread every cell to `factor` x `factor` cells, cut to `size`."""
    wide = mask.repeat_interleave(factor, 0).repeat_interleave(factor, 1)
    return wide[: size[0], : size[1]]
