"""Attribution: how much each part of an image speaks for the answer, of any network.

It says why, where nominations say how: by gradients through Captum of networks in PyTorch, by
hiding parts of the image of those that were exported.

Sources: Sundararajan, Taly and Yan, "Axiomatic Attribution for Deep Networks", ICML 2017
(integrated gradients); Shrikumar et al., "Not Just a Black Box", 2016 (gradient times input).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any, Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from nommer.models.evaluation_mode import evaluating
from nommer.models.recogniser import Recogniser, View
from nommer.nominations.tokens import Frame
from nommer.predictions import Classification, Detections, Failure, Segmentation
from nommer.predictions.answer import Answer
from nommer.predictions.occlusion import occlusion, target_of

Method = Literal["integrated gradients", "gradient x input", "occlusion"]

_SIDE = 20
"""Cells along the longer side of a map by gradients."""

_STEPS = 24
"""Of the integral, of images of 224 x 224 pixels; fewer of larger ones."""


@dataclass(frozen=True)
class Attribution:
    """A value for each cell of what the network sees: how much it speaks for an answer."""

    method: Method
    target: str
    """The answer that is explained, in words."""
    values: np.ndarray
    """(rows, columns) float32: above 0 for the answer, below 0 against it."""
    frame: Frame

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        left, upper, right, lower = self.frame.box
        rounded = [[float(f"{value:.4g}") for value in row] for row in self.values.tolist()]
        box = [round(float(value), 2) for value in (left, upper, right, lower)]
        return {"method": self.method, "target": self.target, "box": box, "values": rounded}


def method_of(model: Recogniser) -> Method:
    """Return the method that a model's answers are attributed by."""
    if model.exported is not None or find_spec("captum") is None:
        return "occlusion"
    return "integrated gradients" if model.smooth_scores else "gradient x input"


def attribute(
    model: Recogniser, image: Image.Image, answer: Classification | Segmentation | Detections
) -> Attribution:
    """Return the attribution of a model's answer to one image.

    Args:
        model: of any network.
        image: decoded, in RGB.
        answer: the model's answer to it.
    """
    view, method = model.view(image), method_of(model)
    frame = Frame.of_view(image, view)
    if method == "occlusion":
        values = occlusion(view.image, answer, partial(_answers, model))
        return Attribution(method, target_of(answer), values, frame)
    values = _by_gradients(model, view, answer, method)
    return Attribution(method, target_of(answer), values, frame)


def _answers(model: Recogniser, images: Sequence[Image.Image]) -> list[Answer]:
    # what is seen is a crop already, and a crop of a crop would be another place
    found = []
    for image in images:
        view = View(image, model.preprocessing.normalise(image))
        answered = model.answer(view, "image")
        found.append(Failure("image", "NaN") if answered is None else answered.sure())
    return found


def _by_gradients(model: Recogniser, view: View, answer: Answer, method: Method) -> np.ndarray:
    from captum.attr import InputXGradient, IntegratedGradients  # noqa: PLC0415 - optional

    prepared = view.prepared[None].to(model.device, model.dtype)
    with evaluating(model) as network, torch.inference_mode(mode=False), torch.enable_grad():
        score = partial(_score, network, answer, cast("tuple[int, int]", view.prepared.shape[1:]))
        pixels = prepared.clone().requires_grad_()
        if method == "gradient x input":
            found = InputXGradient(score).attribute(pixels)
        else:
            area = prepared.shape[-1] * prepared.shape[-2] / 224**2
            steps = max(8, min(_STEPS, round(_STEPS / area)))
            found = IntegratedGradients(score).attribute(
                pixels, n_steps=steps, internal_batch_size=1 if area > 2 else 8
            )
    return _on_cells(found.detach()[0].float().sum(0).cpu())


def _score(model: Any, answer: Answer, size: tuple[int, int], images: Tensor) -> Tensor:
    """Return the score that is followed, (B,)."""
    if isinstance(answer, Classification):
        return model(images)[:, answer.label]
    if isinstance(answer, Segmentation):
        label = answer.class_names.index(next(iter(answer.shares)))
        labels = torch.from_numpy(answer.labels.astype(np.uint8))[None, None].float()
        scores = model(images)[:, label]
        mask = F.interpolate(labels, size=scores.shape[-2:], mode="nearest-exact")[:, 0] == label
        return (scores * mask.to(scores)).mean((1, 2))
    found = model(list(images))
    # zero times the pixels: an image without objects has a gradient, of zeros
    return torch.stack([one["scores"].sum() for one in found]) + 0 * images.sum((1, 2, 3))


def _on_cells(values: Tensor) -> np.ndarray:
    """Return the sum of pixels in each cell."""
    height, width = values.shape
    longest = max(height, width)
    rows, columns = (max(1, round(_SIDE * side / longest)) for side in (height, width))
    cells = F.adaptive_avg_pool2d(values[None, None], (rows, columns))[0, 0]
    return (cells * (height * width / rows / columns)).numpy()
