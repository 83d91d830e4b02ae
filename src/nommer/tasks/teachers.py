"""The teacher of a run, and the losses of imitating it, as the settings say."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from nommer.errors import InputError, shortened
from nommer.models.costs import giga_macs
from nommer.models.networks import build_timm
from nommer.models.recogniser import Recogniser
from nommer.models.storage import network_of, read_model
from nommer.models.transfer import fetch_weights, take_over
from nommer.models.weights import read_checkpoint
from nommer.progress import notice
from nommer.settings.distillation import DistillationOptions
from nommer.settings.network import PEER
from nommer.settings.pretrain import ImitationOptions
from nommer.settings.train import TIMM, TrainSettings
from nommer.tasks.distillation import Distillation, Teacher
from nommer.tasks.likeness import Imitation
from nommer.tasks.pretrained_settings import config_beside

OPTION = "--distillation.weights"

CONFIG = "config.json"
"""Beside a file of weights, as on timm's hub: how their pixels were prepared."""

LEARNING = 3
"""Multiply-accumulates of a training step, in those of a forward pass."""


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
    pools = isinstance(options, ImitationOptions)
    teacher = load_teacher(settings.teacher, options, student, pools=pools)
    info = student.backbone.feature_info
    sizes: dict[str, Any] = {
        "channels": [stage["num_chs"] for stage in info],
        "strides": [stage["reduction"] for stage in info],
        "image_size": settings.image_size or 1,  # only where images have one size
    }
    if isinstance(options, ImitationOptions):
        own = getattr(student.backbone, "head_hidden_size", 0) or student.backbone.num_features
        features = own, count_features(teacher, settings)
        return Imitation(teacher, options, features=features, **sizes)
    options = replace(options, imitate=choose(options, teacher, student, settings.teacher))
    return Distillation(teacher, options, **sizes)


def count_features(teacher: Teacher, settings: TrainSettings) -> int:
    """Count a teacher's pooled features, by showing it an image of the run's size.

    Raises:
        InputError: it does not take such images.
    """
    side = settings.image_size or 0
    try:
        pooled = teacher(torch.zeros(1, 3, side, side)).pooled
    except (AssertionError, RuntimeError, ValueError) as error:
        shown = teacher.image_size or side
        raise InputError(
            f"--teacher {settings.teacher}: does not take images of {shown} x {shown}: "
            f"{shortened(str(error), 200)}; give the --distillation.image-size that it is built for"
        ) from error
    return 0 if pooled is None else int(pooled.shape[1])


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


def load_teacher(
    source: str, options: DistillationOptions, student: Recogniser, *, pools: bool = False
) -> Teacher:
    """Load a teacher: a run, a model folder, an entry of the zoo, or a network of timm.

    Raises:
        InputError: nothing there, an exported model, or weights that do not fit.
    """
    preparation: Any = student.preprocessing
    sees: dict[str, Any] = {"student_mean": preparation.mean, "student_std": preparation.std}
    sees |= {"image_size": options.image_size, "pools": pools}
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
    told = TIMM
    if file is None:
        weights, config = fetch_weights(name, option=OPTION)
    else:
        beside = config_beside(file.parent / CONFIG)
        weights, config = read_checkpoint(file), {**network.pretrained_cfg, **beside}
        told = str(file.parent / CONFIG) if beside else told
    pixels = ", ".join(f"{name} {list(config[name])}" for name in ("mean", "std"))
    notice(f"the teacher's pixels as {told} has them: {pixels}")
    source = str(file or f"{PEER}{name}")
    take_over(network, weights, source, option=OPTION, of="--teacher")
    return network, dict(config)


def find_columns(teacher: Recogniser, student: Recogniser) -> Sequence[int] | None:
    """Return the place of each of the student's classes in the teacher's scores, by name or id.

    None where they are not scores of whole images, or the teacher does not know them all.
    """
    if not student.class_names or teacher.task != student.task:
        return None
    if student.backbone is not student.network:
        return None
    for names in teacher.names_in_data:
        places = {name: place for place, name in enumerate(names)}
        for own in student.names_in_data:
            if all(name in places for name in own):
                return [places[name] for name in own]
    return None


def describe_teacher(
    settings: TrainSettings, distillation: Distillation, student: Recogniser
) -> str:
    """Describe what is imitated, and why no more, and what the teacher costs."""
    kind, teacher = distillation.settings.imitate, distillation.teacher
    named = {"hard": "hard answers", "answers": "soft answers", "features": "feature maps"}
    what = named.get(kind, "soft answers and feature maps")
    info = student.backbone.feature_info
    strides = ", ".join(str(info[own]["reduction"]) for own, _ in distillation.pairs)
    where = f" at strides {strides}" if strides else ""
    where += " and pooled features" if isinstance(distillation, Imitation) else ""
    weights = sum(parameter.numel() for parameter in teacher.parameters())
    return (
        f"teacher {settings.teacher}: {weights / 1e6:.1f} M weights, its {what}{where} are "
        f"imitated{_why_no_answers(settings, distillation, student)}; "
        f"{_cost(teacher, settings, student)}"
    )


def _why_no_answers(
    settings: TrainSettings, distillation: Distillation, student: Recogniser
) -> str:
    """Say why answers are not imitated, where nobody has said that they should not be."""
    if settings.distillation.imitate != "auto" or distillation.settings.imitate != "features":
        return ""
    if student.backbone is not student.network:
        return f", not its answers, which are not asked for in {student.task}"
    return f", not its answers, for it does not know the {len(student.class_names)} classes by name"


def _cost(teacher: Teacher, settings: TrainSettings, student: Recogniser) -> str:
    """Say how much of a step's computation is the teacher's, by multiply-accumulates.

    Learning takes some three times those of a forward pass: one more for the gradients of the
    features, and one for those of the weights.
    """
    side = settings.image_size or 224
    own = giga_macs(student.backbone, side)
    theirs = giga_macs(teacher.network, teacher.image_size or side)
    return (
        f"it adds {theirs:.2g} GMACs per image of {side} x {side} to the backbone's {own:.2g}, "
        f"some {theirs / (theirs + LEARNING * own):.0%} of a step"
    )
