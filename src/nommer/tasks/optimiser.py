"""Optimiser and schedule, both timm's, as `Optim` describes them."""

from typing import Any

from timm.optim import OptimInfo, create_optimizer_v2, get_optimizer_info
from timm.scheduler import create_scheduler_v2
from timm.scheduler.scheduler import Scheduler
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from nommer.errors import InputError
from nommer.settings.optim import Optim

_TIMMS = {"cosine": "cosine", "poly": "poly", "steps": "multistep"}
"""timm's names of the schedules."""

_HAVE_FUSED: tuple[type[Optimizer], ...] = (Adam, AdamW, SGD)
"""Optimisers that torch has as one kernel over all weights."""


def check_optimiser(optim: Optim) -> None:
    """Refuse an optimiser that timm does not have, or that training cannot use.

    Raises:
        InputError: its name, or betas that are not its own.
    """
    try:
        known = _info(optim)
    except ValueError:
        raise InputError(
            f"optim.name {optim.algorithm!r} is no optimiser of timm; adamw is the usual one"
        ) from None
    if known.second_order:
        raise InputError(
            f"optim.name {optim.algorithm!r} needs second derivatives, which training does not "
            "compute; adamw is the usual one"
        )
    if known.has_betas and known.num_betas != 2 and optim.betas != Optim.betas:
        raise InputError(
            f"optim.betas: {known.name} has {known.num_betas} of them, at their own values; leave "
            "betas out"
        )


def _info(optim: Optim) -> OptimInfo:
    """Return timm's facts about the optimiser; "lookahead_" may stand before its name."""
    return get_optimizer_info(optim.algorithm.lower().split("_")[-1])


def build_optimizer(
    optim: Optim, network: nn.Module, lr: float, *, fused: bool = False
) -> Optimizer:
    """Build the optimiser over the parameters of `network`.

    With `fused` in one kernel where it has one.
    """
    known = _info(optim)
    options: dict[str, Any] = {"eps": optim.eps} if known.has_eps else {}
    options |= (
        {"betas": optim.betas} if known.has_betas and known.num_betas == len(optim.betas) else {}
    )
    options |= {"fused": True} if fused and known.opt_class in _HAVE_FUSED else {}
    return create_optimizer_v2(
        network,
        optim.algorithm,
        lr=lr,
        weight_decay=optim.weight_decay,
        layer_decay=optim.layer_decay,
        **options,
    )


def build_scheduler(
    optim: Optim, optimizer: Optimizer, lr: float, *, epochs: int, steps_per_epoch: int
) -> Scheduler:
    """Build a schedule that falls at every step after a linear warm-up."""
    known = optim.resolved(schedule="cosine", label_smoothing=0.0)
    warmup = min(5.0, epochs / 10) if optim.warmup_epochs is None else optim.warmup_epochs
    milestones = (
        (epochs * 2 / 3, epochs * 11 / 12) if optim.milestones is None else optim.milestones
    )
    scheduler, _ = create_scheduler_v2(
        optimizer,
        sched=_TIMMS[known.schedule or "cosine"],
        # `decay_rate` is timm's name for the exponent of poly too
        decay_rate=0.1 if known.schedule == "steps" else optim.power,
        decay_milestones=[m + 1 / steps_per_epoch for m in milestones],  # type: ignore[misc]  # timm is 1 early
        num_epochs=epochs,
        warmup_epochs=warmup,  # type: ignore[arg-type]  # a fraction does
        warmup_lr=lr * optim.warmup_factor,
        min_lr=lr * (known.min_factor or 0.0),
        step_on_epochs=False,
        updates_per_epoch=steps_per_epoch,
    )
    if scheduler is None:
        raise InputError("the schedule needs at least one step")
    return scheduler
