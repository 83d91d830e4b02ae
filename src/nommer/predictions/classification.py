"""The classes of an image."""

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from PIL import Image, ImageDraw

from nommer.extras import require
from nommer.fonts import lettering_for
from nommer.predictions.answer import Answer, Moment
from nommer.predictions.drawing import LETTERS, LINE, MARGIN, fitted
from nommer.predictions.parts import Parts
from nommer.predictions.picture import Picture

if TYPE_CHECKING:
    import supervision as sv

NONE_OF_THESE = "none of these"
"""The word for an answer that is none of the classes."""


@dataclass(frozen=True, repr=False)
class Classification(Answer):
    """Class probabilities of one image."""

    options: ClassVar[frozenset[str]] = frozenset({"top"})

    source: str
    """The image's path, or "image" for one given in memory."""
    class_names: tuple[str, ...]
    """Names of all classes, in the order of `probabilities`."""
    probabilities: tuple[float, ...]
    """From 0 to 1: the softmax of the model's scores, together 1; or with a `threshold` the sigmoid
    of each.
    """
    threshold: float | None = None
    """Probability from which a class is answered, where an image may have several or none."""
    picture: Picture | None = field(default=None, repr=False, compare=False)
    """The way back to the image, for pictures in notebooks."""
    class_thresholds: tuple[float, ...] = ()
    """The same for every class, where they differ."""
    none_of_these: bool | None = None
    """The image is unlike those that were learned, so it probably shows none of the classes; None
    where the model cannot tell, or was not asked.
    """
    moment: Moment | None = field(default=None, repr=False)
    """The place in a video."""

    @classmethod
    def options_for(cls, *, multi_label: bool) -> frozenset[str]:
        """Return `options`, with the threshold where an image may have several classes.

        Elsewhere with the wish for a class in any case.
        """
        return cls.options | {"threshold" if multi_label else "refuse"}

    def by_thresholds(self, least: tuple[float, ...]) -> "Classification":
        """Return the answer with the least probability of each class; as it is where none is."""
        if len(set(least)) > 1:
            return replace(self, class_thresholds=least)
        return replace(self, threshold=least[0], class_thresholds=()) if least else self

    @property
    def chosen(self) -> tuple[str, ...]:
        """Names of the classes answered: the most probable one, or none of them.

        Or with a `threshold` all that reach it, in order.
        """
        if self.threshold is None:
            return () if self.none_of_these else (self.name,)
        least = self.class_thresholds or (self.threshold,) * len(self.class_names)
        answered = zip(self.class_names, self.probabilities, least, strict=True)
        return tuple(name for name, probability, at in answered if probability >= at)

    @property
    def label(self) -> int:
        """Index of the most probable class; ties to the first."""
        return self.probabilities.index(max(self.probabilities))

    @property
    def name(self) -> str:
        """Name of the most probable class."""
        return self.class_names[self.label]

    @property
    def probability(self) -> float:
        """Probability of the most probable class."""
        return self.probabilities[self.label]

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The `count` most probable classes as (name, probability), best first."""
        ranked = sorted(
            zip(self.class_names, self.probabilities, strict=True), key=lambda pair: -pair[1]
        )
        return ranked[:count]

    def rows(self) -> list[dict[str, Any]]:
        """Return a row per class, the most probable first, with its probability."""
        return [
            {**self.of, "class": name, "probability": probability}
            for name, probability in self.top(len(self.class_names))
        ]

    def to_dict(self, count: int = 5) -> dict[str, Any]:
        """Plain values for JSON.

        The image, its `count` most probable classes, and those answered of a multi-label model.
        """
        top = [{"class": name, "probability": p} for name, p in self.top(count)]
        if self.threshold is None:
            known = self.none_of_these is not None
            refused = {"none_of_these": self.none_of_these} if known else {}
            return {**self.of, **refused, "top": top}
        each = dict(zip(self.class_names, self.class_thresholds, strict=False))
        told = {"classes": list(self.chosen), "threshold": each or self.threshold}
        return {**self.of, **told, "top": top}

    def to_supervision(self) -> "sv.Classifications":
        """Return the probability of every class as the package supervision has it.

        Raises:
            InputError: supervision is not installed.
        """
        supervision = require("supervision", "data", "to_supervision")
        return supervision.Classifications(
            class_id=np.arange(len(self.class_names)),
            confidence=np.array(self.probabilities, np.float32),
        )

    def sure(self) -> "Classification":
        """Return the answer as it is."""
        return self

    def title(self, name: str) -> str:
        """Return the name with the most probable class."""
        return f"{name}: {self.name} ({self.probability:.0%})"

    def beside_explanation(self) -> dict[str, Any]:
        """Return the most probable class."""
        return self.to_dict(1)

    def parts(self) -> Parts | None:
        """Return nothing: the answer is of the whole image."""
        return None

    def headline(self) -> list[str]:
        """Return the most probable classes; of several answered, the surest of those."""
        if self.threshold is not None:
            return [f"{name} {share:.1%}" for name, share in self._answered()[:4]]
        named = [f"{name} {share:.1%}" for name, share in self.top(3)]
        return [NONE_OF_THESE, *named] if self.none_of_these else named

    def plot(self, image: Image.Image, count: int = 3) -> Image.Image:
        """The image with its most probable classes written under it."""
        shown = fitted(image, 640)
        lettering = lettering_for(self._lines(count))
        font, lines = lettering.font(LETTERS), [*map(lettering.shown, self._lines(count))]
        width = max(shown.width, *(math.ceil(font.getlength(line)) + 2 * MARGIN for line in lines))
        sheet = Image.new("RGB", (width, shown.height + LINE * len(lines) + 2 * MARGIN), "white")
        sheet.paste(shown, (0, 0))
        draw = ImageDraw.Draw(sheet)
        for row, line in enumerate(lines):
            draw.text((MARGIN, shown.height + MARGIN + LINE * row), line, fill="black", font=font)
        return sheet

    def _lines(self, count: int) -> list[str]:
        """The most probable classes.

        Where there may be several, those answered, or that there are none.
        """
        if self.threshold is None:
            named = [f"{probability:.1%}  {name}" for name, probability in self.top(count)]
            return [NONE_OF_THESE, *named] if self.none_of_these else named
        least = "its threshold" if self.class_thresholds else f"{self.threshold:.0%}"
        return [f"{p:.1%}  {name}" for name, p in self._answered()] or [
            f"none of the classes reaches {least}"
        ]

    def _answered(self) -> list[tuple[str, float]]:
        """The classes answered as (name, probability), most probable first."""
        answered = set(self.chosen)
        return [pair for pair in self.top(len(self.class_names)) if pair[0] in answered]

    def save(self, path: Path, image: Image.Image) -> None:
        """Write the annotated image to `path`."""
        self.plot(image).save(path)
