"""Weights of a network of timm, wherever they come from, taken over by name."""

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor

from nommer.errors import InputError, shortened
from nommer.models.networks import build_network, describe_network
from nommer.models.simple_pyramid import plain_of
from nommer.models.weights import refuse_values
from nommer.progress import notice

_COUNTER = "num_batches_tracked"
"""Entries that old checkpoints lack, and that nothing depends on."""


@dataclass(frozen=True)
class Taken:
    """The weights that were taken over, by name."""

    loaded: list[str]
    """Those that the network has from there."""
    new: list[str]
    """Those of the network that are fresh: its classifier's or heads'."""
    left: list[str]
    """Those that are only there."""


def fetch_weights(
    name: str, *, option: str = "--pretrained"
) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
    """The weights that timm knows for a network, through its hub, and what it says of them.

    `option` is the one that takes a file in their place.

    Raises:
        InputError: there are none, or they cannot be fetched.
    """
    notice(f"asking timm's hub, or its cache, for the weights of {name}")
    try:
        with _without_retries_told():
            network: Any = timm.create_model(name, pretrained=True)
    except Exception as error:  # whatever the hub and the network raise
        raise InputError(
            f"{option} timm: the weights of {name} cannot be had from timm's hub: "
            f"{_why_not_had(error)}; give a file of them with {option} FILE, or leave it out"
        ) from error
    return dict(network.state_dict()), network.pretrained_cfg


@contextmanager
def _without_retries_told() -> Iterator[None]:
    """Keep the hub's client from telling each of its dozen retries."""
    client = logging.getLogger("huggingface_hub")
    before = client.level
    client.setLevel(logging.ERROR)
    try:
        yield
    finally:
        client.setLevel(before)


_REASONS = {
    "OfflineModeIsEnabled": "HF_HUB_OFFLINE forbids to ask it, and they are not in the cache",
    "ConnectError": "it does not answer, and they are not in the cache",
    "TimeoutException": "it does not answer in time, and they are not in the cache",
    "RepositoryNotFoundError": "it has none, or none for everybody (404)",
    "RemoteEntryNotFoundError": "it has no such file (404)",
}
"""Words for errors of huggingface_hub and its HTTP client, by their class, the cause first."""


def _why_not_had(error: BaseException) -> str:
    """Return in words why the hub did not give weights; of other errors the first line."""
    cause: BaseException | None = error
    while cause is not None:
        for kind in type(cause).__mro__:
            if kind.__name__ in _REASONS:
                return _REASONS[kind.__name__]
        cause = cause.__cause__
    return shortened(str(error).strip().partition("\n")[0].rstrip("."), 200)


def take_over(
    network: Any,
    weights: Mapping[str, Tensor],
    source: str,
    *,
    option: str = "--pretrained",
    of: str = "--model",
) -> Taken:
    """Put weights of the same architecture into a network, but for its classifier.

    Names and shapes must be the network's; where they are not, timm's own conversion for it is
    tried, which also resamples position embeddings.

    Args:
        network: a classifier of timm, or such a network under a dense head.
        weights: by the names that timm gives them.
        source: where they come from, for messages.
        option: the one that names them, for messages.
        of: the one that names the network.

    Raises:
        InputError: weights of another network, of another kind, or that are not finite.
    """
    target = plain_of(network)
    own = target.state_dict()
    head = {name for name in own if name.startswith(_classifier(target))}
    body = {name: value for name, value in own.items() if name not in head}
    found, misfits = dict(weights), _misfits(target, body, weights)
    if misfits:
        converted = _converted(weights, target)
        found, misfits = (
            (converted, []) if not _misfits(target, body, converted) else (found, misfits)
        )
    if misfits:
        raise InputError(
            f"{option} {source}: {len(misfits)} entries are not those of "
            f"{describe_network(target)['timm']}: {'; '.join(misfits[:5])}; choose the {of} "
            "that the weights are of"
        )
    used = {name: found[name] for name in body if name in found}
    refuse_values(body, used, Path(source))
    target.load_state_dict({**own, **used})
    return Taken(list(used), [*head], [name for name in found if name not in used])


def _classifier(network: Any) -> tuple[str, ...]:
    """Return the beginnings of the names of a classifier's weights."""
    names = (getattr(network, "pretrained_cfg", None) or {}).get("classifier") or ()
    return tuple(f"{name}." for name in ((names,) if isinstance(names, str) else names))


def _misfits(network: Any, body: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> list[str]:
    """Describe the differences between the body of a network and weights.

    Weights of parts that the whole network has not are somebody's own, such as a loss's; more of a
    part that it has are another network's.
    """
    found = {name: tuple(value.shape) for name, value in weights.items()}
    misfits = [
        f"{shortened(name)}: expected {tuple(value.shape)}, found {found.get(name, 'none')}"
        for name, value in body.items()
        if found.get(name) != tuple(value.shape)
        and not (name.endswith(_COUNTER) and name not in found)
    ]
    with torch.device("meta"):
        whole = build_network({**describe_network(network), "num_classes": 1000}).state_dict()
    parts = {name.partition(".")[0] for name in whole}
    misfits += [
        f"{shortened(name)}: expected none, found {shape}"
        for name, shape in found.items()
        if name not in whole and name.partition(".")[0] in parts
        if not name.startswith(_classifier(network))
    ]
    return misfits


def _converted(weights: Mapping[str, Tensor], network: Any) -> dict[str, Tensor]:
    """The weights as timm itself converts them for this network; as they are where it cannot."""
    convert = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return dict(weights)
    try:
        return dict(convert(dict(weights), network))
    except Exception:  # whatever a conversion trips over that was written for other names
        return dict(weights)
