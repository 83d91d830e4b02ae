"""What a model nominates on given images: a picture each, and the shares per block."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from nommer.backbone.contexts import CONTEXTS
from nommer.data.images import ImageError, ImageSource, open_any
from nommer.heads.classification import Classifier, source_name
from nommer.nominations.render import nomination_figure
from nommer.nominations.trace import NominationTrace
from nommer.predictions import Classification, Failure


@dataclass(frozen=True)
class Explanation:
    """What one image made the model nominate."""

    prediction: Classification
    maps: dict[str, Tensor]
    """Per nominator block (rows, columns) uint8: 0 convolution, 1 window, 2 global."""
    shares: dict[str, dict[str, float]]
    """Per nominator block the share of each context, adding to 1."""
    probabilities: dict[str, Tensor]
    """Per nominator block (rows, columns, 3) float32: the softmax of the scores, how close the contest was."""
    image: Image.Image
    """What the network saw."""

    def plot(self) -> Figure:
        """The image beside its maps, with the shares and a legend."""
        title = f"{Path(self.prediction.source).name}: {self.prediction.name} ({self.prediction.probability:.0%})"
        return nomination_figure(self.image, self.maps, self.probabilities, title=title)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: the prediction, the shares, and the mean probability of each context."""
        means = {block: map_.mean((0, 1)).tolist() for block, map_ in self.probabilities.items()}
        named = {block: dict(zip(CONTEXTS, values, strict=True)) for block, values in means.items()}
        return {**self.prediction.to_dict(1), "shares": self.shares, "mean_probabilities": named}


def explain_images(model: Classifier, sources: Sequence[ImageSource]) -> Iterator[Explanation | Failure]:
    """Explain image after image; one that cannot be decoded gets a `Failure`."""
    for source in sources:
        try:
            image = open_any(source, background=model.preprocessing.background)
        except ImageError as error:
            yield Failure(source_name(source), error.reason)
            continue
        yield explain_image(model, model.preprocessing.crop(image), name=source_name(source))


@torch.inference_mode()
def explain_image(model: Classifier, seen: Image.Image, *, name: str) -> Explanation:
    """Explain one image that is already cropped to what the model sees."""
    device, was_training = next(model.parameters()).device, model.training
    model.eval()
    try:
        with NominationTrace(model, keep_maps=True) as trace:
            logits = model(model.preprocessing.normalise(seen)[None].to(device))
    finally:
        model.train(was_training)
    prediction = Classification(name, model.class_names, tuple(logits.float().softmax(-1)[0].tolist()))
    maps = {block: trace.maps(block)[0] for block in trace.blocks}
    probabilities = {block: trace.probabilities(block)[0] for block in trace.blocks}
    return Explanation(prediction, maps, trace.shares(), probabilities, seen)
