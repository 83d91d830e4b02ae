"""Networks from plain descriptions and back: a NomMer by its configuration, another network by its name in timm.

Building one never executes what a description says and never asks the network: timm's names are looked up in its own
registry, and no weights are fetched.
"""

from collections.abc import Mapping
from dataclasses import asdict
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import timm
from torch import nn

from nommer.backbone.config import NomMerConfig
from nommer.backbone.network import NomMer
from nommer.errors import InputError

_FREE = {"num_classes", "img_size", "global_pool", "drop_rate", "drop_path_rate"}
"""Fields of `NomMerConfig` that may differ where weights are taken over."""


def describe_network(network: nn.Module) -> dict[str, Any]:
    """What `build_network` needs to build the same network again, as plain values.

    Raises:
        ValueError: a network that neither is a NomMer nor comes from timm.
    """
    if isinstance(network, NomMer):
        return asdict(network.config)
    name = (getattr(network, "pretrained_cfg", None) or {}).get("architecture")
    if not name:
        raise ValueError(f"{type(network).__name__} is neither a NomMer nor a network of timm, and cannot be described")
    return {"timm": name, "num_classes": network.num_classes}


def build_network(description: Mapping[str, Any]) -> nn.Module:
    """A network with fresh weights.

    Args:
        description: the fields of `NomMerConfig`, or {"timm": NAME, "num_classes": N}.

    Raises:
        InputError: a name that timm does not know.
        TypeError, ValueError: fields that do not describe a network.
    """
    if "timm" not in description:
        return NomMer(NomMerConfig(**description))
    return build_timm(description["timm"], num_classes=description["num_classes"])


def build_timm(name: str, *, num_classes: int) -> nn.Module:
    """A network of timm by its name, with fresh weights. Swin transformers take images of any size.

    Raises:
        InputError: a name that timm does not know.
    """
    known = timm.list_models()
    if name not in known:
        similar = get_close_matches(str(name), known, n=5)
        hint = f"did you mean {', '.join(similar)}?" if similar else "see timm.list_models()"
        raise InputError(f"timm has no network called {name!r}; {hint}")
    options: dict[str, Any] = {"strict_img_size": False} if name.startswith("swin") else {}
    return timm.create_model(name, pretrained=False, num_classes=num_classes, **options)


def as_nominating(network: nn.Module, source: str | Path) -> NomMer:
    """`network`, in which something must nominate.

    Raises:
        InputError: it is a network of timm, or a NomMer with a single context or a sum of contexts.
    """
    if not isinstance(network, NomMer):
        name = describe_network(network)["timm"]
        raise InputError(
            f"{source}: its network is timm's {name}, which nominates nothing; give a model that is a NomMer"
        )
    if not network.config.nominates:
        contexts = ", ".join(network.config.contexts)
        raise InputError(
            f"{source}: nothing nominates in its network (contexts {contexts}, fusion {network.config.fusion}); "
            "give a model with several contexts and fusion nomination or softmax"
        )
    return network


def check_same_architecture(network: nn.Module, other: nn.Module, source: Path) -> None:
    """Refuse weights of a network that differs in a part that has weights.

    Args:
        network: the network that is to take the weights.
        other: the network that has them.
        source: where `other` comes from, for the message.

    Raises:
        InputError: what differs, each with both values.
    """
    wanted, found = describe_network(network), describe_network(other)
    names = sorted((wanted.keys() | found.keys()) - _FREE)
    if "timm" in names:  # a NomMer's fields say nothing beside another network's name
        wanted, found, names = _kind(wanted), _kind(found), ["network"]
    differing = [f"{name} {found[name]} (now {wanted[name]})" for name in names if found[name] != wanted[name]]
    if differing:
        raise InputError(
            f"--pretrained {source} is another network, with {', '.join(differing)}; "
            "choose the --model and --network options that it has"
        )


def _kind(description: Mapping[str, Any]) -> dict[str, str]:
    return {"network": f"timm:{description['timm']}" if "timm" in description else "a NomMer"}
