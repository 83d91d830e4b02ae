"""Everything that `nommer demo` is told."""

from dataclasses import dataclass
from pathlib import Path

from nommer.settings.schema import Settings, Takes, given


@dataclass(frozen=True)
class DemoSettings(Settings):
    """Settings of the demo."""

    out: Takes[Path, str] = given(Path("runs/demo"))
    """Folder for the images, the run and its results."""
    epochs: int = 10
    """Times that the training images are gone through."""
    overwrite: bool = False
    """Delete an earlier demo in --out."""
