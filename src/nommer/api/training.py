"""The verbs around training: look at the data, learn from them, see why it went wrong."""

from pathlib import Path
from typing import Literal

from nommer.checking.check import CheckResult, check_data
from nommer.runs.folder import RunFolder
from nommer.settings.augmentation import Augmentation
from nommer.settings.choices import CacheKind, LoggerName, Precision, SyncNorms
from nommer.settings.classification import ClassificationOptions
from nommer.settings.detection import DetectionOptions
from nommer.settings.network import NetworkOptions
from nommer.settings.optim import Optim
from nommer.settings.pixels import PixelOptions
from nommer.settings.segmentation import SegmentationOptions
from nommer.settings.train import TrainSettings
from nommer.training.conclusion import TrainingResult
from nommer.training.replay import ReplayResult, replay_step
from nommer.training.train import train_model


def check(
    data: Path | str,
    *,
    classes: Path | str | None = None,
    out: Path | str | None = None,
    overwrite: bool = False,
) -> CheckResult:
    """Look at labelled images before anything is learned from them.

    Every file is read whole, none is changed.

    Exit code: 0 where nothing is amiss but for notes; 1 for problems: something is left out,
    dropped or clipped, or the same image has two labels or is in two splits; 2 where training would
    refuse the data, also for labels that cannot be read at all. Whatever is found, the report is
    written; mistakes in the call are code 2 without one.

    Args:
        data: labelled images in any format that `train` takes.
        classes: for masks, YAML or JSON file with the names, values and colours of the classes and
            what to ignore.
        out: folder for report.html, data_issues.jsonl, images.csv and result.json. By default a new
            one, runs/check.
        overwrite: delete earlier results in `out`.

    Returns:
        What was found, the gravest first, and the folder.

    Raises:
        InputError: there is no such folder or file, or anything else given that does not fit.
    """
    root, file, folder = (None if path is None else Path(path) for path in (data, classes, out))
    return check_data(root or Path(), classes=file, out=folder, overwrite=overwrite)


def train(
    data: Path | str,
    *,
    model: str = "nommer_nano",
    out: Path | str = Path("runs/train"),
    classes: Path | str | None = None,
    epochs: int = 100,
    epoch_steps: int | None = None,
    batch_size: int | Literal["auto"] | None = None,
    image_size: int | None = None,
    lr: float = 1e-3,
    device: str = "auto",
    devices: int = 1,
    precision: Precision = "auto",
    compile: bool = False,  # noqa: A002 - the option's name, as elsewhere
    seed: int = 0,
    nodes: int = 1,
    sync_norms: SyncNorms = "auto",
    workers: int | None = None,
    cache: CacheKind = "none",
    accumulate: int = 1,
    checkpoint_minutes: float = 30.0,
    time_limit: str | None = None,
    ema: float | None = None,
    patience: int | None = None,
    min_delta: float = 0.0,
    freeze: int | Literal["backbone"] = 0,
    loggers: tuple[LoggerName, ...] = (),
    val_fraction: float = 0.2,
    on_bad_sample: Literal["auto", "error", "skip"] = "auto",
    pretrained: Path | str | None = None,
    reinit_head: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    network: NetworkOptions = NetworkOptions(),
    optim: Optim = Optim(),
    augment: Augmentation = Augmentation(),
    pixels: PixelOptions = PixelOptions(),
    classification: ClassificationOptions = ClassificationOptions(),
    segmentation: SegmentationOptions = SegmentationOptions(),
    detection: DetectionOptions = DetectionOptions(),
) -> TrainingResult:
    """Train on labelled images.

    What they are labelled with is learned: classes of images or pixels, or objects.

    Args:
        data: for classification a folder with train/CLASS/ and val/CLASS/ (val may be called valid,
            validation or test), or with CLASS/ alone, which is then split; an archive of these, a
            table of paths and labels, lists, ImageNet's own layouts, WebDataset shards or a Hugging
            Face dataset on disk. For segmentation images and masks, as images/train and
            masks/train, train/images and train/masks, images/ and masks/ with lists or alone, or as
            ADE20K, CamVid or VOC have them. For detection COCO, YOLO or VOC data, or maps of
            instances.
        model: variant of the network: nommer_tiny, nommer_small, nommer_base, nommer_nano,
            nommer_pico or nommer_micro; or timm:NAME, a network of timm without pretrained weights,
            to compare with.
        out: run folder, made by this command.
        classes: for masks, YAML or JSON file with the names, values and colours of the classes and
            what to ignore. By default classes.yaml or classes.json in the data folder.
        epochs: times that the training images are gone through.
        epoch_steps: steps that count as one epoch. By default as many as the training images fill.
        batch_size: images per step and process; auto is the largest that fits into 90 % of a GPU's
            free memory or half of a CPU's, at most a tenth of the training images. By default 64
            for classification, 8 for segmentation and 4 for detection, or all there are if fewer.
        image_size: side of the square input in pixels, 32 or more. By default 224, for smaller
            images their own size; for segmentation the side of the crops, by default 512, for
            smaller images theirs.
        lr: learning rate at its highest.
        device: auto, cpu, cuda, mps, or chosen ones as in cuda:0,1.
        devices: number of devices of each machine, one process each; of torchrun its own processes.
        nodes: number of machines, each running this command, as torchrun and SLURM start it.
        sync_norms: whether batch norms see the batches of all processes; auto does for segmentation
            and detection.
        precision: number format of the computation; auto is bf16 on a GPU that can and 32
            elsewhere.
        compile: have torch.compile translate the training step, which takes one to five minutes at
            the start.
        seed: of weights, split, order, augmentation and noise: the same seed gives the same result
            on the same machine.
        workers: processes that decode images; 0 decodes in the training process. By default one per
            core but one.
        cache: where decoded images are kept for all epochs and processes, with the same results:
            ram, disk (in the run folder), or none; it says how much they take, and refuses what
            does not fit.
        accumulate: steps whose gradients are added up before the weights change.
        checkpoint_minutes: how old checkpoints/last.ckpt may become within an epoch; 0 saves after
            every step.
        time_limit: duration such as 90s, 30m, 8h or 1d12h after which training is saved and
            stopped, so early that the best model so far can still be judged; --resume goes on with
            a limit of its own.
        ema: decay of an exponential moving average of the weights, such as 0.999 (0.9999 for runs of
            100,000 steps): it is evaluated, kept as the best and delivered in their place. It warms
            up, so that short runs need no smaller one.
        patience: stop after so many epochs in a row without a better model. By default never.
        min_delta: with patience: by how much a better model must be better, from 0 to 1.
        freeze: stages of the backbone, from the stem on, whose weights stay those of --pretrained
            (1 to 4); backbone for all but the classifier or the heads, which for classification is
            a linear probe. They run as in evaluation.
        loggers: wandb, mlflow or both, besides metrics.csv and TensorBoard; they are set up by
            their own environment variables, such as WANDB_MODE and MLFLOW_TRACKING_URI.
        val_fraction: share of each class that is held back where the data has no val folder.
        on_bad_sample: what to do with images that cannot be read: error refuses any, skip leaves
            them out and lists them, auto leaves out and lists at most 1 %.
        pretrained: run folder, model folder, published checkpoint, or name of the zoo, such as
            nommer_nano, whose weights to start from.
        reinit_head: start with a new classifier, as other classes than those of `pretrained` need;
            heads for pixels and objects are new in any case.
        resume: go on with the run in `out` from its last checkpoint, exactly; with more epochs if
            they are asked for.
        overwrite: delete the run in `out` first.
        network: changes to the network.
        optim: optimiser and schedule.
        augment: random changes of the training images, for classification.
        pixels: how pixels are prepared.
        classification: what is done about classes of different size, for classification.
        segmentation: head, loss and random changes of images and masks, for segmentation.
        detection: heads, sizes and random changes of images and objects, for detection and instance
            segmentation.

    Returns:
        The run folder, the judgement of the best epoch, and its model.

    Raises:
        InputError: anything given that does not fit; the message says what was found and what to
            do.
    """
    return train_model(TrainSettings(**locals()))


def replay(run: Path | str, *, device: str = "auto") -> ReplayResult:
    """Do the step again at which a run was stopped because its loss or gradient was no number,
    layer by layer.

    The same weights, the same images with the same random changes, the same noise; nothing is
    trained. A table of every layer's output and gradient is written to nonfinite/layers.csv in the
    run folder.

    Args:
        run: run folder of the training that was stopped.
        device: auto, cpu, cuda, cuda:1 or mps.

    Returns:
        What was seen of every tensor, and the first of them with a value that is no finite number.

    Raises:
        InputError: the run was not stopped so, or its data are others now.
    """
    return replay_step(RunFolder(Path(run)), device=device)
