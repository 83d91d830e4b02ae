"""Everything that `nommer evaluate` is told."""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, Literal

from nommer.errors import InputError, check_minimum
from nommer.settings.choices import Precision, SplitChoice
from nommer.settings.inference import Inference
from nommer.settings.labels import LabelOptions
from nommer.settings.schema import Settings, Takes, given, required

_COMPARED = 2
"""Models that are compared."""


@dataclass(frozen=True)
class EvaluateSettings(Settings):
    """Settings of an evaluation.

    Raises:
        InputError: a value of another type, or out of range; the message names it.
    """

    model: Takes[Path, str | Sequence[str | Path]] = required()
    """Run folder, model folder, exported model.onnx, published checkpoint, or name of the zoo, such
    as nommer_nano."""
    against: Takes[Path | None, str] = given(None)
    """Second model, evaluated on the same images, to tell which one is better."""
    _: KW_ONLY
    data: Takes[Path | None, str] = given(None)
    """Folder of labelled images, laid out as for training. Classes are matched by name. By default
    the run's own data."""
    classes: Takes[Path | None, str] = given(None)
    """For masks, YAML or JSON file with names, values and colours. By default the run's own for its
    own data, else classes.yaml or classes.json in the data folder."""
    split: SplitChoice = "auto"
    """Part of the data to evaluate on. auto takes val where there is one (also one that the run
    made), else everything."""
    out: Takes[Path | None, str] = given(None)
    """Folder for the results. By default a new one in the run folder."""
    batch_size: int | None = None
    """Images per step. By default as in the run, or 64."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    precision: Precision = "auto"
    """Number format of the computation. auto is the run's own, and for other models bf16 on a GPU
    that can and 32 elsewhere."""
    compile: bool = False
    """Have torch.compile translate the network first. That pays on a GPU and many images."""
    workers: int | None = None
    """Processes that decode images. By default one per core but one."""
    on_bad_sample: Literal["error", "skip"] = "error"
    """Treatment of images that cannot be read. error refuses any (but for those that training left
    out), skip leaves them out and lists them."""
    overwrite: bool = False
    """Delete earlier results in --out."""
    calibrate: bool = False
    """Find thresholds, temperature and what is none of the classes on these images, and write the
    model with them into model/ of --out. Training does so on its validation images by itself."""
    inference: Takes[Inference, Mapping[str, Any]] = given(Inference())
    """The way of a segmenter or detector over an image: whole or in windows; of a segmenter also
    scales, mirrored."""
    labels: Takes[LabelOptions, Mapping[str, Any]] = given(LabelOptions())
    """Labels where data leave them open. By default as the run has them for its own data."""

    def __post_init__(self) -> None:
        """Take two models as one list, too."""
        given: Any = self.model
        if isinstance(given, list | tuple):
            if len(given) != _COMPARED or self.against is not None:
                raise InputError(
                    "model: expected one model, or two in a list and nothing against them, got "
                    f"{len(given)} in a list{' and one against' * (self.against is not None)}"
                )
            object.__setattr__(self, "model", given[0])
            object.__setattr__(self, "against", given[1])
        super().__post_init__()

    def check(self) -> None:
        """Refuse values out of range."""
        check_minimum("batch-size", self.batch_size, 1)
        check_minimum("workers", self.workers, 0)
        if self.calibrate and self.against is not None:
            raise InputError("--calibrate is for one model; leave out the second one")
