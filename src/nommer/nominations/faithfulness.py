"""Faithfulness of maps to a classifier's decision: nominations and pixels are changed in cells.

A map says of every cell of an image how much it is thought to matter. If it is right, the
probability of the answer falls soon when cells are deleted in its order (a small area under the
curve), and rises soon when they are inserted.

Source: Petsiuk, Das and Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box
Models", BMVC 2018.
"""

import math
from collections.abc import Callable
from contextlib import ExitStack

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from nommer.backbone.contexts import CONTEXTS
from nommer.models.classification import Classifier
from nommer.models.storage import nommer_of
from nommer.nominations.cells import block_strides
from nommer.nominations.intervention import intervene
from nommer.nominations.trace import NominationTrace
from nommer.shapes import Images

GRID = 8
"""Cells along a side of the maps that are compared."""

STEPS = 16
"""Steps in which all cells are deleted or inserted."""

Maps = Float[Tensor, "batch 8 8"]

_BATCH = 32
"""Images that are looked at at a time, however many versions of them there are."""

_INTEGRATION_STEPS = 16


@torch.inference_mode()
def probabilities(model: Classifier, images: Images) -> Float[Tensor, "batch classes"]:
    """Softmax of the scores, in groups that fit."""
    return torch.cat([model(part).float().softmax(-1) for part in torch.split(images, _BATCH)])


def sensitivity(
    model: Classifier,
    image: Float[Tensor, "3 height width_px"],
    answer: int,
    *,
    kind: str = "second",
) -> Float[Tensor, "8 8"]:
    """Measure how much less probable the answer is with other nominations in one cell.

    Those are the tokens, in all blocks, whose centre lies in the cell. In a block of fewer tokens
    than cells it is the one token that the cell's centre lies in, which several cells share.

    Args:
        model: in evaluation mode.
        image: prepared.
        answer: index of the class that is answered.
        kind: what is nominated in the cell instead, as `intervene` has it.
    """
    height, width = image.shape[-2:]
    cells = {
        block: cells_on_grid(-(-height // stride), -(-width // stride))
        for block, stride in block_strides(nommer_of(model, "the model")).items()
    }
    changed = []
    for start in range(0, GRID**2, _BATCH):
        with ExitStack() as interventions:
            for block, of_block in cells.items():
                regions = of_block[start : start + _BATCH]
                interventions.enter_context(intervene(model, kind, blocks=[block], region=regions))
            changed.append(probabilities(model, image.expand(len(regions), -1, -1, -1))[:, answer])
    before = probabilities(model, image[None])[0, answer]
    return (before - torch.cat(changed)).view(GRID, GRID).cpu()


def cells_on_grid(rows: int, columns: int) -> Bool[Tensor, "cells rows columns"]:
    """The tokens of a grid that are changed with each of the 64 cells, row by row of cells."""
    down, across = _cells_on_side(rows), _cells_on_side(columns)
    return (down[:, None, :, None] & across[None, :, None, :]).flatten(0, 1)


def _cells_on_side(count: int) -> Bool[Tensor, "8 tokens"]:
    """Tell which of the tokens along a side belong to which cell along it."""
    cells, tokens = torch.arange(GRID)[:, None], torch.arange(count)
    if count >= GRID:
        return (2 * tokens + 1) * GRID // (2 * count) == cells
    return (2 * cells + 1) * count // (2 * GRID) == tokens


@torch.inference_mode()
def context_maps(model: Classifier, images: Images, context: str = "global") -> tuple[Maps, Maps]:
    """Return the share of a context and its mean probability per cell, means over all blocks."""
    index = CONTEXTS.index(context)
    with NominationTrace(model, keep_maps=True) as trace:
        model(images)
    shares = [(trace.maps(block) == index).float() for block in trace.blocks]
    likely = [trace.probabilities(block)[..., index] for block in trace.blocks]
    first, second = (
        torch.stack([on_cells(map_) for map_ in maps]).mean(0) for maps in (shares, likely)
    )
    return first, second


def on_cells(maps: Float[Tensor, "batch rows columns"]) -> Maps:
    """The mean of what lies in each cell."""
    return F.adaptive_avg_pool2d(maps[:, None], GRID)[:, 0]


def attributions(
    model: Classifier, images: Images, answers: Int[Tensor, "batch"]
) -> dict[str, Maps]:
    """Compute standard attributions by Captum: the sum of their sizes, averaged over the cells.

    Integrated gradients from an image of the mean colour (Sundararajan, Taly and Yan, 2017), and
    gradients (Simonyan, Vedaldi and Zisserman, 2014).

    Raises:
        ImportError: Captum is not installed (`pip install 'nommer[explain]'`).
    """
    from captum.attr import IntegratedGradients, Saliency  # noqa: PLC0415 - optional

    methods: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "integrated gradients": lambda part, targets: IntegratedGradients(model).attribute(
            part, target=targets, n_steps=_INTEGRATION_STEPS, internal_batch_size=_BATCH
        ),
        "gradient": lambda part, targets: Saliency(model).attribute(part, target=targets, abs=True),
    }
    found: dict[str, Maps] = {}
    for name, attribute in methods.items():
        with torch.enable_grad():
            parts = [
                attribute(part.clone().requires_grad_(), targets).detach().abs().sum(1)
                for part, targets in zip(
                    torch.split(images, _BATCH), torch.split(answers, _BATCH), strict=True
                )
            ]
        found[name] = on_cells(torch.cat(parts).cpu().float())
    return found


def removal_curve(
    model: Classifier,
    images: Images,
    answers: Int[Tensor, "batch"],
    maps: Maps,
    *,
    insert: bool,
    seed: int = 0,
) -> Float[Tensor, "batch steps"]:
    """Follow the probability of the answers while cells are deleted, or inserted.

    Deleted cells become the mean colour; cells are inserted into the blurred image.

    Args:
        model: in evaluation mode.
        images: prepared.
        answers: the classes whose probability is followed.
        maps: cells in the order of falling values; those of equal value in an order drawn by
            `seed`.
        insert: insert instead of delete.
        seed: of that order.

    Returns:
        17 values per image, after 0 to 16 sixteenths of the cells.
    """
    generator = torch.Generator().manual_seed(seed)
    tie_break = torch.rand(maps.flatten(1).shape, generator=generator).argsort(1)
    by_value = (
        maps.flatten(1).gather(1, tie_break).sort(dim=1, descending=True, stable=True).indices
    )
    rank = tie_break.gather(1, by_value).argsort(1)
    blurred = (
        gaussian_blur(images, *_blur(images.shape[-1])) if insert else torch.zeros_like(images)
    )
    curve = []
    for step in range(STEPS + 1):
        chosen = (rank < step * GRID**2 // STEPS).view(-1, 1, GRID, GRID).float()
        mask = (
            F.interpolate(chosen, size=images.shape[-2:], mode="nearest-exact").to(images.device)
            > 0
        )
        first, second = (images, blurred) if insert else (blurred, images)
        shown = torch.where(mask, first, second)
        curve.append(probabilities(model, shown).cpu()[torch.arange(len(images)), answers.cpu()])
    return torch.stack(curve, 1)


def _blur(side: int) -> tuple[list[int], list[float]]:
    """A kernel after which little of an image of this side is to be recognised."""
    sigma = side / 8
    size = 2 * math.ceil(2 * sigma) + 1
    return [size, size], [sigma, sigma]


def area(curves: Float[Tensor, "batch steps"]) -> Float[Tensor, "batch"]:
    """Area under each curve (trapezoids) over the share of cells, 0 to 1."""
    return torch.trapezoid(curves, dx=1 / (curves.shape[1] - 1))
