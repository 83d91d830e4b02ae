"""The weights that a run starts from: a model's, timm's own, or those in a file.

Another set of classes makes a new classifier. Whatever is taken, left or new is said. Settings that
come with weights are `pretrained_settings`.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from nommer.backbone.network import NomMer
from nommer.data.formats.labelled import shorten
from nommer.errors import shortened
from nommer.models.classification import Classifier
from nommer.models.networks import check_same_architecture
from nommer.models.simple_pyramid import plain_of
from nommer.models.storage import Model, load, load_backbone, network_of
from nommer.models.transfer import Taken, fetch_weights, take_over
from nommer.models.weights import load_weights, read_checkpoint
from nommer.progress import notice
from nommer.settings.network import PEER
from nommer.settings.train import TIMM, TrainSettings
from nommer.tasks.networks import timms_name


def is_timms(settings: TrainSettings) -> bool:
    """See whether the weights are timm's own, or in a file with the names of a network of timm."""
    if settings.pretrained is None or not settings.model.startswith(PEER):
        return False
    return settings.pretrained == Path(TIMM) or settings.pretrained.is_file()


def start_classifier(network: Any, class_names: tuple[str, ...], settings: TrainSettings) -> None:
    """Take over the weights of `settings.pretrained`, for the same classes the classifier too.

    Raises:
        InputError: the networks differ in more than the classifier and the position embedding's
            size.
    """
    if settings.pretrained is None:
        return
    if is_timms(settings):
        _tell_taken(_take_timms(network, settings), settings.pretrained, "the classifier is new")
        return
    _transfer(network, class_names, settings.pretrained, reinit_head=settings.reinit_head)


def start_backbone(network: Any, settings: TrainSettings) -> None:
    """Take over the weights of `settings.pretrained` into the backbone of a dense network.

    Raises:
        InputError: nothing that can be loaded, or a network that differs in a part that has
            weights.
    """
    if settings.pretrained is None:
        return
    if is_timms(settings):
        taken = _take_timms(network.backbone, settings)
        _tell_taken(taken, settings.pretrained, "the heads are new")
        return
    tell_loaded(*load_backbone(network, settings.pretrained), settings.pretrained)


def tell_loaded(loaded: Sequence[str], left: Sequence[str], source: Path) -> None:
    """Say which weights of `source` were taken over and which were not, by their part."""
    rest = f"; left there: {by_part(left)}" if left else ""
    notice(
        f"weights of the backbone taken from {source}: {by_part(loaded)}{rest}; the heads are new"
    )


def by_part(names: Sequence[str]) -> str:
    """Names of weights as the parts of the network that they belong to, with the count of each."""
    parts = (name.removeprefix("backbone.").split(".") for name in names)
    counts = Counter(
        ".".join(part[:2] if part[1:2] and part[1].isdigit() else part[:1]) for part in parts
    )
    return ", ".join(f"{shortened(part)} ({count})" for part, count in counts.items())


def _take_timms(network: Any, settings: TrainSettings) -> Taken:
    source = settings.pretrained or Path()
    if source == Path(TIMM):
        name = timms_name(settings)
        weights, config = fetch_weights(name)
        notice(f"the weights of {name} are timm's, licence: {config.get('license') or 'not told'}")
        return take_over(network, weights, f"{TIMM} ({name})")
    return take_over(network, read_checkpoint(source), str(source))


def _tell_taken(taken: Taken, source: Path, new: str) -> None:
    left = f"; left there: {by_part(taken.left)}" if taken.left else ""
    notice(f"weights taken from {source}: {by_part(taken.loaded)}{left}; {new}")


def _transfer(
    network: Any, class_names: tuple[str, ...], source: Path, *, reinit_head: bool
) -> None:
    """Take over the weights of a model, for the same classes its classifier too."""
    model = load(source)
    other = plain_of(network_of(model, source))
    check_same_architecture(network, other, source)
    if isinstance(network, NomMer):
        other.set_input_size(network.config.img_size)
    reason = _why_new(model, class_names, reinit_head=reinit_head)
    if not reason:
        notice(f"all weights taken from {source}: {by_part(list(other.state_dict()))}")
        load_weights(network, other.state_dict(), source)
        return
    before = {name: tuple(value.shape) for name, value in other.state_dict().items()}
    other.reset_classifier(0)
    kept = _without_counterpart(network, other)
    new = [
        f"{name} {tuple(value.shape)}, there {before.get(name, 'none')}"
        for name, value in kept.items()
    ]
    notice(
        f"weights taken from {source}: {by_part(list(other.state_dict()))}; new, for {reason}: "
        f"{'; '.join(new)}"
    )
    load_weights(network, other.state_dict() | kept, source)


def _without_counterpart(network: Any, other: nn.Module) -> dict[str, Any]:
    """The weights of `network` that are its classifier's, or that `other` does not have."""
    classifier = {id(parameter) for parameter in network.get_classifier().parameters()}
    head = {name for name, parameter in network.named_parameters() if id(parameter) in classifier}
    there = other.state_dict()  # of a backbone without what only a classifier has
    return {
        name: value
        for name, value in network.state_dict().items()
        if name in head or name not in there
    }


def _why_new(model: Model, class_names: tuple[str, ...], *, reinit_head: bool) -> str:
    """The reason why the classifier is a new one; none where it is taken over."""
    if reinit_head:
        return "--reinit-head"
    if model.task not in Classifier.tasks:
        return f"it is a model for {model.task}"
    if class_names in model.names_in_data:
        return ""
    there, here = (shorten(names, 5) for names in (model.class_names, class_names))
    return (
        f"it has {len(model.class_names)} other classes ({there}) than the data, which have "
        f"{len(class_names)} ({here})"
    )
