"""Explanations of given images: a picture each, and shares per block and part of the answer."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from nommer.backbone.contexts import CONTEXTS
from nommer.backbone.network import NomMer
from nommer.data.sources import ImageSource, source_name
from nommer.models.recogniser import Recogniser, open_source
from nommer.models.storage import nommer_of
from nommer.nominations.attention_maps import AttentionTrace
from nommer.nominations.cells import block_strides, cells_of, pixel_tokens
from nommer.nominations.explanation import ClassShares, Explanation
from nommer.nominations.receptive import Place
from nommer.nominations.tokens import Frame, OutsideError, Pixel, explain_tokens
from nommer.nominations.trace import NominationTrace, shares
from nommer.predictions import Failure, Parts
from nommer.predictions.failure import NOT_FINITE


def explain_images(
    model: Recogniser,
    sources: Sequence[ImageSource],
    *,
    tokens: Sequence[Pixel] = (),
) -> Iterator[Explanation | Failure]:
    """Explain image after image; one that fails, or lacks one of the `tokens`, gets a `Failure`.

    Args:
        model: whose answers and nominations are explained.
        sources: the images.
        tokens: pixels (x, y) of every image; it is explained too what the tokens that they lie in
            see.

    Raises:
        ValueError: `model` holds no NomMer, or several.
    """
    for source in sources:
        name, image = source_name(source), open_source(source, model.preprocessing.reading)
        if isinstance(image, Failure):
            yield image
            continue
        try:
            yield explain_image(model, image, name=name, tokens=tokens)
        except OutsideError as error:
            yield Failure(name, str(error))


def explain_image(
    model: Recogniser, image: Image.Image, *, name: str, tokens: Sequence[Pixel] = ()
) -> Explanation | Failure:
    """Explain a model's answer to one image, seen whole; a `Failure` where its scores are NaN.

    Raises:
        OutsideError: one of the `tokens` is no part of what the model sees.
    """
    view = model.view(image)
    frame = Frame.of_view(image, view)
    places = [frame.place(pixel) for pixel in tokens]
    with NominationTrace(model, keep_maps=True) as trace, _attention(model, places) as attention:
        answer = model.answer(view, name)
    if answer is None:
        return Failure(name, NOT_FINITE)
    prediction = answer.sure()
    parts, shares_of_parts = prediction.parts(), dict[str, Any]()
    if parts is not None:
        shares_of_parts = {parts.field: _shares_in_parts(trace, attention.network, frame, parts)}
    return Explanation(
        prediction=prediction,
        image=view.image,
        shrunk_from=(image.height, image.width) if view.shrunk else None,
        **shares_of_parts,
        **_observed(trace, attention, tokens, frame),
    )


def _attention(model: Recogniser, places: Sequence[Place]) -> AttentionTrace:
    """Return the trace of the tokens at these places in the NomMer inside `model`."""
    return AttentionTrace(nommer_of(model, "the model"), places)


def _observed(
    trace: NominationTrace, attention: AttentionTrace, tokens: Sequence[Pixel], frame: Frame
) -> dict[str, Any]:
    """Return the fields of an explanation that do not depend on the task."""
    cells = cells_of(trace, 0, frame.size, block_strides(attention.network))
    maps = {block: torch.from_numpy(of_block.nominated) for block, of_block in cells.items()}
    counts = torch.stack(
        [torch.bincount(map_.flatten().long(), minlength=len(CONTEXTS)) for map_ in maps.values()]
    )
    height, width = frame.size
    return {
        "maps": maps,
        "shares": shares(list(maps), counts.double()),
        "probabilities": {
            block: torch.from_numpy(of_block.probabilities) for block, of_block in cells.items()
        },
        "spans": {
            block: (height / of_block.stride, width / of_block.stride)
            for block, of_block in cells.items()
        },
        "contexts": trace.contexts,
        "frame": frame,
        "tokens": tuple(explain_tokens(attention, tokens, frame)),
        "class_token": tuple(attention.class_views()),
    }


def _shares_in_parts(
    trace: NominationTrace, network: NomMer, frame: Frame, parts: Parts
) -> dict[str, ClassShares]:
    """Return the share of each context per block and part of the image, the largest part first.

    Args:
        trace: of the image.
        network: that nominates.
        frame: size of the network's input.
        parts: of the image.
    """
    found, names, labels = {}, parts.names, parts.labels
    for block, cells in cells_of(trace, 0, frame.size, block_strides(network)).items():
        tokens = pixel_tokens(labels.shape, frame.size, cells.stride, cells.nominated.shape)
        contexts, size = cells.nominated.ravel()[tokens], len(names) * len(CONTEXTS)
        counts = np.bincount(
            (labels.astype(int) * len(CONTEXTS) + contexts).ravel(), minlength=size
        )
        counts = counts.reshape(len(names), len(CONTEXTS))
        found[block] = {
            names[part]: dict(
                zip(CONTEXTS, (counts[part] / counts[part].sum()).tolist(), strict=True)
            )
            for part in np.argsort(-counts.sum(1), kind="stable")
            if counts[part].any()
        }
    return found
