"""The teacher of a run, and the losses of imitating it, as the settings say."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from nommer.errors import InputError
from nommer.models.networks import build_timm
from nommer.models.recogniser import Recogniser
from nommer.models.storage import network_of, read_model
from nommer.models.transfer import fetch_weights, take_over
from nommer.models.weights import read_checkpoint
from nommer.settings.distillation import DistillationOptions
from nommer.settings.network import PEER
from nommer.settings.train import TrainSettings
from nommer.tasks.distillation import Distillation, Teacher


def build_distillation(settings: TrainSettings, student: Recogniser) -> Distillation | None:
    """Return the losses of imitating the teacher of a run; None where it has none.

    Raises:
        InputError: no such teacher, or one that the student cannot imitate as it is asked to.
    """
    if settings.teacher is None:
        return None
    options = settings.distillation
    if options.image_size is not None and not student.one_size:
        raise InputError(
            "--distillation.image-size: is for classification, where all images have one size; "
            "leave it out"
        )
    teacher = load_teacher(settings.teacher, options, student)
    options = replace(options, imitate=choose(options, teacher, student, settings.teacher))
    info = student.backbone.feature_info
    return Distillation(
        teacher,
        options,
        channels=[stage["num_chs"] for stage in info],
        strides=[stage["reduction"] for stage in info],
        image_size=settings.image_size or 1,  # only where images have one size
    )


def choose(options: DistillationOptions, teacher: Teacher, student: Recogniser, source: str) -> Any:
    """Return what is imitated, for "auto" as much as the teacher can give.

    Raises:
        InputError: answers, of a teacher that does not know the student's classes.
    """
    if options.imitate == "auto":
        return "features" if teacher.columns is None else "both"
    if options.imitate != "features" and teacher.columns is None:
        raise InputError(
            f"--distillation.imitate {options.imitate}: --teacher {source} does not know the "
            f"{len(student.class_names)} classes of the data; imitate its features"
        )
    return options.imitate


def load_teacher(source: str, options: DistillationOptions, student: Recogniser) -> Teacher:
    """Load a teacher: a run, a model folder, an entry of the zoo, or a network of timm.

    Raises:
        InputError: nothing there, an exported model, or weights that do not fit.
    """
    preparation: Any = student.preprocessing
    sees = {"student_mean": preparation.mean, "student_std": preparation.std}
    sees["image_size"] = options.image_size
    if source.startswith(PEER):
        network, config = _of_timm(source.removeprefix(PEER), options.weights)
        return Teacher(network, columns=None, mean=config["mean"], std=config["std"], **sees)
    if options.weights is not None:
        raise InputError(
            f"--distillation.weights: is for a teacher {PEER}NAME; --teacher {source} has its own"
        )
    model: Any = read_model(source)
    network, own = network_of(model, source), model.preprocessing
    columns = find_columns(model, student)
    return Teacher(network, columns=columns, mean=own.mean, std=own.std, **sees)


def _of_timm(name: str, file: Path | None) -> tuple[Any, dict[str, Any]]:
    """Return a network of timm with its own weights or those in a file, and their config."""
    network: Any = build_timm(name.partition(".")[0], num_classes=0)
    if file is None:
        weights, config = fetch_weights(name)
    else:
        weights, config = read_checkpoint(file), network.pretrained_cfg
    take_over(network, weights, str(file or f"{PEER}{name}"))
    return network, dict(config)


def find_columns(teacher: Recogniser, student: Recogniser) -> Sequence[int] | None:
    """Return the place of each of the student's classes in the teacher's scores.

    None where they are not scores of whole images, or the teacher does not know them all.
    """
    if teacher.task != student.task or student.backbone is not student.network:
        return None
    places = {name: place for place, name in enumerate(teacher.class_names)}
    if not all(name in places for name in student.class_names):
        return None
    return [places[name] for name in student.class_names]


def describe_teacher(
    settings: TrainSettings, distillation: Distillation, student: Recogniser
) -> str:
    """Describe what is imitated, and how long the teacher takes for an image."""
    kind, teacher = distillation.settings.imitate, distillation.teacher
    named = {"hard": "hard answers", "answers": "soft answers", "features": "feature maps"}
    what = named.get(kind, "soft answers and feature maps")
    info = student.backbone.feature_info
    strides = ", ".join(str(info[own]["reduction"]) for own, _ in distillation.pairs)
    where = f" at strides {strides}" if strides else ""
    weights = sum(parameter.numel() for parameter in teacher.parameters())
    return (
        f"teacher {settings.teacher}: {weights / 1e6:.1f} M weights, its {what}{where} are "
        f"imitated; {_cost(teacher, settings)}"
    )


def _cost(teacher: Teacher, settings: TrainSettings) -> str:
    """Say how long the teacher takes for a batch, on this machine's CPU."""
    side = settings.image_size or 224
    images = torch.zeros(min(settings.images_per_step, 8), 3, side, side)
    teacher(images)  # the first time is longer
    start = time.perf_counter()
    teacher(images)
    each = (time.perf_counter() - start) / len(images)
    return f"it takes some {1000 * each:.2g} ms per image of {side} x {side} on the CPU"
