"""The network of a run: as its settings say, with fresh weights or those of another model."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from nommer.backbone.network import NomMer
from nommer.engine.network_options import PEER
from nommer.engine.settings import TrainSettings
from nommer.heads.networks import build_timm, check_same_architecture
from nommer.heads.storage import load, load_weights, network_of
from nommer.progress import notice


def build_network(settings: TrainSettings, *, num_classes: int) -> nn.Module:
    """A NomMer, or a network of timm to compare with, with fresh weights; 0 classes for no classifier."""
    if settings.model.startswith(PEER):
        network: Any = _peer(settings, num_classes=num_classes)
    else:
        size = settings.image_size or 0
        network = NomMer(settings.network.config(settings.model, num_classes=num_classes, image_size=size))
        network.scale_position(settings.network.position_scale)
    network.set_grad_checkpointing(settings.network.grad_checkpointing)
    return network


def _peer(settings: TrainSettings, *, num_classes: int) -> nn.Module:
    options = settings.network.timm or {}
    return build_timm(settings.model.removeprefix(PEER), num_classes=num_classes, options=options)


def count_features(settings: TrainSettings) -> int:
    """Channels of the last stage of a run's network."""
    if settings.model.startswith(PEER):
        return int(_peer(settings, num_classes=0).num_features)  # type: ignore[arg-type]
    return settings.network.config(settings.model, num_classes=0, image_size=settings.image_size or 0).widths[-1]


def transfer(network: Any, class_names: tuple[str, ...], source: Path) -> None:
    """Take over the weights of the classifier at `source`; its last layer only when the classes are the same.

    Raises:
        InputError: the networks differ in more than the classifier and the position embedding's size.
    """
    model = load(source)
    other = network_of(model, source)
    check_same_architecture(network, other, source)
    if isinstance(network, NomMer):
        other.set_input_size(network.config.img_size)
    if model.class_names == class_names:
        notice(f"all weights taken from {source}")
        load_weights(network, other.state_dict(), source)
        return
    notice(
        f"weights taken from {source}; its classifier for {len(model.class_names)} other classes is replaced "
        f"by a new one for {len(class_names)}"
    )
    other.reset_classifier(0)
    classifier = {id(parameter) for parameter in network.get_classifier().parameters()}
    kept = {name: parameter.detach() for name, parameter in network.named_parameters() if id(parameter) in classifier}
    load_weights(network, other.state_dict() | kept, source)


def tell_loaded(loaded: Sequence[str], left: Sequence[str], source: Path) -> None:
    """Say which weights of `source` were taken over and which were not, by the part of the network they belong to."""
    rest = f"; left there: {by_part(left)}" if left else ""
    notice(f"weights of the backbone taken from {source}: {by_part(loaded)}{rest}; the heads are new")


def by_part(names: Sequence[str]) -> str:
    """Names of weights as the parts of the network that they belong to, with how many there are of each."""
    parts = (name.removeprefix("backbone.").split(".") for name in names)
    counts = Counter(".".join(part[:2] if part[1:2] and part[1].isdigit() else part[:1]) for part in parts)
    return ", ".join(f"{part} ({count})" for part, count in counts.items())
