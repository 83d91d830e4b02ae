"""Everything that `nommer replay` is told."""

from dataclasses import KW_ONLY, dataclass
from pathlib import Path

from nommer.settings.schema import Settings, Takes, required


@dataclass(frozen=True)
class ReplaySettings(Settings):
    """Settings of a replay."""

    run: Takes[Path, str] = required()
    """Run folder of the training that was stopped."""
    _: KW_ONLY
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
