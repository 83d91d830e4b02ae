"""The network of a run, as its settings say."""

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from nommer.backbone.config import NomMerConfig
from nommer.backbone.network import NomMer
from nommer.backbone.variants import VARIANTS
from nommer.errors import InputError, refuse_given, refuse_options
from nommer.models.networks import build_timm
from nommer.nominations.balance import equalise_contexts
from nommer.settings.network import PEER, NetworkOptions
from nommer.settings.train import TrainSettings

_NOT_ARCHITECTURE = {
    "position_scale",
    "temperature",
    "noise",
    "balance",
    "balance_places",
    "decided",
    "choose_from",
    "equal_contexts",
    "grad_checkpointing",
    "timm",
}
"""Options that are no fields of `NomMerConfig` of the same name."""

_OF_VARIANT = {
    "global_pool": "global_pool",
    "drop_path_rate": "drop_path_rate",
    "position_scale": "position_std",
}
"""Options that are the variant's where they are not given, and the fields that they come from."""

_SIZES = ("patch_size", "window_size", "block_sizes")
"""Options that depend on the size of images, unless a variant was designed for small ones."""


def resolve_network(options: NetworkOptions, model: str, image_size: int) -> NetworkOptions:
    """Fill in everything for a variant of the network; a network of timm has no such options.

    Raises:
        InputError: options of the one kind of network that are given for the other.
    """
    options = options.as_published
    if model.startswith(PEER):
        refuse_options(
            "network",
            replace(options, grad_checkpointing=False, timm=None),
            f"a network of timm ({model})",
            unset=NetworkOptions().as_published,
        )
        return options
    refuse_given(f"{model}, only for a network of timm", **{"network.timm": options.timm})
    if options.anneals and (options.fusion != "nomination" or len(options.contexts) == 1):
        raise InputError(
            "--network.temperature and noise: do nothing where nothing is nominated; leave them out"
        )
    aided = options.balances or options.equal_contexts or options.choose_from is not None
    if aided and (
        options.fusion == "sum" or len(options.contexts) < 3 or options.compression != "dct"
    ):
        raise InputError(
            "--network.balance, decided, equal-contexts and choose-from: are for networks "
            "with all three contexts as published; leave them out"
        )
    variant, taken = VARIANTS[model], dict(_OF_VARIANT)
    if variant.image_sides != NomMerConfig().image_sides:
        taken |= {name: name for name in _SIZES}
    filled = {
        name: getattr(variant, field)
        for name, field in taken.items()
        if getattr(options, name) is None
    }
    return replace(options, **filled).for_image_size(image_size)


def network_config(
    options: NetworkOptions, variant: str, *, num_classes: int, image_size: int
) -> NomMerConfig:
    """Return the full description of a variant of the network.

    Raises:
        InputError: a value that the network refuses.
    """
    given = {name: value for name, value in vars(options).items() if value is not None}
    changes: dict[str, Any] = {
        name: value for name, value in given.items() if name not in _NOT_ARCHITECTURE
    }
    if options.position_scale is not None:
        changes["position_std"] = options.position_scale
    try:
        return replace(VARIANTS[variant], num_classes=num_classes, img_size=image_size, **changes)
    except ValueError as error:
        raise InputError(f"--network: {error}") from error


def build_network(settings: TrainSettings, *, num_classes: int) -> nn.Module:
    """A NomMer, or a network of timm to compare with, with fresh weights.

    0 classes for no classifier.
    """
    if settings.model.startswith(PEER):
        network: Any = _peer(settings, num_classes=num_classes)
    else:
        size = settings.image_size or 0
        network = NomMer(
            network_config(
                settings.network, settings.model, num_classes=num_classes, image_size=size
            )
        )
        if settings.network.equal_contexts:
            equalise_contexts(network, size)
    network.set_grad_checkpointing(settings.network.grad_checkpointing)
    return network


def _peer(settings: TrainSettings, *, num_classes: int) -> nn.Module:
    options = settings.network.timm or {}
    name, _, _ = timms_name(settings).partition(".")  # behind it a tag of weights
    return build_timm(name, num_classes=num_classes, options=options)


def timms_name(settings: TrainSettings) -> str:
    """Return what timm calls the network of a run, with the tag of its weights, if any."""
    return settings.model.removeprefix(PEER)


def check_peer_size(settings: TrainSettings) -> None:
    """See that a network of timm takes images of the run's size, before anything is written.

    Raises:
        InputError: it does not.
    """
    if not settings.model.startswith(PEER) or settings.image_size is None:
        return
    size = settings.image_size
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        network = _peer(settings, num_classes=1).eval()  # as it is trained: some are for one size
        try:
            network(torch.zeros(1, 3, size, size))
        except (AssertionError, RuntimeError, ValueError) as error:
            raise InputError(
                f"--model {settings.model}: does not take images of {size} x {size}: {error}; give "
                "the --image-size "
                f"that it is built for, or build it for this one: --network.timm "
                f"'{{img_size: {size}}}'"
            ) from error


def count_features(settings: TrainSettings) -> int:
    """Channels of the last stage of a run's network."""
    if settings.model.startswith(PEER):
        return int(_peer(settings, num_classes=0).num_features)  # type: ignore[arg-type]
    return network_config(
        settings.network, settings.model, num_classes=0, image_size=settings.image_size or 0
    ).widths[-1]
