"""The networks that `small_networks.py` trains, and the loss of labels and teacher."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from small_batches import Batch
from small_settings import CHANNELS, Settings
from torch import Tensor, nn

from nommer.backbone.network import NomMer
from nommer.backbone.variants import VARIANTS
from nommer.models.networks import build_timm
from nommer.nominations.balance import equalise_contexts

REDUCTIONS = {"middle": 8, "last": 16}
"""Strides of the student's maps that imitate the teacher's."""
SIZE = 64


def build(settings: Settings, classes: int) -> nn.Module:
    """Return the network, with fresh weights."""
    if settings.model.startswith("timm:"):
        return build_timm(
            settings.model.removeprefix("timm:"), num_classes=classes, options=settings.network
        )
    config = replace(
        VARIANTS[settings.model], num_classes=classes, img_size=SIZE, **settings.network
    )
    network = NomMer(config)
    if settings.equal_contexts:
        equalise_contexts(network, SIZE)
    return network


class Student(nn.Module):
    """A network, and the 1x1 convolutions through which its stages imitate a teacher's."""

    def __init__(self, network: nn.Module, maps: tuple[str, ...]) -> None:
        super().__init__()
        self.network, self.maps = network, maps
        strides = {info["reduction"]: place for place, info in enumerate(network.feature_info)}
        self.stages = {name: strides[REDUCTIONS[name]] for name in maps}
        widths = [network.feature_info[place]["num_chs"] for place in self.stages.values()]
        self.projections = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(width), nn.Conv2d(width, CHANNELS[name], 1))
            for name, width in zip(maps, widths, strict=True)
        )

    def forward(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return scores of the classes, and the teacher's maps as the stages take them to be."""
        if not self.maps:
            return self.network(images), {}
        final, stages = self.network.forward_intermediates(
            images, indices=list(self.stages.values())
        )
        pairs = zip(self.maps, self.projections, stages, strict=True)
        return self.network.forward_head(final), {
            name: project(maps) for name, project, maps in pairs
        }


def loss_of(settings: Settings, batch: Batch, scores: Tensor, guesses: dict[str, Tensor]) -> Tensor:
    """Return the loss of labels, softened answers and maps, each by its weight."""
    scores, classes = scores.float(), scores.shape[-1]
    smooth = batch.targets * (1 - settings.smoothing) + settings.smoothing / classes
    loss = F.cross_entropy(scores, smooth)
    if batch.answers is not None:
        heat = settings.temperature
        soft = (batch.answers / heat).softmax(-1)
        if batch.mixed:
            partners, kept = batch.mixed
            soft = torch.lerp(soft[partners], soft, kept)
        distilled = heat**2 * F.kl_div((scores / heat).log_softmax(-1), soft, reduction="batchmean")
        loss = torch.lerp(loss, distilled, settings.share)
    loss = settings.labels * loss
    for name, guess in guesses.items():
        wanted = batch.maps[name]
        if guess.shape[-1] != wanted.shape[-1]:
            wanted = F.interpolate(wanted, size=guess.shape[-2:], mode="bilinear", antialias=True)
        loss = loss + settings.feature_weight * imitation(guess.float(), wanted) / len(guesses)
    return loss


def imitation(guess: Tensor, wanted: Tensor) -> Tensor:
    """Return 1 minus the cosine between the vectors of each place, the teacher's channels brought
    to one scale.
    """
    wanted = (wanted - wanted.mean((0, 2, 3), keepdim=True)) / (
        wanted.std((0, 2, 3), keepdim=True) + 1e-3
    )
    return 1 - F.cosine_similarity(guess, wanted, dim=1).mean()
