"""The classes of an image."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from nommer.predictions.drawing import LETTERS, LINE, MARGIN, enlarged


@dataclass(frozen=True)
class Classification:
    """Class probabilities of one image."""

    source: str
    """The image's path, or "image" for one given in memory."""
    class_names: tuple[str, ...]
    """Names of all classes, in the order of `probabilities`."""
    probabilities: tuple[float, ...]
    """Softmax of the model's scores: from 0 to 1, together 1."""

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
        ranked = sorted(zip(self.class_names, self.probabilities, strict=True), key=lambda pair: -pair[1])
        return ranked[:count]

    def to_dict(self, count: int = 5) -> dict[str, Any]:
        """Plain values for JSON: the image and its `count` most probable classes."""
        return {"image": self.source, "top": [{"class": name, "probability": p} for name, p in self.top(count)]}

    def plot(self, image: Image.Image, count: int = 3) -> Image.Image:
        """The image with its most probable classes written under it."""
        shown = image.copy()
        shown.thumbnail((640, 640))
        shown = shown if min(shown.size) >= 224 else shown.resize(enlarged(shown.size), Image.Resampling.NEAREST)
        font = ImageFont.load_default(LETTERS)
        lines = [f"{probability:.1%}  {name}" for name, probability in self.top(count)]
        width = max(shown.width, *(math.ceil(font.getlength(line)) + 2 * MARGIN for line in lines))
        sheet = Image.new("RGB", (width, shown.height + LINE * len(lines) + 2 * MARGIN), "white")
        sheet.paste(shown, (0, 0))
        draw = ImageDraw.Draw(sheet)
        for row, line in enumerate(lines):
            draw.text((MARGIN, shown.height + MARGIN + LINE * row), line, fill="black", font=font)
        return sheet

    def save(self, path: Path, image: Image.Image) -> None:
        """Write the annotated image to `path`."""
        self.plot(image).save(path)
