"""Knowledge distillation: a student imitates the answers and the feature maps of a teacher.

Sources: Hinton et al., "Distilling the Knowledge in a Neural Network" (2015), for soft answers;
Touvron et al., "Training data-efficient image transformers" (2021), for hard ones; Li et al.,
"Locality Guidance for Improving Vision Transformers on Tiny Datasets" (2022, arXiv 2207.10026),
for feature maps of a light convolutional network.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from nommer.acceleration.compile import channels_last
from nommer.errors import InputError
from nommer.settings.distillation import DistillationOptions
from nommer.shapes import FeatureMap, Images, Logits


@dataclass(frozen=True)
class Knowledge:
    """A teacher's output for a batch: feature maps, and where asked for more.

    Class scores where the classes fit, and pooled features.
    """

    maps: list[FeatureMap]
    logits: Logits | None
    pooled: Float[Tensor, "batch features"] | None = None


class Teacher(nn.Module):
    """A frozen network in evaluation mode, shown images as its student has them.

    Args:
        network: a network of timm's contract (`feature_info`, `forward_intermediates`,
            `forward_head`).
        columns: for each class of the student the teacher's output of that class; None where the
            teacher does not know them all.
        mean, std: normalisation of the teacher's images.
        student_mean, student_std: normalisation of the student's images.
        image_size: side to which images are enlarged before the teacher sees them; None for none.
        pools: its pooled features are asked for too.
    """

    scale: Tensor
    shift: Tensor
    columns: Tensor | None

    def __init__(
        self,
        network: nn.Module,
        *,
        columns: Sequence[int] | None,
        mean: Sequence[float],
        std: Sequence[float],
        student_mean: Sequence[float],
        student_std: Sequence[float],
        image_size: int | None = None,
        pools: bool = False,
    ) -> None:
        super().__init__()
        self.pools = pools
        self.network: Any = network.eval().requires_grad_(False)
        channels_last(self.network)
        self.image_size = image_size
        means, stds = torch.tensor(mean), torch.tensor(std)
        student_means, student_stds = torch.tensor(student_mean), torch.tensor(student_std)
        self.register_buffer("scale", (student_stds / stds)[:, None, None])
        self.register_buffer("shift", ((student_means - means) / stds)[:, None, None])
        self.register_buffer("columns", None if columns is None else torch.tensor(columns))

    def train(self, mode: bool = True) -> "Teacher":
        """Stay in evaluation mode, whatever `mode` is."""
        return super().train(False)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of its weights, which tells it from another of the same name."""
        hashed = hashlib.sha256()
        for value in self.network.state_dict().values():
            hashed.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
        return hashed.hexdigest()

    @property
    def channels(self) -> list[int]:
        """Channels of the feature maps."""
        return [info["num_chs"] for info in self.network.feature_info]

    @property
    def strides(self) -> list[int]:
        """Pixels of its own images per position of the feature maps."""
        return [info["reduction"] for info in self.network.feature_info]

    @torch.no_grad()
    def forward(self, images: Images) -> Knowledge:
        """Return maps (B, C, h, w) and class scores (B, classes) of the student's images."""
        images = images * self.scale + self.shift
        if self.image_size is not None:
            size = (self.image_size, self.image_size)
            images = F.interpolate(images, size=size, mode="bicubic", antialias=True)
        last, maps = self.network.forward_intermediates(images)
        pooled = pool(self.network, last) if self.pools else None
        if self.columns is None:
            return Knowledge(maps, None, pooled)
        return Knowledge(maps, self.network.forward_head(last)[:, self.columns], pooled)


def pool(network: Any, last: Tensor) -> Tensor:
    """Return the vector before the classifier, (B, features), of a network's last features."""
    pooled: Tensor = network.forward_head(last, pre_logits=True)
    if pooled.ndim == 4:  # a backbone under a dense head pools no more
        return pooled.mean((2, 3))
    return pooled if pooled.ndim == 2 else pooled.mean(1)


def soft_answer_loss(logits: Logits, teacher: Logits, temperature: float) -> Float[Tensor, ""]:
    """Return T^2 KL(teacher || student) of softmaxes at temperature T, the mean over images."""
    wanted = F.log_softmax(teacher.float() / temperature, dim=-1)
    given = F.log_softmax(logits.float() / temperature, dim=-1)
    return F.kl_div(given, wanted, reduction="batchmean", log_target=True) * temperature**2


def feature_loss(student: FeatureMap, teacher: FeatureMap) -> Float[Tensor, ""]:
    """Return the mean squared error to the teacher's map, standardised at every position.

    A map of another size is resampled to the student's grid.
    """
    return F.mse_loss(student.float().movedim(1, -1), standardised(student, teacher))


def standardised(student: FeatureMap, teacher: FeatureMap) -> Tensor:
    """Return the teacher's map on the student's grid, channels last, standardised over them."""
    if teacher.shape[-2:] != student.shape[-2:]:
        teacher = F.interpolate(teacher, size=student.shape[-2:], mode="bilinear", antialias=True)
    wanted = teacher.float().movedim(1, -1)
    return F.layer_norm(wanted, wanted.shape[-1:])


class Distillation(nn.Module):
    """The losses of imitation, with the 1x1 projections that they need and no model keeps.

    Total loss: `(1 - share) * labels + share * answers + feature_weight * mean(maps)`.

    Args:
        teacher: shown the same images as the student.
        settings: temperature, weights and what is imitated; never "auto".
        channels: channels of the student's feature maps.
        strides: pixels of the student's images per position of its maps.
        image_size: side of the student's images, which with the teacher's says whose maps have the
            same stride.

    Raises:
        InputError: no map of the teacher has the stride of one of the student's.
    """

    def __init__(
        self,
        teacher: Teacher,
        settings: DistillationOptions,
        *,
        channels: Sequence[int],
        strides: Sequence[int],
        image_size: int,
    ) -> None:
        super().__init__()
        self.settings = settings
        self._teacher = [teacher]  # no part of the module: never saved, never learned
        self.pairs: list[tuple[int, int]] = []
        if settings.imitate in ("features", "both"):
            zoom = (teacher.image_size or image_size) / image_size
            self.pairs = pair_maps(strides, [stride / zoom for stride in teacher.strides])
        self.projections = nn.ModuleList(
            nn.Conv2d(channels[own], teacher.channels[theirs], 1) for own, theirs in self.pairs
        )

    @property
    def teacher(self) -> Teacher:
        """The teacher."""
        return self._teacher[0]

    def forward(
        self,
        images: Images,
        loss: Tensor,
        maps: Sequence[FeatureMap],
        logits: Logits | None = None,
        *,
        multi_label: bool = False,
    ) -> Tensor:
        """Return the total loss of a batch.

        Args:
            images: (B, 3, H, W), exactly as the student saw them.
            loss: the loss of the labels.
            maps: the student's feature maps, finest first.
            logits: the student's class scores; None where only maps are imitated.
            multi_label: the classes do not exclude each other.
        """
        knowledge = self.teacher.to(images.device)(images)
        if logits is not None and knowledge.logits is not None:
            share = self.settings.share
            answers = self.answer_loss(logits, knowledge.logits, multi_label=multi_label)
            loss = (1 - share) * loss + share * answers
        if not self.pairs:
            return loss
        losses = [
            feature_loss(projection(maps[own]), knowledge.maps[theirs])
            for projection, (own, theirs) in zip(self.projections, self.pairs, strict=True)
        ]
        return loss + self.settings.feature_weight * torch.stack(losses).mean()

    def answer_loss(
        self, logits: Logits, teacher: Logits, *, multi_label: bool = False
    ) -> Float[Tensor, ""]:
        """Return the loss of the answers: soft, or cross-entropy to the teacher's first choice.

        Of several labels per image, binary cross-entropy to the teacher's probabilities, or to
        those rounded.
        """
        hard = self.settings.imitate == "hard"
        if multi_label:
            wanted = teacher.float().sigmoid()
            wanted = wanted.round() if hard else wanted
            return F.binary_cross_entropy_with_logits(logits.float(), wanted)
        if hard:
            return F.cross_entropy(logits.float(), teacher.argmax(-1))
        return soft_answer_loss(logits, teacher, self.settings.temperature)


def pair_maps(own: Sequence[float], theirs: Sequence[float]) -> list[tuple[int, int]]:
    """Return for every stride of the student that the teacher has too their places in both lists.

    Raises:
        InputError: they have none in common.
    """
    pairs = [
        (place, max(same))
        for place, stride in enumerate(own)
        if (same := [other for other, its in enumerate(theirs) if abs(its - stride) < 0.5])
    ]
    if not pairs:
        teachers, students = (", ".join(f"{stride:g}" for stride in s) for s in (theirs, own))
        raise InputError(
            f"--teacher: its feature maps have strides {teachers} on the student's images, the "
            f"student's have {students}; none are the same: choose another "
            "--distillation.image-size, or imitate answers"
        )
    return pairs


@dataclass
class Seen:
    """A backbone's input, feature maps and scores of the nominations of one forward pass."""

    images: Images | None = None
    maps: Sequence[FeatureMap] = ()
    scores: Sequence[Tensor] = ()


@contextmanager
def recorded_maps(backbone: Any) -> Iterator[Seen]:
    """Record what a backbone of timm's contract is given and its feature maps, while it is open.

    A classifier's forward pass goes by its maps meanwhile, which gives the same scores.
    """
    seen, given = Seen(), backbone.forward_intermediates

    def recording(images: Images, *arguments: Any, **options: Any) -> Any:
        result = given(images, *arguments, **options)
        seen.images = images
        seen.maps = result if options.get("intermediates_only") else result[1]
        return result

    def classifying(images: Images) -> Tensor:
        return backbone.forward_head(recording(images)[0])

    backbone.forward_intermediates, backbone.forward = recording, classifying
    try:
        yield seen
    finally:
        del backbone.forward_intermediates, backbone.forward
