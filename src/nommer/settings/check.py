"""Everything that `nommer check` is told."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

from nommer.errors import InputError
from nommer.settings.labels import LabelOptions
from nommer.settings.schema import Settings, Takes, given, required


@dataclass(frozen=True)
class CheckSettings(Settings):
    """Settings of a check of labelled images."""

    data: Takes[Path, str] = required()
    """Labelled images in any format that train takes."""
    _: KW_ONLY
    classes: Takes[Path | None, str] = given(None)
    """For masks, YAML or JSON file with names, values and colours of the classes.
    It says what to ignore, too."""
    out: Takes[Path | None, str] = given(None)
    """Folder for report.html, data_issues.jsonl, images.csv and result.json. By default a new one,
    runs/check."""
    model: Takes[Path | None, str] = given(None)
    """Model by whose vectors near-duplicates are found: run folder, model folder, or name of the
    zoo."""
    looks: bool = False
    """Tell images that are dark, too light, blurred, or look the same; needs the extra [data]."""
    near: float = 0.95
    """Cosine of the vectors of two images from which they are told as near-duplicates."""
    device: str = "auto"
    """Of the model: auto, cpu, cuda, cuda:1 or mps."""
    overwrite: bool = False
    """Delete earlier results in --out."""
    labels: Takes[LabelOptions, Mapping[str, Any]] = given(LabelOptions())
    """Labels where data leave them open, such as their format."""

    def check(self) -> None:
        """Refuse a cosine that is none."""
        if not 0 < self.near <= 1:
            raise InputError(f"--near must be above 0 and at most 1, got {self.near}")
