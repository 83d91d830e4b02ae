"""One training run, from data on disk to a judged model in a run folder."""

import sys
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from lightning_utilities.core.rank_zero import rank_zero_only

from nommer.backbone.network import NomMer
from nommer.data.audit import Audited, audit
from nommer.data.classification import ClassificationData, Loading
from nommer.data.formats.folders import ClassFolders, read_class_folders, split_as_csv, split_stratified
from nommer.data.seeding import seed_all
from nommer.engine.callbacks import BestModel, EpochLines, History, ProgressBar
from nommer.engine.checkpoint import MovableCheckpoint, read_epochs
from nommer.engine.classification import ClassificationTask
from nommer.engine.judging import judge, save_judgement, save_training_batch
from nommer.engine.metrics import ClassificationReport
from nommer.engine.run import RunFolder, check_outside, prepare_folder
from nommer.engine.settings import TrainSettings
from nommer.engine.trainer import count_processes, interruptible, make_trainer, parse_device, quiet_lightning
from nommer.errors import InputError
from nommer.heads.classification import Classifier
from nommer.heads.storage import load, load_weights, network_of, save_model
from nommer.progress import console, notice


@dataclass(frozen=True)
class TrainingResult:
    """What a finished run has to show."""

    out: Path
    """The run folder; `nommer.load(out)` loads the model."""
    report: ClassificationReport
    """Judgement of the best epoch's model on the validation images."""
    epoch: int
    """The best epoch, by validation top-1; the first of equals."""
    model: Classifier
    """The best epoch's model, in evaluation mode on the CPU."""


def train_classifier(settings: TrainSettings) -> TrainingResult:
    """Train as `settings` say; see `nommer.train`."""
    parse_device(settings.device, settings.devices)
    run = RunFolder(settings.out)
    first = process_rank() == 0
    console.quiet = not first
    if first:
        run.check(resume=settings.resume, overwrite=settings.overwrite)
    if settings.overwrite:
        check_outside(settings.data, settings.out)
    audited = find_data(settings)
    settings = settings.resolved(train_images=len(audited.data.splits["train"]), short_side=audited.short_side)
    model = build_model(settings, audited.data.class_names)
    if first:
        open_run(run, settings, audited.data)
    notice(describe(settings, audited.data))
    with quiet_lightning():
        return fit_and_judge(settings, run, audited.data, model)


def process_rank() -> int:
    """This process's rank, before any process group exists."""
    return int(getattr(rank_zero_only, "rank", None) or 0)


def find_data(settings: TrainSettings) -> Audited:
    """Read, audit and if need be split the data; tell what is left out."""
    audited = audit(read_class_folders(settings.data), on_bad_sample=settings.on_bad_sample)
    data = audited.data
    if "val" not in data.splits:
        data = split_stratified(data, fraction=settings.val_fraction, seed=settings.seed)
    if data.issues:
        notice(f"{len(data.issues)} issues in the data, {data.left_out} files left out: see data_issues.jsonl")
    return replace(audited, data=data)


def open_run(run: RunFolder, settings: TrainSettings, data: ClassFolders) -> None:
    """Make the run folder and write what is known before training; or check that the run may be resumed."""
    split, pretrained = split_as_csv(data), settings.pretrained and settings.pretrained.absolute()
    written = replace(settings, data=settings.data.absolute(), out=settings.out.absolute(), pretrained=pretrained)
    if settings.resume:
        run.check_resumable(vars(written), split)
    prepare_folder(run.path, resume=settings.resume, overwrite=settings.overwrite)
    run.write_config({name: value for name, value in vars(written).items() if name not in ("resume", "overwrite")})
    run.write_issues(data.issues)
    run.write_split(split)


def build_model(settings: TrainSettings, class_names: tuple[str, ...]) -> Classifier:
    """The network with fresh weights, or those of another model."""
    seed_all(settings.seed)
    preprocessing = settings.preprocessing()
    config = settings.network.config(settings.model, num_classes=len(class_names), image_size=preprocessing.image_size)
    network = NomMer(config)
    network.set_grad_checkpointing(settings.network.grad_checkpointing)
    if settings.pretrained is not None:
        transfer(network, class_names, settings.pretrained)
    return Classifier(network, class_names=class_names, preprocessing=preprocessing)


def transfer(network: NomMer, class_names: tuple[str, ...], source: Path) -> None:
    """Take over the weights of the model at `source`; its classifier only when the classes are the same.

    Raises:
        InputError: the networks differ in more than the classifier and the position embedding's size.
    """
    model = load(source)
    other = network_of(model, source)
    check_same_architecture(network, other, source)
    other.set_input_size(network.config.img_size)
    if model.class_names == class_names:
        notice(f"all weights taken from {source}")
    else:
        notice(
            f"weights taken from {source}; its classifier for {len(model.class_names)} other classes is replaced "
            f"by a new one for {len(class_names)}"
        )
        other.reset_classifier(0)
        kept = {name: value for name, value in network.state_dict().items() if name.startswith("head.")}
        load_weights(network, other.state_dict() | kept, source)
        return
    load_weights(network, other.state_dict(), source)


def check_same_architecture(network: NomMer, other: NomMer, source: Path) -> None:
    """Refuse weights of a network that differs in a part that has weights.

    Raises:
        InputError: what differs, each with both values.
    """
    free = {"num_classes", "img_size", "global_pool", "drop_rate", "drop_path_rate"}
    wanted, found = vars(network.config), vars(other.config)
    differing = [
        f"{name} {found[name]} (now {wanted[name]})" for name in wanted.keys() - free if found[name] != wanted[name]
    ]
    if differing:
        raise InputError(
            f"--pretrained {source} is another network, with {', '.join(sorted(differing))}; "
            "choose the --model and --network options that it has"
        )


def describe(settings: TrainSettings, data: ClassFolders) -> str:
    """What is about to happen, in one line."""
    sizes = ", ".join(f"{len(samples)} {split}" for split, samples in data.splits.items())
    accelerator, _ = parse_device(settings.device, settings.devices)
    total = (settings.batch_size or 1) * count_processes(settings.device, settings.devices)
    steps, rest = divmod(len(data.splits["train"]), total)
    waiting = f" ({rest} images, others each time, wait for the next epoch)" if rest else ""
    return (
        f"{settings.model}: {len(data.class_names)} classes, {sizes} images of {settings.data}; "
        f"image size {settings.image_size}, {settings.epochs} epochs of {steps} steps of {total} images{waiting}, "
        f"{accelerator}, precision {settings.precision}, run folder {settings.out}"
    )


def describe_resumption(settings: TrainSettings, done: int) -> str:
    """Where a resumed run goes on, or that there is nothing left to do."""
    if done < settings.epochs:
        return f"going on after epoch {done} of {settings.epochs}"
    return f"all {done} epochs are done: nothing to train; a larger --epochs goes on from here, on its own schedule"


def fit_and_judge(settings: TrainSettings, run: RunFolder, data: ClassFolders, model: Classifier) -> TrainingResult:
    """Train, take the best epoch's weights, judge them and write everything down."""
    module = ClassificationData(
        data.splits["train"],
        data.splits["val"],
        preprocessing=model.preprocessing,
        augmentation=settings.augment,
        loading=Loading(batch_size=settings.batch_size or 1, workers=settings.workers or 0, seed=settings.seed),
    )
    history = History(run)
    trainer = build_trainer(settings, run, history)
    lr = settings.optim.scaled_lr(settings.lr, (settings.batch_size or 1) * trainer.world_size * settings.accumulate)
    mixing = settings.augment.mixing(len(model.class_names), settings.optim.label_smoothing)
    task = ClassificationTask(model, optim=settings.optim, lr=lr, mixing=mixing, seed=settings.seed)
    if trainer.is_global_zero:
        save_training_batch(module, model.class_names, run.path / "train_batch.jpg")
    if settings.resume:
        notice(describe_resumption(settings, read_epochs(run.last)))
    with interruptible(trainer):
        trainer.fit(task, datamodule=module, ckpt_path=str(run.last) if settings.resume else None)
    leave_process_group()
    history.draw()
    return conclude(settings, run, module, task)


def leave_process_group() -> None:
    """After training the first process goes on alone; the others are done and end."""
    if not torch.distributed.is_initialized():
        return
    rank = torch.distributed.get_rank()
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    if rank > 0:
        sys.exit(0)


def build_trainer(settings: TrainSettings, run: RunFolder, history: History) -> L.Trainer:
    """The trainer of a run, with its records and checkpoints."""
    saving: dict[str, Any] = {"save_on_train_epoch_end": True, "enable_version_counter": False}
    best = MovableCheckpoint(run.checkpoints, filename="best", monitor="val_top1", mode="max", **saving)
    last = MovableCheckpoint(run.checkpoints, filename="last", **saving)  # after "best", whose best value it holds
    terminal = sys.stderr.isatty()
    return make_trainer(
        device=settings.device,
        devices=settings.devices,
        precision=settings.precision,
        out=run.path,
        max_epochs=settings.epochs,
        accumulate_grad_batches=settings.accumulate,
        gradient_clip_val=settings.optim.clip_grad or None,
        callbacks=[history, BestModel(run), ProgressBar() if terminal else EpochLines(), best, last],
        enable_progress_bar=terminal,
        logger=TensorBoardLogger(run.path, name="", version="tensorboard"),
        log_every_n_steps=1_000_000,
    )


def conclude(
    settings: TrainSettings, run: RunFolder, module: ClassificationData, task: ClassificationTask
) -> TrainingResult:
    """Judge the best epoch's weights the way `nommer evaluate` does, and write the model to use."""
    best: dict[str, Any] = torch.load(run.best, map_location="cpu", weights_only=True)
    task.load_state_dict(best["state_dict"])
    epoch = read_epochs(run.best)
    first = settings.device.partition(",")[0]  # of several devices
    judgement = judge(task.model, module, device=first, precision=settings.precision, out=run.path)
    model = task.model.cpu().eval()
    save_model(run.model, model, metrics={"epoch": epoch, **judgement.report.summary()}, version=version("nommer"))
    save_judgement(judgement, model, run.path, facts={"epoch": epoch, "data": str(settings.data), "split": "val"})
    notice(f"best epoch {epoch}: top-1 {judgement.report.top1:.2%} on {judgement.report.images} validation images")
    return TrainingResult(out=run.path, report=judgement.report, epoch=epoch, model=model)
