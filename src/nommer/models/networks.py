"""Networks from plain descriptions and back.

A NomMer by its configuration, another network by its name in timm.

Building one never executes what a description says and never asks the network: timm's names are
looked up in its own registry, and no weights are fetched.
"""

from collections.abc import Mapping
from dataclasses import asdict
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any

import timm
from timm.models import ConvNeXt, ResNet
from torch import nn

from nommer.backbone.config import NomMerConfig
from nommer.backbone.network import NomMer
from nommer.errors import InputError

_FREE = {"num_classes", "img_size", "global_pool", "drop_rate", "drop_path_rate", "position_std"}
"""Fields of `NomMerConfig` that may differ where weights are taken over."""

_REFUSED = {
    "num_classes",
    "features_only",
    "checkpoint_path",
    "cache_dir",
    "scriptable",
    "exportable",
    "no_jit",
}
"""Arguments of `timm.create_model` that say something else than how a network is built."""

_PLAIN = (bool, int, float, str)

_TRIPPED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""Errors of constructors in timm for options that make no sense, which they do not check."""


def describe_network(network: nn.Module) -> dict[str, Any]:
    """Return plain values from which `build_network` builds the same network again.

    Raises:
        ValueError: a network that neither is a NomMer nor comes from timm.
    """
    if isinstance(network, NomMer):
        return asdict(network.config)
    name = (getattr(network, "pretrained_cfg", None) or {}).get("architecture")
    if not name:
        raise ValueError(
            f"{type(network).__name__} is neither a NomMer nor a network of timm, and cannot be "
            "described"
        )
    options = getattr(network, "timm_options", None)
    return {"timm": name, "num_classes": network.num_classes} | (
        {"options": options} if options else {}
    )


def build_network(description: Mapping[str, Any]) -> nn.Module:
    """A network with fresh weights.

    Args:
        description: the fields of `NomMerConfig`, or {"timm": NAME, "num_classes": N, "options":
            {...}}.

    Raises:
        InputError: a name or an option that timm does not know.
        TypeError, ValueError: fields that do not describe a network.
    """
    if "timm" not in description:
        return NomMer(NomMerConfig(**description))
    return build_timm(
        description["timm"],
        num_classes=description["num_classes"],
        options=description.get("options", {}),
    )


def build_timm(
    name: str, *, num_classes: int, options: Mapping[str, Any] = MappingProxyType({})
) -> nn.Module:
    """A network of timm by its name, with fresh weights. Swin transformers take images of any size.

    Args:
        name: one of `timm.list_models()`.
        num_classes: outputs of its classifier; 0 for none.
        options: plain arguments of its constructor, such as img_size, patch_size or window_size;
            and besides "stem_stride": 2, which halves every stride of a ResNet (without the stem's
            pooling) or a ConvNeXt (with overlapping patches), for small images.

    Raises:
        InputError: a name or an option that timm does not know.
    """
    known = timm.list_models()
    if name not in known:
        similar = get_close_matches(str(name), known, n=5)
        hint = f"did you mean {', '.join(similar)}?" if similar else "see timm.list_models()"
        raise InputError(f"timm has no network called {name!r}; {hint}")
    defaults: dict[str, Any] = {"strict_img_size": False} if name.startswith("swin") else {}
    given = {option: value for option, value in options.items() if option != "stem_stride"}
    _check_options(name, given)
    try:
        network: Any = timm.create_model(
            name, pretrained=False, num_classes=num_classes, **{**defaults, **given}
        )
    except _TRIPPED as error:
        shown = ", ".join(f"{option} {value!r}" for option, value in given.items())
        raise InputError(
            f"timm cannot build {name} with {shown or 'its own settings'}: {error}"
        ) from error
    if num_classes == 0 and hasattr(network, "patch_embed") and "dynamic_img_size" not in given:
        network = _for_any_size(network, name, {**defaults, **given})
    if "stem_stride" in options:
        _halve_stem_stride(network, name, options["stem_stride"])
    network.timm_options = dict(options)
    return network


def _for_any_size(network: Any, name: str, options: Mapping[str, Any]) -> Any:
    """A transformer that is no classifier and takes images of any size, where timm has one."""
    if getattr(network, "dynamic_img_size", None) is not False:
        return network
    try:
        return timm.create_model(
            name, pretrained=False, num_classes=0, dynamic_img_size=True, **options
        )
    except _TRIPPED:
        return network


def _check_options(name: str, options: Mapping[str, Any]) -> None:
    """Let through only what says how a network is built.

    Nothing that fetches or reads weights, no objects.

    Raises:
        InputError: another option.
    """
    for option, value in options.items():
        values = value if isinstance(value, list | tuple) else (value,)
        if (
            option in _REFUSED
            or option.startswith("pretrained")
            or not all(isinstance(v, _PLAIN) for v in values)
        ):
            raise InputError(
                f"timm's {name} cannot be given {option} {value!r} here; only numbers, texts and "
                "lists of them that "
                "say how it is built, such as img_size, patch_size, window_size or drop_path_rate"
            )


def _halve_stem_stride(network: Any, name: str, stride: Any) -> None:
    """Give a stem that shrinks images to a quarter a stride of 2; the weights stay the same.

    No argument of timm's does that.

    Raises:
        InputError: another stride, or another kind of stem.
    """
    first = network.stem[0] if isinstance(network, ConvNeXt) else None
    if stride != 2 or not (
        isinstance(network, ResNet) or (isinstance(first, nn.Conv2d) and first.stride == (4, 4))
    ):
        raise InputError(
            f"timm's {name} cannot be given stem_stride {stride}; only 2, and of ResNets and "
            "ConvNeXts"
        )
    if isinstance(first, nn.Conv2d):
        first.stride, first.padding = (2, 2), (1, 1)
    else:
        network.maxpool = nn.Identity()
    for info in network.feature_info:
        info["reduction"] = max(2, info["reduction"] // 2)


def as_nominating(network: nn.Module, source: str | Path) -> NomMer:
    """`network`, in which something must nominate.

    Raises:
        InputError: it is a network of timm, or a NomMer with a single context or a sum of contexts.
    """
    if not isinstance(network, NomMer):
        name = describe_network(network)["timm"]
        raise InputError(
            f"{source}: its network is timm's {name}, which nominates nothing; give a model that "
            "is a NomMer"
        )
    if not network.config.nominates:
        contexts = ", ".join(network.config.contexts)
        raise InputError(
            f"{source}: nothing nominates in its network (contexts {contexts}, fusion "
            f"{network.config.fusion}); "
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
    differing = [
        f"{name} {found[name]} (now {wanted[name]})"
        for name in names
        if found[name] != wanted[name]
    ]
    if differing:
        raise InputError(
            f"--pretrained {source} is another network, with {', '.join(differing)}; "
            "choose the --model and --network options that it has"
        )


def _kind(description: Mapping[str, Any]) -> dict[str, str]:
    if "timm" not in description:
        return {"network": "a NomMer"}
    options = {
        name: value for name, value in description.get("options", {}).items() if name not in _FREE
    }
    return {"network": f"timm:{description['timm']}" + (f" with {options}" if options else "")}
