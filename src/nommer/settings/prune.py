"""Everything that `nommer prune` is told."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from nommer.errors import InputError, check_minimum
from nommer.settings.choices import Precision, SplitChoice
from nommer.settings.evaluate import EvaluateSettings
from nommer.settings.labels import LabelOptions
from nommer.settings.schema import Settings, Takes, given, required


@dataclass(frozen=True)
class PruneSettings(Settings):
    """Settings of taking contexts out of a trained network.

    Raises:
        InputError: a value of another type, or out of range; the message names it.
    """

    model: Takes[Path, str] = required()
    """Run folder, model folder, published checkpoint, or name of the zoo, such as
    nommer_nano."""
    _: KW_ONLY
    data: Takes[Path | None, str] = given(None)
    """Folder of labelled images, laid out as for training, on which every removal is evaluated. By
    default the run's own data."""
    share: float = 0.01
    """A context that fewer of the tokens of a block nominate, as a part of 1, is removed whatever
    that costs; 0 for none."""
    cost: float = 0.2
    """Other contexts are removed as long as the task's measure (top-1, mIoU, box AP) loses no more
    than this in all, in points of 100; negative for none."""
    out: Takes[Path | None, str] = given(None)
    """Folder for model/, both evaluations, report.md and result.json. By default a new one in the
    run folder."""
    split: SplitChoice = "auto"
    """Part of the data. auto takes val where there is one (also one that the run made), else
    everything."""
    classes: Takes[Path | None, str] = given(None)
    """For masks, YAML or JSON file with names, values and colours, as of evaluate."""
    batch_size: int | None = None
    """Images per step. By default as in the run, or 64."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    precision: Precision = "auto"
    """Number format of the computation, as of evaluate."""
    workers: int | None = None
    """Processes that decode images. By default one per core but one."""
    on_bad_sample: Literal["error", "skip"] = "error"
    """Treatment of images that cannot be read, as of evaluate."""
    overwrite: bool = False
    """Delete earlier results in --out."""
    labels: Takes[LabelOptions, Mapping[str, Any]] = given(LabelOptions())
    """Labels where data leave them open, as of evaluate."""

    def check(self) -> None:
        """Refuse values out of range."""
        check_minimum("batch-size", self.batch_size, 1)
        check_minimum("workers", self.workers, 0)
        if not 0 <= self.share <= 1:
            raise InputError(f"--share must be from 0 to 1, a part of the tokens, got {self.share}")
        if not abs(self.cost) <= 100:
            raise InputError(f"--cost must be at most 100 points, got {self.cost}")

    def evaluation(self) -> EvaluateSettings:
        """Return the settings of an evaluation of the model on these data."""
        shared = {one.name for one in fields(EvaluateSettings)}
        return EvaluateSettings(
            **{name: value for name, value in vars(self).items() if name in shared}
        )
