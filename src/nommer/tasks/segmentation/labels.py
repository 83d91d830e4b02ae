"""Classes of pixels that were answered, as masks."""

from typing import Any

import yaml

from nommer.data.sources import ImageSource
from nommer.files import write_text
from nommer.predictions import Segmentation
from nommer.tasks.labels import LabelWriter


class MaskLabels(LabelWriter):
    """`images/`, `masks/` and `classes.yaml`: grey PNG, the value of a pixel is its class."""

    form = "masks"

    def write(self, source: ImageSource, answer: Segmentation, name: str) -> None:
        """Copy the image and write its mask."""
        self.copy(source, self.folder / "images", name)
        (self.folder / "masks").mkdir(exist_ok=True)
        answer.index_image().save(self.folder / "masks" / f"{name}.png")

    def conclude(self) -> None:
        """Name the classes."""
        described = zip(self.model.class_names, self.model.colours, strict=True)
        classes: list[dict[str, Any]] = [
            {"name": name, "value": value, "color": list(colour)}
            for value, (name, colour) in enumerate(described)
        ]
        text = yaml.safe_dump({"classes": classes}, allow_unicode=True, sort_keys=False)
        write_text(self.folder / "classes.yaml", text)
