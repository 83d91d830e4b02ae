"""The answer to one image where contexts are forced, in blocks and in parts of the image."""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nommer.errors import InputError
from nommer.models.recogniser import Recogniser
from nommer.models.storage import nommer_of
from nommer.nominations.cells import block_strides
from nommer.nominations.explanation import Explanation
from nommer.nominations.images import explain_image
from nommer.nominations.intervention import intervene
from nommer.nominations.tokens import Frame
from nommer.nominations.trace import NominationTrace, nominator_blocks
from nommer.predictions import Failure
from nommer.settings.forcing import Forcing


def explain_forced(
    model: Recogniser, image: Image.Image, forced: Sequence[Forcing], *, name: str
) -> Explanation | Failure:
    """Explain the answer to one image while contexts are forced; later ones win where they meet.

    Raises:
        InputError: a context or a block that the model does not have.
    """
    with _forcing(model, image, forced):
        return explain_image(model, image, name=name)


@contextmanager
def _forcing(model: Recogniser, image: Image.Image, forced: Sequence[Forcing]) -> Iterator[None]:
    grids = _grids(model, image) if any(one.region for one in forced) else {}
    size, strides = Frame.of_view(image, model.view(image)).size, _strides(model)
    with ExitStack() as opened:
        for one in forced:
            for block in [one.block] if one.block else list(strides):
                region = None
                if one.region and block in grids:
                    region = _cells(one.region, size, strides[block], grids[block])
                try:
                    opened.enter_context(
                        intervene(model, one.context, blocks=[block], region=region)
                    )
                except ValueError as error:
                    raise InputError(f"force: {error}") from error
        yield


def _strides(model: Recogniser) -> dict[str, int]:
    return block_strides(nommer_of(model, "the model"))


def _grids(model: Recogniser, image: Image.Image) -> dict[str, tuple[int, int]]:
    """Return rows and columns of every block's tokens, with those on padding."""
    with NominationTrace(model, keep_maps=True) as trace:
        model.answer(model.view(image), "image")
    return {
        block: (trace.maps(block).shape[1], trace.maps(block).shape[2]) for block in trace.blocks
    }


def _cells(
    rows: Sequence[str], size: tuple[int, int], stride: int, grid: tuple[int, int]
) -> Tensor:
    """Return the tokens whose middle lies in a region, (rows, columns) bool; none on padding."""
    region = np.array([[cell == "1" for cell in row] for row in rows])
    found = torch.zeros(grid, dtype=torch.bool)
    places = []
    for side, cells, tokens in zip(size, region.shape, grid, strict=True):
        middles = (np.arange(min(tokens, math.ceil(side / stride))) + 0.5) * stride / side
        places.append(np.minimum((middles * cells).astype(int), cells - 1))
    chosen = region[places[0][:, None], places[1]]
    found[: chosen.shape[0], : chosen.shape[1]] = torch.from_numpy(chosen)
    return found


def blocks_of(model: Recogniser) -> list[str]:
    """Return the names of the blocks that nominate."""
    return list(nominator_blocks(model))
