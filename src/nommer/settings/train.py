"""Everything that `nommer train` is told."""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from nommer.errors import InputError, check_minimum, refuse_options
from nommer.settings.addresses import whole
from nommer.settings.augmentation import Augmentation
from nommer.settings.choices import CacheKind, LoggerName, OnBadSample, Precision, SyncNorms
from nommer.settings.classification import ClassificationOptions
from nommer.settings.detection import DetectionOptions
from nommer.settings.distillation import DistillationOptions
from nommer.settings.durations import parse_duration
from nommer.settings.folds import check_folds
from nommer.settings.labels import LabelOptions
from nommer.settings.network import AUTO, PEER, NetworkOptions, check_model
from nommer.settings.optim import Optim
from nommer.settings.pixels import PixelOptions
from nommer.settings.schema import Settings, Takes, given, required
from nommer.settings.segmentation import SegmentationOptions
from nommer.settings.train_defaults import USUAL_LR
from nommer.zoo import entry_meant_by

TIMM = "timm"
"""Value of `pretrained` for timm's own weights, from its hub."""

OWN_DATA = Path("(own datasets)")
"""Stands for the data where people give data sets of their own from Python."""

LAST_STAGE = 4

_CROPPING = ("crop_pct", "crop_mode")
"""Options of `pixels` that are for tasks which crop."""


@dataclass(frozen=True)
class TrainSettings(Settings):
    """Settings of a training.

    Raises:
        InputError: a value of another type, or out of range; the message names it.
    """

    rare: ClassVar[frozenset[str]] = frozenset(
        {"epoch_steps", "nodes", "sync_norms", "accumulate", "checkpoint_minutes", "min_delta"}
        | {"on_bad_sample", "folds", "fold"}
    )
    """Options that the first screen of the help leaves out."""
    named: ClassVar[bool] = True
    command: ClassVar[str] = "train"
    """The verb that these settings are of, and that goes on with such a run."""
    task: ClassVar[str | None] = None
    """The task, where the data do not say it."""

    data: Takes[Path, str] = required()
    """Labelled images: a folder, an archive, a table or a data set on disk.
    Or the address of a folder or an archive (s3://, gs://, hf://, https://), brought to this disk.

    For classification a folder with train/CLASS/ and val/CLASS/ (val may be called valid,
    validation or test), or with CLASS/ alone, which is then split; an archive of these, a table of
    paths and labels, lists, ImageNet's own layouts, WebDataset shards or a Hugging Face dataset on
    disk. For segmentation images and masks, as images/train and masks/train, train/images and
    train/masks, images/ and masks/ with lists or alone, or as ADE20K, CamVid or VOC have them. For
    detection COCO, YOLO or VOC data, or maps of instances."""
    _: KW_ONLY
    model: str = AUTO
    """Variant of the network, or timm:NAME for one of timm.
    Variants are nommer_tiny, nommer_small, nommer_base, nommer_nano, nommer_pico, nommer_micro,
    nommer_mini64, nommer_nano64 and nommer_pico64. auto is that of --pretrained; else nommer_nano,
    from scratch for classes of images of 48 to 159 pixels nommer_mini64."""
    out: Takes[Path, str] = given(Path("runs/train"))
    """Run folder, made by this command."""
    classes: Takes[Path | None, str] = given(None)
    """For masks: file with names, values and colours of the classes.
    YAML or JSON; it says what to ignore, too. By default classes.yaml or classes.json in the data
    folder."""
    epochs: int = 100
    """Times that the training images are gone through."""
    epoch_steps: int | None = None
    """Steps that count as one epoch. By default as many as the training images fill."""
    batch_size: int | Literal["auto"] | None = None
    """Images per step and process. auto is the largest that fits into 90 % of a GPU's free memory
    or half of a CPU's, at most a tenth of the training images. Where there are fewer images than
    the default, all. By default 64, segmentation 8, detection 4."""
    image_size: int | None = None
    """Side of the square input in pixels.
    32 or more. For segmentation it is the side of the crops. Smaller images keep their own size. By
    default 224, segmentation 512."""
    lr: float | None = None
    """Learning rate at its highest.
    Small images are those for which auto is nommer_mini64. By default 1e-3, with small images 2e-3.
    """
    device: str = "auto"
    """auto, cpu, cuda, mps, or chosen ones as in cuda:0,1."""
    devices: int = 1
    """Devices of each machine, one process each. Of torchrun its own processes."""
    precision: Precision = "auto"
    """Number format of the computation. auto is bf16 on a GPU that can and 32 elsewhere."""
    compile: bool = False
    """Have torch.compile translate the training step.
    That takes one to five minutes at the start."""
    seed: int = 0
    """Seed of weights, split, order, augmentation and noise.
    The same seed gives the same result on the same machine."""
    nodes: int = 1
    """Number of machines, each running this command, as torchrun and SLURM start it."""
    sync_norms: SyncNorms = "auto"
    """Batch norms over the batches of all processes, on GPUs. auto is on for segmentation and
    detection."""
    workers: int | None = None
    """Processes that decode images. 0 decodes in the training process. By default one per core but
    one."""
    cache: CacheKind = "none"
    """Keep decoded images for all epochs, in memory or on disk.
    On disk they lie in the run folder.
    The results are the same for all processes; it says how much the images take, and refuses what
    does not fit."""
    accumulate: int = 1
    """Steps whose gradients are added up before the weights change."""
    checkpoint_minutes: float = 30.0
    """Greatest age of checkpoints/last.ckpt within an epoch. 0 saves after every step."""
    time_limit: str | None = None
    """Save and stop after a duration such as 90s, 30m, 8h or 1d12h.
    So early that the best model so far can still be evaluated; --resume goes on with a limit of its
    own."""
    ema: float | None = None
    """Deliver a moving average of the weights, of a decay such as 0.999.
    An exponential one; 0.9999 is for runs of 100,000 steps. It is evaluated, kept as the best and
    delivered in the weights' place. It warms up, so that short runs need no smaller one."""
    patience: int | None = None
    """Stop after so many epochs in a row without a better model. By default never."""
    min_delta: float = 0.0
    """With patience: by how much a better model must be better, from 0 to 1."""
    freeze: int | Literal["backbone"] = 0
    """Stages of the backbone, from the stem on, not trained (1 to 4).
    They keep the weights of --pretrained and run as in evaluation. backbone is all but the
    classifier or the heads, which for classification is a linear probe."""
    loggers: Takes[tuple[LoggerName, ...], LoggerName | Sequence[LoggerName]] = given(())
    """Besides metrics.csv and TensorBoard: wandb, mlflow or both.
    They are set up by their own environment variables, such as WANDB_MODE and
    MLFLOW_TRACKING_URI."""
    val_fraction: float = 0.2
    """Share of each class held back where the data has no val folder."""
    folds: int | None = None
    """Train so many times, each with another part of the training images held back.
    The runs are fold-0, fold-1, ... in --out; there mean and spread, the answers to the images
    held back, and labels that are probably wrong. A val folder of the data is not looked at."""
    fold: int | None = None
    """Only this one of --folds, counted from 0, as a run of its own."""
    on_bad_sample: OnBadSample = "auto"
    """Treatment of images that cannot be read.
    error refuses any, skip leaves out and lists them, auto leaves out and lists at most 1 %."""
    pretrained: Takes[Path | None, str] = given(None)
    """Model to start from, or its name in the zoo, such as nommer_nano; or timm.
    A run folder, a model folder or a published checkpoint. With a network of timm also timm, for
    its own weights, which are fetched from its hub, or a file of such weights (safetensors, or .pth
    of plain tensors). Other classes make a new classifier. Pixels are prepared as for these
    weights, unless --pixels says otherwise."""
    reinit_head: bool = False
    """Start with a new classifier, also for the same classes.
    Heads for pixels and objects are new in any case."""
    resume: bool = False
    """Go on with the run in --out from its last checkpoint, exactly.
    With more epochs if they are asked for."""
    overwrite: bool = False
    """Delete the run in --out first."""
    network: Takes[NetworkOptions, Mapping[str, Any]] = given(NetworkOptions())
    """Changes to the network."""
    optim: Takes[Optim, Mapping[str, Any]] = given(Optim())
    """Optimiser and schedule."""
    augment: Takes[Augmentation, Mapping[str, Any]] = given(Augmentation())
    """Random changes of the training images, for classification."""
    labels: Takes[LabelOptions, Mapping[str, Any]] = given(LabelOptions())
    """Labels where data leave them open, such as their format."""
    pixels: Takes[PixelOptions, Mapping[str, Any]] = given(PixelOptions())
    """Preparation of the pixels."""
    classification: Takes[ClassificationOptions, Mapping[str, Any]] = given(ClassificationOptions())
    """Classes of different size, for classification."""
    segmentation: Takes[SegmentationOptions, Mapping[str, Any]] = given(SegmentationOptions())
    """Head, loss and random changes of images and masks, for segmentation."""
    detection: Takes[DetectionOptions, Mapping[str, Any]] = given(DetectionOptions())
    """Heads, sizes and random changes of images and objects, for detection."""
    teacher: Takes[str | None, Path] = given(None)
    """Model to learn from as well: a run, a name of the zoo, or timm:NAME.
    Its answers are imitated where it knows the classes of the data, and its feature maps."""
    distillation: Takes[DistillationOptions, Mapping[str, Any]] = given(DistillationOptions())
    """Imitation of the teacher."""

    def check(self) -> None:
        """Refuse values out of range."""
        self._check_counts()
        if self.time_limit is not None:
            parse_duration(self.time_limit)
        if self.lr is not None and not self.lr > 0:
            raise InputError(f"--lr must be above 0, got {self.lr}")
        if self.pretrained == Path(TIMM) and not self.model.startswith(("timm:", "timm/")):
            raise InputError(
                f"--pretrained {TIMM}: is for networks of timm, got --model {self.model}; give "
                f"--model {PEER}NAME, or a model or file to start from"
            )
        if self.reinit_head and self.pretrained is None:
            raise InputError("--reinit-head: does nothing without --pretrained; leave it out")
        check_minimum("checkpoint-minutes", self.checkpoint_minutes, 0)
        if not 0 < self.val_fraction < 1:
            raise InputError(f"--val-fraction must be above 0 and below 1, got {self.val_fraction}")
        if self.model.startswith("timm/"):  # as others write it
            object.__setattr__(self, "model", PEER + self.model.removeprefix("timm/"))
        if self.model != AUTO:
            check_model(self.model)
        self._check_teacher()
        self._check_stopping()
        check_folds(self.folds, self.fold, self.time_limit)
        if self.freeze != "backbone" and not 0 <= self.freeze <= LAST_STAGE:
            raise InputError(
                f"--freeze must be from 0 to {LAST_STAGE}, or backbone, got {self.freeze}"
            )

    @property
    def several_runs(self) -> bool:
        """Every fold is to be trained."""
        return self.folds is not None and self.fold is None

    def _check_teacher(self) -> None:
        if self.teacher is None:
            refuse_options("distillation", self.distillation, "a training without --teacher")
        elif self.compile:
            raise InputError("--compile: does not go with --teacher; leave one of both out")
        if self.compile and self.network.balances:
            other = "--network.balance and decided"
            raise InputError(f"--compile: does not go with {other}; leave one of both out")

    def _check_stopping(self) -> None:
        if self.ema is not None and not 0 < self.ema < 1:
            raise InputError(f"--ema must be above 0 and below 1, got {self.ema}")
        check_minimum("patience", self.patience, 1)
        if not 0 <= self.min_delta < 1:
            raise InputError(f"--min-delta must be at least 0 and below 1, got {self.min_delta}")
        if self.min_delta and self.patience is None:
            raise InputError("--min-delta: does nothing without --patience; give both or none")

    def _check_counts(self) -> None:
        for name in ("epochs", "epoch_steps", "accumulate", "devices", "nodes"):
            check_minimum(name.replace("_", "-"), getattr(self, name), 1)
        for name in ("seed", "workers"):
            check_minimum(name, getattr(self, name), 0)
        check_minimum("batch-size", None if self.batch_size == "auto" else self.batch_size, 1)

    def without_weights(self) -> "TrainSettings":
        """Return a copy that starts from nothing: other weights follow."""
        given: dict[str, Any] = {"reinit_head": False} if self.reinit_head else {}
        return replace(self, pretrained=None, **given)

    @property
    def learning_rate(self) -> float:
        """`lr`, once it is resolved."""
        return self.lr or USUAL_LR

    @property
    def images_per_step(self) -> int:
        """`batch_size`, once it is resolved."""
        return self.batch_size if isinstance(self.batch_size, int) else 1

    def with_whole_paths(self) -> "TrainSettings":
        """Return a copy with absolute paths, so that they hold wherever the settings are read."""
        paths = {name: getattr(self, name) for name in ("data", "out", "classes", "pretrained")}
        named = self.pretrained == Path(TIMM) or (
            self.pretrained is not None and entry_meant_by(self.pretrained)
        )
        kept = {None, self.pretrained if named else None, OWN_DATA}
        teacher, weights = self.teacher, self.distillation.weights
        if teacher is not None and Path(teacher).exists():
            teacher = str(Path(teacher).absolute())
        here: dict[str, Any] = {n: whole(path) for n, path in paths.items() if path not in kept}
        distillation = replace(self.distillation, weights=weights and weights.absolute())
        return replace(self, teacher=teacher, distillation=distillation, **here)

    def for_whole_images(self, task: str) -> "TrainSettings":
        """Return a copy with `pixels` filled in for a task that sees whole images.

        Raises:
            InputError: an option that crops is given.
        """
        unset = PixelOptions()
        for name in _CROPPING:
            if getattr(self.pixels, name) != getattr(unset, name):
                raise InputError(
                    f"--pixels.{name.replace('_', '-')}: is not for {task}, which sees whole images"
                )
        values = self.pixels.values
        filled = {name: getattr(values, name) for name in ("mean", "std", "background")}
        interpolation = self.pixels.interpolation or "bilinear"
        return replace(self, pixels=replace(self.pixels, **filled, interpolation=interpolation))

    @property
    def normalisation(self) -> dict[str, Any]:
        """The options of `pixels` for a task that sees whole images, once they are resolved."""
        return {name: value for name, value in vars(self.pixels).items() if name not in _CROPPING}
