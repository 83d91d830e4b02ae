"""Nearest neighbours of frozen features, by which an entry of the zoo without classes is judged."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import nommer
from nommer.data.formats.folders import Sample
from nommer.data.formats.imagenet import read_imagenet
from nommer.data.images import decode
from nommer.data.transforms import Preprocessing
from nommer.distributed.devices import torch_device
from nommer.progress import track
from nommer.settings.pretrain import PretrainSettings
from nommer.tasks.distillation import pool
from nommer.tasks.features.probe import neighbours_accuracy

NEIGHBOURS = PretrainSettings.neighbours
"""Nearest images that vote, as many as `nommer pretrain --probe` takes."""

_BATCH = 256


@dataclass(frozen=True)
class Probe:
    """What models know of images by their neighbours, and how alike their features are."""

    known: int
    """Training images, which vote."""
    per_class: int | None
    """Of every class so many at most, the first by name; None for all."""
    asked: int
    """Validation images."""
    classes: int
    knn: list[float]
    """Of each model the share of the validation images that it knows."""
    cosine: float
    """Mean cosine of the first and the last model's features of a validation image."""


class _Images(Dataset[tuple[Tensor, int]]):
    """Prepared images and their classes."""

    def __init__(self, samples: Sequence[Sample], preprocessing: Preprocessing) -> None:
        self.samples, self.preprocessing = samples, preprocessing

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        sample, prepare = self.samples[number], self.preprocessing
        return prepare(decode(sample.path, prepare.reading)), sample.label


def probe(
    folders: Sequence[Path],
    data: Path,
    *,
    per_class: int | None = None,
    device: str = "auto",
    workers: int | None = None,
) -> Probe:
    """Ask models, computed in float32, for the validation images of ImageNet's layout.

    Each image is read once, for all of them.
    """
    models: list[Any] = [nommer.load(folder).to(torch_device(device)).eval() for folder in folders]
    found = read_imagenet(data)
    known, asked = first_of_each(found.splits["train"], per_class), found.splits["val"]
    votes, labels = features(models, known, workers or 0)
    questions, answers = features(models, asked, workers or 0)
    return Probe(
        known=len(known),
        per_class=per_class,
        asked=len(asked),
        classes=len(found.class_names),
        knn=[
            neighbours_accuracy(one, labels, other, answers, neighbours=NEIGHBOURS)
            for one, other in zip(votes, questions, strict=True)
        ],
        cosine=F.cosine_similarity(questions[0], questions[-1]).mean().item(),
    )


def first_of_each(samples: Iterable[Sample], per_class: int | None) -> list[Sample]:
    """Return the first images of every class, by their names."""
    taken: Counter[int] = Counter()
    chosen = []
    for sample in sorted(samples, key=lambda sample: sample.path):
        if per_class is None or taken[sample.label] < per_class:
            taken[sample.label] += 1
            chosen.append(sample)
    return chosen


@torch.inference_mode()
def features(
    models: Sequence[Any], samples: Sequence[Sample], workers: int
) -> tuple[list[Tensor], Tensor]:
    """Return pooled features (N, features) of each model, and the classes (N,), on the CPU."""
    loader = DataLoader(_Images(samples, models[0].preprocessing), _BATCH, num_workers=workers)
    found: list[list[Tensor]] = [[] for _ in models]
    labels = []
    for images, classes in track(loader, total=len(loader), what="features"):
        labels.append(classes)
        for model, parts in zip(models, found, strict=True):
            last, _ = model.backbone.forward_intermediates(images.to(model.device))
            parts.append(pool(model.backbone, last).float().cpu())
    return [torch.cat(parts) for parts in found], torch.cat(labels)
