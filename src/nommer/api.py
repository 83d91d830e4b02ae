"""The verbs: one typed function each, which the command line and the YAML recipes call with the same names."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nommer.data.transforms import Augmentation, PixelOptions
from nommer.engine.optim import Optim
from nommer.engine.settings import NetworkOptions, TrainSettings
from nommer.engine.training import TrainingResult, train_classifier


def train(  # noqa: PLR0913 - the signature is the schema of the command line and of the recipes
    data: Path,
    model: str = "nommer_nano",
    out: Path = Path("runs/train"),
    epochs: int = 100,
    batch_size: int | None = None,
    image_size: int | None = None,
    lr: float = 1e-3,
    device: str = "auto",
    devices: int = 1,
    precision: Literal["auto", "32", "bf16", "16"] = "auto",
    seed: int = 0,
    workers: int | None = None,
    accumulate: int = 1,
    val_fraction: float = 0.2,
    on_bad_sample: Literal["auto", "error", "skip"] = "auto",
    pretrained: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    network: NetworkOptions = NetworkOptions(),
    optim: Optim = Optim(),
    augment: Augmentation = Augmentation(),
    pixels: PixelOptions = PixelOptions(),
) -> TrainingResult:
    """Train an image classifier on folders of images, one folder per class.

    Args:
        data: folder with train/CLASS/ and val/CLASS/ (val may be called valid, validation or test), or with CLASS/ alone,
            which is then split.
        model: variant of the network: nommer_tiny, nommer_small, nommer_base, nommer_nano, nommer_pico or nommer_micro.
        out: run folder, made by this command.
        epochs: times that the training images are gone through.
        batch_size: images per step and process. By default 64, or all there are if fewer.
        image_size: side of the square input in pixels, 32 or more. By default 224; for smaller images their own size.
        lr: learning rate at its highest.
        device: auto, cpu, cuda, mps, or chosen ones as in cuda:0,1.
        devices: number of devices, one process each.
        precision: number format of the computation; auto is bf16 on a GPU that can and 32 elsewhere.
        seed: of weights, split, order, augmentation and noise: the same seed gives the same result on the same machine.
        workers: processes that decode images; 0 decodes in the training process. By default one per core but one.
        accumulate: steps whose gradients are added up before the weights change.
        val_fraction: share of each class that is held back where the data has no val folder.
        on_bad_sample: what to do with images that cannot be read: error refuses any, skip leaves them out and lists them,
            auto leaves out and lists at most 1 %.
        pretrained: run folder, model folder or published checkpoint whose weights to start from.
        resume: go on with the run in `out` from its last epoch.
        overwrite: delete the run in `out` first.
        network: changes to the network.
        optim: optimiser and schedule.
        augment: random changes of the training images.
        pixels: how pixels are prepared.

    Returns:
        The run folder, the judgement of the best epoch, and its model.

    Raises:
        InputError: anything given that does not fit; the message says what was found and what to do.
    """
    return train_classifier(TrainSettings(**locals()))
