"""Classes that were answered, as class folders."""

from pathlib import Path
from typing import Any

from nommer.data.sources import ImageSource
from nommer.predictions import Classification
from nommer.tasks.labels import LabelWriter, folder_name


class FolderLabels(LabelWriter):
    """`CLASS/IMAGE`, in the folder of the most probable class, called as the data call it."""

    form = "folders"

    def __init__(self, folder: Path, model: Any, **options: Any) -> None:
        names = model.class_ids or model.class_names
        self.folders = [folder_name(name, "--as-data") for name in names]
        super().__init__(folder, model, **options)

    def write(self, source: ImageSource, answer: Classification, name: str) -> None:
        """Copy the image into its class's folder."""
        self.copy(source, self.folder / self.folders[answer.label], name)
