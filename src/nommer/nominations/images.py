"""What a model nominates on given images.

A picture each, and the shares per block and part of what is predicted.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nommer.backbone.contexts import CONTEXTS
from nommer.backbone.network import NomMer
from nommer.data.sources import ImageSource, source_name
from nommer.models.classification import Classifier
from nommer.models.detection import Detector
from nommer.models.inference import WHOLE_PIXELS
from nommer.models.recogniser import NO_NUMBERS, evaluating, open_source
from nommer.models.segmentation import Segmenter
from nommer.models.storage import nommer_of
from nommer.nominations.attention_maps import SightTrace
from nommer.nominations.cells import block_strides, cells_of, pixel_tokens
from nommer.nominations.explanation import PART_COLOURS, ClassShares, Explanation
from nommer.nominations.receptive import Place
from nommer.nominations.tokens import Frame, OutsideError, Pixel, token_sights
from nommer.nominations.trace import NominationTrace, shares
from nommer.predictions import Classification, Failure, Segmentation
from nommer.settings.inference import Inference

SURE = 0.5
"""Least score of the objects that an explanation counts."""


def explain_images(
    model: Classifier | Segmenter | Detector,
    sources: Sequence[ImageSource],
    *,
    tokens: Sequence[Pixel] = (),
) -> Iterator[Explanation | Failure]:
    """Explain image after image.

    One that cannot be decoded, or lacks one of the `tokens`, gets a `Failure`.

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
            if isinstance(model, Segmenter):
                yield explain_pixels(model, image, name=name, tokens=tokens)
            elif isinstance(model, Detector):
                yield explain_objects(model, image, name=name, tokens=tokens)
            else:
                yield explain_image(model, image, name=name, tokens=tokens)
        except OutsideError as error:
            yield Failure(name, str(error))


@torch.inference_mode()
def explain_image(
    model: Classifier, image: Image.Image, *, name: str, tokens: Sequence[Pixel] = ()
) -> Explanation | Failure:
    """Explain a classifier's answer to one image; a `Failure` where its scores are no numbers.

    Raises:
        OutsideError: one of the `tokens` is no part of what the model sees.
    """
    seen = model.preprocessing.crop(image)
    frame = Frame(
        image.size, model.preprocessing.seen(image.height, image.width), (seen.height, seen.width)
    )
    places = [frame.place(pixel) for pixel in tokens]
    with (
        evaluating(model),
        NominationTrace(model, keep_maps=True) as trace,
        _sight(model, places) as sight,
    ):
        logits = model(model.preprocessing.normalise(seen)[None].to(model.device, model.dtype))
    probabilities = model.probabilities(logits)[0]
    if not probabilities.isfinite().all():
        return Failure(name, NO_NUMBERS)
    prediction = Classification(
        name, model.class_names, tuple(probabilities.tolist()), model.threshold
    )
    return Explanation(prediction=prediction, image=seen, **_observed(trace, sight, tokens, frame))


def explain_pixels(
    model: Segmenter, image: Image.Image, *, name: str, tokens: Sequence[Pixel] = ()
) -> Explanation | Failure:
    """Explain a segmenter's answer to one image, seen whole.

    A `Failure` where its scores are no numbers.

    Raises:
        OutsideError: one of the `tokens` lies outside the image.
    """
    seen, prepared = _prepare_whole(model, image)
    frame = Frame.of_whole(image, prepared)
    places = [frame.place(pixel) for pixel in tokens]
    with NominationTrace(model, keep_maps=True) as trace, _sight(model, places) as sight:
        labels = model.label(
            prepared[None], size=(seen.height, seen.width), inference=Inference(mode="whole")
        )
    if labels is None:
        return Failure(name, NO_NUMBERS)
    return Explanation(
        prediction=Segmentation(name, model.class_names, model.colours, labels),
        image=seen,
        shares_per_class=_shares_in_parts(trace, sight.network, frame, labels, model.class_names),
        shrunk_from=None if seen is image else (image.height, image.width),
        **_observed(trace, sight, tokens, frame),
    )


def explain_objects(
    model: Detector, image: Image.Image, *, name: str, tokens: Sequence[Pixel] = ()
) -> Explanation | Failure:
    """Explain what a detector finds, with a score of `SURE` or more.

    A `Failure` where its scores are no numbers.

    Raises:
        OutsideError: one of the `tokens` lies outside the image.
    """
    prepared, size = model.preprocessing(image), (image.height, image.width)
    frame = Frame.of_whole(image, prepared)
    places = [frame.place(pixel) for pixel in tokens]
    with NominationTrace(model, keep_maps=True) as trace, _sight(model, places) as sight:
        found = model.detect(prepared, size=size)
    if found is None:
        return Failure(name, NO_NUMBERS)
    found = replace(found.at_least(SURE), source=name)
    inside = np.zeros(size, bool)
    for index in range(len(found)):
        inside |= found.mask(index)
    parts = (~inside).astype(int)
    return Explanation(
        prediction=found,
        image=image,
        shares_inside=_shares_in_parts(trace, sight.network, frame, parts, list(PART_COLOURS)),
        **_observed(trace, sight, tokens, frame),
    )


def _sight(model: Classifier | Segmenter | Detector, places: Sequence[Place]) -> SightTrace:
    """What will be recorded of the tokens at these places in the NomMer inside `model`."""
    return SightTrace(nommer_of(model, "the model"), places)


def _observed(
    trace: NominationTrace, sight: SightTrace, tokens: Sequence[Pixel], frame: Frame
) -> dict[str, Any]:
    """What an explanation tells of the one image that was traced, whatever the task."""
    cells = cells_of(trace, 0, frame.size, block_strides(sight.network))
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
        "tokens": tuple(token_sights(sight, tokens, frame)),
        "class_token": tuple(sight.class_views()),
    }


def _prepare_whole(model: Segmenter, image: Image.Image) -> tuple[Image.Image, Tensor]:
    """The image, shrunk where it is too large to be seen whole, and as the network takes it."""
    height, width = model.preprocessing.size(image.height, image.width)
    factor = math.sqrt(WHOLE_PIXELS / (height * width))
    if factor >= 1:
        return image, model.preprocessing(image)
    seen = image.resize(
        (max(1, int(width * factor)), max(1, int(height * factor))), Image.Resampling.BILINEAR
    )
    return seen, model.preprocessing.normalise(seen)


def _shares_in_parts(
    trace: NominationTrace, network: NomMer, frame: Frame, parts: np.ndarray, names: Sequence[str]
) -> dict[str, ClassShares]:
    """Per block and part of the image the share of each context in its pixels, the largest part
    first.

    Args:
        trace: of the image.
        network: that nominates.
        frame: size of the network's input.
        parts: (H, W), which part each pixel belongs to.
        names: of the parts.
    """
    found = {}
    for block, cells in cells_of(trace, 0, frame.size, block_strides(network)).items():
        tokens = pixel_tokens(parts.shape, frame.size, cells.stride, cells.nominated.shape)
        contexts, size = cells.nominated.ravel()[tokens], len(names) * len(CONTEXTS)
        counts = np.bincount((parts.astype(int) * len(CONTEXTS) + contexts).ravel(), minlength=size)
        counts = counts.reshape(len(names), len(CONTEXTS))
        found[block] = {
            names[part]: dict(
                zip(CONTEXTS, (counts[part] / counts[part].sum()).tolist(), strict=True)
            )
            for part in np.argsort(-counts.sum(1), kind="stable")
            if counts[part].any()
        }
    return found
