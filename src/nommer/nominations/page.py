"""Plain values of one image for the explorer's page, with grids as base64."""

from base64 import b64encode
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nommer.models.recogniser import Recogniser
from nommer.nominations.attribution import attribute
from nommer.nominations.explanation import Explanation
from nommer.nominations.forcing import blocks_of, explain_forced
from nommer.nominations.images import explain_image
from nommer.nominations.tokens import TokenExplanation, describe_view, on_image
from nommer.nominations.trace import nominates
from nommer.predictions import Failure
from nommer.predictions.failure import NOT_FINITE
from nommer.predictions.plain import as_plain
from nommer.settings.forcing import Forcing

TOP = 200
"""Classes that a saved page knows the probability of."""

_LATTICE = 4
"""Tokens along each side that a saved page knows, beside the typical ones."""

_FIELD_CELLS = 56
"""Cells along the longer side of a receptive field, at most."""


def page_values(explanation: Explanation) -> dict[str, Any]:
    """Return maps, probabilities, where they lie in the image, and the tokens."""
    frame = explanation.frame
    return {
        "contexts": list(explanation.contexts),
        "maps": {block: map_.tolist() for block, map_ in explanation.maps.items()},
        "shares": explanation.shares,
        "spans": {block: list(span) for block, span in explanation.spans.items()},
        "probabilities": {
            block: _bytes((255 * values).round())
            for block, values in explanation.probabilities.items()
        },
        "size": list(frame.image),
        "box": [round(float(end), 2) for end in frame.box],
        "looks": [look_of(token) for token in explanation.tokens],
    }


def look_of(token: TokenExplanation) -> dict[str, Any]:
    """Return what a token sees in every block, as grids over what the network sees."""
    views = []
    for view in token.views:
        support, weights = on_image(view, token.frame.size)
        shown = support.float() if weights is None else _scaled(weights) * support
        rows, columns = shown.shape
        span = [side / view.stride for side in token.frame.size]
        told = describe_view(view, token.frame)
        grid = {"rows": rows, "columns": columns, "span": span, "values": _bytes(255 * shown)}
        views.append({**told, "grid": grid})
    fields = {block: _field(field) for block, field in token.fields.items()}
    return {"x": token.pixel[0], "y": token.pixel[1], "views": views, "fields": fields}


def _scaled(weights: Tensor) -> Tensor:
    """Return weights from 0 to 1; the square root shows the small ones too."""
    return (weights / weights.max().clamp_min(1e-12)).clamp(0, 1).sqrt()


def _field(field: Tensor) -> dict[str, Any]:
    """Return a receptive field as a grid, and its share of the image."""
    step = max(1, -(-max(field.shape) // _FIELD_CELLS))
    grid = field[::step, ::step]
    rows, columns = grid.shape
    span = [side / step for side in field.shape]
    share = field.float().mean().item()
    told = {"rows": rows, "columns": columns, "span": span, "values": _bytes(255 * grid.float())}
    return {"share": share, "grid": told}


def _bytes(values: Tensor) -> str:
    return b64encode(values.to(torch.uint8).numpy().tobytes()).decode("ascii")


def forced_values(explanation: Explanation) -> dict[str, Any]:
    """Return the maps under contexts that are forced, and their shares, in each part too."""
    maps = {block: map_.tolist() for block, map_ in explanation.maps.items()}
    parts = {
        "shares_per_class": explanation.shares_per_class,
        "shares_inside": explanation.shares_inside,
    }
    told = {name: shares for name, shares in parts.items() if shares}
    return {"maps": maps, "shares": explanation.shares} | told


def lattice(image: Image.Image, explanation: Explanation) -> list[tuple[int, int]]:
    """Return the pixels whose tokens a saved page knows."""
    left, upper, right, lower = explanation.frame.box
    places = (np.arange(_LATTICE) + 0.5) / _LATTICE
    across = (left + places * (right - left)).astype(int)
    down = (upper + places * (lower - upper)).astype(int)
    return [*explanation.typical_pixels(), *((int(x), int(y)) for y in down for x in across)]


def whole_block_forcings(model: Recogniser, contexts: Sequence[str]) -> list[Forcing]:
    """Return every context in all blocks, and in each."""
    return [
        Forcing(context, block) for block in chain([None], blocks_of(model)) for context in contexts
    ]


def saved_values(model: Recogniser, image: Image.Image, name: str) -> dict[str, Any]:
    """Return all that a saved page shows of one image, computed now.

    Args:
        model: of any network; one that does not nominate has an answer and an attribution.
        image: decoded, in RGB.
        name: of the image.
    """
    answer = model.answer(model.view(image), name)
    if answer is None:
        return Failure(name, NOT_FINITE).to_dict()
    answer = answer.sure()
    told = {"answer": as_plain(answer, top=TOP, pixels=True), "size": list(image.size)}
    told["attribution"] = attribute(model, image, answer).to_dict()
    return told | (_nominated(model, image, name) if nominates(model) else {})


def _nominated(model: Recogniser, image: Image.Image, name: str) -> dict[str, Any]:
    """Return what is nominated, what tokens see, and the answers under whole forced blocks."""
    first = _sound(explain_image(model, image, name=name))
    whole = _sound(explain_image(model, image, name=name, tokens=lattice(image, first)))
    told, forced = whole.to_dict() | page_values(whole), []
    del told["tokens"], told["class_token"]  # the page draws `looks`
    for one in whole_block_forcings(model, whole.contexts):
        found = explain_forced(model, image, [one], name=name)
        if not isinstance(found, Failure):
            answer = as_plain(found.prediction, top=TOP, pixels=True)
            forced.append({**vars(one), "answer": answer} | forced_values(found))
    return told | {"forced": forced}


def _sound(found: Explanation | Failure) -> Explanation:
    if isinstance(found, Failure):
        raise TypeError(f"{found.source}: {found.error}")  # it was answered before
    return found
