"""What one image made a model nominate: maps and shares, as pictures and as plain values."""

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
from nommer.nominations.tokens import Frame, Pixel, TokenSight, describe_view, typical_pixels
from nommer.predictions import Classification, Detections, Segmentation, SegmentationSummary

ClassShares: TypeAlias = dict[str, dict[str, float]]
"""Per class, or other part of the image, the share of each context in its pixels, adding to 1."""

PART_COLOURS = {"objects": (230, 60, 60), "background": (200, 200, 200)}
"""Parts of an image with objects, and the colour that stands beside their names."""


@dataclass(frozen=True)
class ExplanationSummary:
    """What is left of an explanation without its picture and maps; see there."""

    prediction: Classification | SegmentationSummary | Detections
    shares: dict[str, dict[str, float]]
    mean_probabilities: dict[str, dict[str, float]]
    """Per nominator block the mean probability of each context, adding to 1."""
    shares_per_class: dict[str, ClassShares] | None = None
    shares_inside: dict[str, ClassShares] | None = None


@dataclass(frozen=True)
class Explanation:
    """What one image made the model nominate."""

    prediction: Classification | Segmentation | Detections
    maps: dict[str, Tensor]
    """Per nominator block (rows, columns) uint8: 0 convolution, 1 window, 2 global."""
    shares: dict[str, dict[str, float]]
    """Per nominator block the share of each context, adding to 1."""
    probabilities: dict[str, Tensor]
    """Per nominator block (rows, columns, 3) float32: the softmax of the scores, how close the
    contest was.
    """
    spans: dict[str, Span]
    """Per nominator block how many tokens the image spans, down and across."""
    contexts: tuple[str, ...]
    """That the network has; the others are never nominated."""
    image: Image.Image
    """What the network saw; of a segmenter at the size of the labels, of a detector as it came."""
    frame: Frame
    """Which part of the image file that is."""
    shares_per_class: dict[str, ClassShares] | None = None
    """Of a segmenter, per nominator block: the share of each context in the pixels of every class
    predicted.
    """
    shares_inside: dict[str, ClassShares] | None = None
    """Of a detector, per nominator block: the share of each context in the pixels of "objects" and
    in "background".
    """
    shrunk_from: tuple[int, int] | None = None
    """Height and width of an image too large to be seen whole, which was shrunk to about two
    million pixels.
    """
    tokens: tuple[TokenSight, ...] = ()
    """What the tokens that were asked for see."""
    class_token: tuple[TokenView, ...] = ()
    """What the class token sees in the blocks of stage 4, where tokens were asked for."""

    def summary(self) -> ExplanationSummary:
        """What is small enough to be kept of many images."""
        answer = (
            self.prediction.summary()
            if isinstance(self.prediction, Segmentation)
            else self.prediction
        )
        means = self._mean_probabilities()
        return ExplanationSummary(
            answer, self.shares, means, self.shares_per_class, self.shares_inside
        )

    def _mean_probabilities(self) -> dict[str, dict[str, float]]:
        means = {block: map_.mean((0, 1)).tolist() for block, map_ in self.probabilities.items()}
        return {block: dict(zip(CONTEXTS, values, strict=True)) for block, values in means.items()}

    def plot(self) -> Figure:
        """The image beside its maps, with the shares and a legend.

        Then the answer and the shares of its parts.
        """
        regions = None
        if isinstance(self.prediction, Segmentation):
            colours = dict(zip(self.prediction.class_names, self.prediction.colours, strict=True))
            regions = Regions(
                self.prediction.overlay(self.image), self.shares_per_class or {}, colours
            )
        elif isinstance(self.prediction, Detections):
            regions = Regions(
                self.prediction.plot(self.image), self.shares_inside or {}, PART_COLOURS
            )
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
        """What every token that was asked for sees in each block, and the class token.

        See `token_figure`.
        """
        return token_figure(
            self.image, self.tokens, self.class_token, title=self._title(), contexts=self.contexts
        )

    def typical_pixels(self) -> list[Pixel]:
        """A pixel for every context that is nominated, in the middle of where it is; see there."""
        strides = {block: self.frame.size[0] / down for block, (down, _) in self.spans.items()}
        return typical_pixels(self.maps, strides, self.frame)

    def _title(self) -> str:
        name = Path(self.prediction.source).name
        if isinstance(self.prediction, Classification):
            return f"{name}: {self.prediction.name} ({self.prediction.probability:.0%})"
        return (
            f"{name}, shrunk from {self.shrunk_from[1]} x {self.shrunk_from[0]}"
            if self.shrunk_from
            else name
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON.

        The prediction, the shares, the mean probability of each context, and of tokens.
        """
        explained: dict[str, Any] = {
            "shares": self.shares,
            "mean_probabilities": self._mean_probabilities(),
        }
        if self.tokens:
            explained["tokens"] = [token.to_dict() for token in self.tokens]
            explained["class_token"] = [
                describe_view(view, self.frame) for view in self.class_token
            ]
        if isinstance(self.prediction, Classification):
            return {**self.prediction.to_dict(1), **explained}
        answer = self.prediction.to_dict()
        if isinstance(self.prediction, Detections):
            return {**answer, **explained, "shares_inside": self.shares_inside}
        classes = answer.pop("shares")
        return {
            **answer,
            "shrunk_from": self.shrunk_from,
            "classes": classes,
            **explained,
            "shares_per_class": self.shares_per_class,
        }
