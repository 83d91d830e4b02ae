"""Gains of pruning, and what it must not change: cost, time in turns, and parity on real images."""

import copy
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nommer.acceleration.fuse import fuse
from nommer.benchmarking.timing import time_in_turns, warm_up
from nommer.errors import InputError
from nommer.models.costs import giga_macs
from nommer.models.recogniser import Recogniser
from nommer.nominations.intervention import intervene
from nommer.nominations.trace import NominationTrace
from nommer.pruning.surgery import Kept, Means, contexts_of, mixers_of

IMAGES = 8
"""Images, as the network was given them, that are kept to compare and to time on."""

ROUNDS, SECONDS = 15, 8.0

LIMIT = 1e-4
"""Largest difference of a stage's output from the literal form, as a part of its largest value."""


class Seen:
    """Keeps the first images that a network is given, through a hook of its stem."""

    def __init__(self, network: Any) -> None:
        self.images: list[Tensor] = []
        self._handle = network.stem.register_forward_pre_hook(self._keep)

    def _keep(self, _stem: nn.Module, given: tuple[Tensor, ...]) -> None:
        for image in given[0][: max(0, IMAGES - len(self.images))]:
            self.images.append(image.detach().float().cpu()[None])

    def close(self) -> list[Tensor]:
        """Take the hook off, and return the images, (1, channels, height, width) each."""
        self._handle.remove()
        return self.images


@dataclass(frozen=True)
class Parity:
    """Differences between a pruned network and the one that it was made of."""

    images: int
    difference: float
    """From that network under an intervention that nominates nothing removed: the largest of any
    stage's output, as a part of its largest value. Rounding."""
    untouched: int
    """Images none of whose tokens had nominated anything that was removed."""
    untouched_difference: float | None
    """The same difference from the network as it is, on them; None where there are none. Rounding
    where each pruned block has one context left; with two the scores lack the removed one."""
    limit: float = LIMIT

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


@torch.inference_mode()
def compare(
    model: Recogniser, pruned: Recogniser, kept: Kept, means: Means, images: Sequence[Tensor]
) -> Parity:
    """Compare a pruned model with its original, stage by stage, on the CPU.

    In float64, in which no tie of two scores is broken otherwise by rounding.

    Raises:
        InputError: it differs by more than rounding.
    """
    before, after = (copy.deepcopy(one.backbone).cpu().double().eval() for one in (model, pruned))
    had = contexts_of(before)
    differences, untouched = [], []
    for image in (image.double() for image in images):
        wanted = list(after.stage_outputs(image))
        with _forced(before, kept, means):
            differences.append(_difference(list(before.stage_outputs(image)), wanted))
        with NominationTrace(before) as trace:
            plain = list(before.stage_outputs(image))
        shares = trace.shares()
        if not any(
            shares[block][name]
            for block in shares
            for name in had[block]
            if name not in kept[block]
        ):
            untouched.append(_difference(plain, wanted))
    parity = Parity(
        len(images), max(differences), len(untouched), max(untouched) if untouched else None
    )
    if not parity.difference <= LIMIT:
        raise InputError(
            f"the pruned network differs from the one that it was made of by "
            f"{parity.difference:.2g} of a stage's largest value, more than {LIMIT:g}; no model "
            "was written"
        )
    return parity


@contextmanager
def _forced(network: Any, kept: Kept, means: Means) -> Iterator[None]:
    """Nominate nothing that was removed, from outside: the literal form of pruning."""
    had = contexts_of(network)
    with ExitStack() as stack:
        for block, mixer in mixers_of(network).items():
            if kept[block] == had[block]:
                continue
            if len(kept[block]) == 1:
                stack.enter_context(intervene(network, kept[block][0], blocks=[block]))
                continue
            gone = [name not in kept[block] for name in had[block]]
            stand_in = partial(_stand_in, names=had[block], gone=gone, means=means[block])
            hide = partial(_hide, gone=gone)
            stack.enter_context(mixer.nominator.register_forward_pre_hook(stand_in))
            stack.enter_context(mixer.nominator.nomination.register_forward_pre_hook(hide))
        yield


def _stand_in(
    _nominator: nn.Module,
    contexts: tuple[Tensor, ...],
    *,
    names: Sequence[str],
    gone: Sequence[bool],
    means: Any,
) -> tuple[Tensor, ...]:
    triples = zip(contexts, names, gone, strict=True)
    return tuple(
        means[name].to(context).expand_as(context) if is_gone else context
        for context, name, is_gone in triples
    )


def _hide(_nomination: nn.Module, given: tuple[Tensor], *, gone: Sequence[bool]) -> tuple[Tensor]:
    return (given[0].masked_fill(torch.tensor(gone, device=given[0].device), -torch.inf),)


def _difference(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    return max(
        ((a - b).abs().max() / b.abs().max().clamp_min(1e-12)).item()
        for a, b in zip(one, other, strict=True)
    )


@dataclass(frozen=True)
class Cost:
    """Costs of a network before and after."""

    giga_macs: tuple[float, float]
    """Of the NomMer alone, for the largest of the images that were kept."""
    parameters: tuple[int, int]
    """Of the whole model."""
    network_ms: tuple[float, float]
    """Median time of the fused NomMer for one image."""
    answer_ms: tuple[float, float]
    """Median time of an answer from an image file: decoding, network, heads."""
    size: tuple[int, int]
    """Height and width of that image."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, with the ratios of before to after."""
        ratios = {
            f"{name}_ratio": before / after
            for name, (before, after) in asdict(self).items()
            if name != "size"
        }
        return asdict(self) | ratios


def measure(
    model: Recogniser, pruned: Recogniser, images: Sequence[Tensor], paths: Sequence[Path]
) -> Cost:
    """Count, and time both in turns, on the device that they are on."""
    image = max(images, key=Tensor.numel)
    side = (image.shape[-2], image.shape[-1])
    device, both = model.device, (model, pruned)
    fused = [fuse(one).to(device) for one in both]
    given = image.to(device)
    some = [str(path) for path in paths[:IMAGES]]
    network_ms = _medians([partial(_run, one, given) for one in fused], device)
    answer_ms = _medians([partial(_answer, one, some) for one in fused], device)
    return Cost(
        giga_macs=(giga_macs(model.backbone, side), giga_macs(pruned.backbone, side)),
        parameters=(_parameters(model), _parameters(pruned)),
        network_ms=network_ms,
        answer_ms=(answer_ms[0] / len(some), answer_ms[1] / len(some)),
        size=side,
    )


def _medians(both: Sequence[Callable[[], Any]], device: torch.device) -> tuple[float, float]:
    """Return the median milliseconds of two calls that take turns."""
    calls = dict(enumerate(both))
    expected = {index: warm_up(call, device) for index, call in calls.items()}
    times = time_in_turns(calls, expected, device, rounds=ROUNDS, seconds=SECONDS, alone=True)
    return 1000 * statistics.median(times[0]), 1000 * statistics.median(times[1])


@torch.inference_mode()
def _run(model: Recogniser, image: Tensor) -> None:
    for _ in model.backbone.stage_outputs(image):
        pass


def _answer(model: Any, paths: list[str]) -> None:
    model.predict(paths)


def _parameters(model: nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters())
