"""Settings of a training, checked and filled in from the data and the machine."""

from dataclasses import replace

from nommer.data.module import Loading
from nommer.data.transforms import check_policy
from nommer.distributed.devices import parse_device, processes_of, resolve_precision
from nommer.errors import InputError
from nommer.settings.network import AUTO, USUAL
from nommer.settings.train import TrainSettings
from nommer.settings.train_defaults import default_workers
from nommer.tasks.optimiser import check_optimiser


def check_names(settings: TrainSettings) -> None:
    """Refuse names that timm does not know, before anything is read.

    Raises:
        InputError: of an optimiser, or of a policy of automatic augmentation.
    """
    check_optimiser(settings.optim)
    check_policy(settings.augment)


def resolve(settings: TrainSettings, *, train_images: int, largest_batch: int) -> TrainSettings:
    """Fill in everything that depends on the number of images and on the machine.

    Raises:
        InputError: a batch that is larger than the data.
    """
    if settings.freeze and settings.pretrained is None:
        raise InputError(
            "--freeze: without --pretrained the frozen layers would stay random; give both"
        )
    processes = processes_of(settings)
    accelerator, _ = parse_device(settings.device, settings.devices)
    return replace(
        settings,
        model=USUAL if settings.model == AUTO else settings.model,  # in people's own loops
        lr=settings.learning_rate,
        optim=replace(settings.optim, name=settings.optim.algorithm),
        batch_size=_batch_size(settings, train_images, largest_batch, processes),
        workers=default_workers() if settings.workers is None else settings.workers,
        precision=resolve_precision(settings.precision, accelerator),
    )


def _batch_size(settings: TrainSettings, images: int, largest: int, processes: int) -> int:
    """Return the images per step and process: those asked for, or the usual number."""
    share = images // processes
    if share < 2:
        raise InputError(
            f"{settings.data}: {images} training images for {processes} processes; 2 each are "
            "needed"
        )
    if not isinstance(settings.batch_size, int):
        return max(2, min(largest, share - share % 2))
    if settings.batch_size > share and not settings.epoch_steps:
        per = f" per process ({processes} processes)" if processes > 1 else ""
        raise InputError(
            f"--batch-size {settings.batch_size} is larger than the {share} training images{per}; "
            f"use {share} or less"
        )
    return settings.batch_size


def loading_of(settings: TrainSettings) -> Loading:
    """Return how batches are put together, once everything is resolved."""
    return Loading(
        batch_size=settings.images_per_step,
        workers=settings.workers or 0,
        seed=settings.seed,
        epoch_steps=settings.epoch_steps * settings.accumulate if settings.epoch_steps else None,
        balanced=settings.classification.sampling == "balanced",
        cache=settings.cache,
        cache_folder=settings.out,
    )
