"""Explanation of one image: maps and shares of nominations, as pictures and plain values."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from nommer.backbone.contexts import CONTEXTS
from nommer.nominations.attention_maps import TokenView
from nommer.nominations.render import Regions, Span, nomination_figure
from nommer.nominations.render_tokens import token_figure
from nommer.nominations.tokens import Frame, Pixel, TokenExplanation, describe_view, typical_pixels
from nommer.predictions import Classification, Detections, Segmentation
from nommer.predictions.answer import Answer

ClassShares: TypeAlias = dict[str, dict[str, float]]
"""Per class, or other part of the image, the share of each context in its pixels, adding to 1."""


@dataclass(frozen=True)
class ExplanationSummary:
    """An explanation without its picture and maps; see there."""

    prediction: Answer
    shares: dict[str, dict[str, float]]
    mean_probabilities: dict[str, dict[str, float]]
    """Per nominator block the mean probability of each context, adding to 1."""
    shares_per_class: dict[str, ClassShares] | None = None
    shares_inside: dict[str, ClassShares] | None = None


@dataclass(frozen=True)
class Explanation:
    """Nominations on one image, and the answer they led to."""

    prediction: Classification | Segmentation | Detections
    maps: dict[str, Tensor]
    """Per nominator block (rows, columns) uint8: 0 convolution, 1 window, 2 global."""
    shares: dict[str, dict[str, float]]
    """Per nominator block the share of each context, adding to 1."""
    probabilities: dict[str, Tensor]
    """Softmax of the scores per nominator block, (rows, columns, 3) float32."""
    spans: dict[str, Span]
    """Per nominator block how many tokens the image spans, down and across."""
    contexts: tuple[str, ...]
    """Contexts that the network has; the others are never nominated."""
    image: Image.Image
    """The network's view; of a segmenter at the size of the labels, of a detector as it came."""
    frame: Frame
    """Part of the image file that it shows."""
    shares_per_class: dict[str, ClassShares] | None = None
    """Of a segmenter: shares in the pixels of every class predicted, per nominator block."""
    shares_inside: dict[str, ClassShares] | None = None
    """Of a detector: shares in the pixels of "objects" and "background", per nominator block."""
    shrunk_from: tuple[int, int] | None = None
    """Height and width before an image too large to be seen whole was shrunk."""
    tokens: tuple[TokenExplanation, ...] = ()
    """The tokens that were asked for."""
    class_token: tuple[TokenView, ...] = ()
    """The class token in the blocks of stage 4, where tokens were asked for."""

    def summary(self) -> ExplanationSummary:
        """Return what is small enough to be kept of many images."""
        answer = self.prediction.summary()
        means = self._mean_probabilities()
        return ExplanationSummary(
            answer, self.shares, means, self.shares_per_class, self.shares_inside
        )

    def _mean_probabilities(self) -> dict[str, dict[str, float]]:
        means = {block: map_.mean((0, 1)).tolist() for block, map_ in self.probabilities.items()}
        return {block: dict(zip(CONTEXTS, values, strict=True)) for block, values in means.items()}

    def plot(self) -> Figure:
        """Draw the image beside its maps, with shares and legend; then the answer and its parts."""
        regions = None
        if (drawn := self.prediction.with_parts(self.image)) is not None:
            picture, colours = drawn
            regions = Regions(picture, self.shares_per_class or self.shares_inside or {}, colours)
        return nomination_figure(
            self.image,
            self.maps,
            self.probabilities,
            title=self._title(),
            spans=self.spans,
            contexts=self.contexts,
            regions=regions,
        )

    def plot_tokens(self) -> Figure:
        """Draw what every token that was asked for sees in each block, and the class token."""
        return token_figure(
            self.image, self.tokens, self.class_token, title=self._title(), contexts=self.contexts
        )

    def typical_pixels(self) -> list[Pixel]:
        """A pixel for every context that is nominated, in the middle of where it is; see there."""
        strides = {block: self.frame.size[0] / down for block, (down, _) in self.spans.items()}
        return typical_pixels(self.maps, strides, self.frame)

    def _title(self) -> str:
        title = self.prediction.title(Path(self.prediction.source).name)
        if self.shrunk_from is None:
            return title
        return f"{title}, shrunk from {self.shrunk_from[1]} x {self.shrunk_from[0]}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON: the prediction, shares, mean probabilities, and tokens."""
        explained: dict[str, Any] = {
            "shares": self.shares,
            "mean_probabilities": self._mean_probabilities(),
        }
        if self.tokens:
            explained["tokens"] = [token.to_dict() for token in self.tokens]
            explained["class_token"] = [
                describe_view(view, self.frame) for view in self.class_token
            ]
        explained |= {name: getattr(self, name) for name in self.prediction.explained_by}
        return {**self.prediction.beside_explanation(), **explained}
