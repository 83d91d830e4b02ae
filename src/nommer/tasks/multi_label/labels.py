"""Classes that were answered, several per image, as a table."""

from pathlib import Path
from typing import Any

from nommer.data.sources import ImageSource
from nommer.files import write_csv
from nommer.predictions import Classification
from nommer.tasks.labels import LabelWriter


class TableLabels(LabelWriter):
    """`images/` and `train.csv`: a row per image, a column of 0 and 1 per class."""

    form = "table"

    def __init__(self, folder: Path, model: Any, **options: Any) -> None:
        super().__init__(folder, model, **options)
        self.rows: list[dict[str, Any]] = []

    def write(self, source: ImageSource, answer: Classification, name: str) -> None:
        """Copy the image and keep its classes."""
        copy = self.copy(source, self.folder / "images", name)
        answered = {one: int(one in answer.chosen) for one in answer.class_names}
        self.rows.append({"path": f"images/{copy.name}", **answered})

    def conclude(self) -> None:
        """Write the table."""
        write_csv(self.folder / "train.csv", self.rows, ("path", *self.model.class_names))
