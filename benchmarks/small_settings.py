"""The settings of `small_networks.py`, and its options."""

import argparse
import json
from dataclasses import asdict, dataclass, field
from typing import Any

from small_batches import Augmentation

CHANNELS = {"middle": 112, "last": 320}
"""Channels of the teacher's maps."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings of a training."""

    model: str
    network: dict[str, Any]
    every: int
    epochs: int
    minutes: float
    batch: int
    lr: float
    weight_decay: float
    warmup: float
    smoothing: float
    teacher: str
    temperature: float
    share: float
    feature_weight: float
    ema: float
    seed: int
    small_until: float
    small_size: int
    augmentation: Augmentation = field(default_factory=Augmentation)
    precision: str = "bf16"
    balance: float = 0.0
    decided: float = 0.0
    balance_places: bool = False
    choose_from: float = 0.0
    equal_contexts: bool = False
    noise: tuple[float, float] = (1.0, 1.0)
    init: str = ""
    fresh_nominators: bool = False
    optimizer: str = "adamw"
    labels: float = 1.0

    @property
    def answers(self) -> bool:
        """True if the teacher's answers are learned."""
        return self.teacher in ("answers", "both")

    @property
    def maps(self) -> tuple[str, ...]:
        """Names of the teacher's maps that are imitated."""
        return tuple(CHANNELS) if self.teacher in ("features", "both") else ()

    @property
    def of_teacher(self) -> tuple[str, ...]:
        """Names of the teacher's files that are read."""
        return self.maps + (("answers",) if self.answers else ())


OPTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("--model", {"default": "nommer_pico", "help": "a variant, or timm:NAME"}),
    (
        "--network",
        {"type": json.loads, "default": {}, "help": "fields of NomMerConfig, as JSON"},
    ),
    ("--every", {"type": int, "default": 1, "help": "of the classes every so-many-th"}),
    ("--epochs", {"type": int, "default": 24}),
    (
        "--minutes",
        {"type": float, "default": 0.0, "help": "by the clock, in the place of --epochs"},
    ),
    ("--batch", {"type": int, "default": 64}),
    ("--lr", {"type": float, "default": 1e-3}),
    ("--optimizer", {"default": "adamw", "help": "of timm"}),
    ("--weight-decay", {"type": float, "default": 0.05}),
    ("--warmup", {"type": float, "default": 0.08, "help": "part of the training"}),
    ("--smoothing", {"type": float, "default": 0.1, "help": "of the labels"}),
    (
        "--labels",
        {"type": float, "default": 1.0, "help": "weight of labels and answers; 0 for maps alone"},
    ),
    ("--teacher", {"choices": ["none", "answers", "features", "both"], "default": "none"}),
    ("--temperature", {"type": float, "default": 2.0, "help": "of the teacher's answers"}),
    ("--share", {"type": float, "default": 0.8, "help": "of the teacher's answers in the loss"}),
    ("--feature-weight", {"type": float, "default": 1.0}),
    ("--ema", {"type": float, "default": 0.998}),
    ("--seed", {"type": int, "default": 0}),
    (
        "--small-until",
        {"type": float, "default": 0.0, "help": "part of the training on smaller images"},
    ),
    ("--small-size", {"type": int, "default": 48, "help": "their side"}),
    (
        "--balance",
        {
            "type": float,
            "default": 0.0,
            "help": "weight of the loss that keeps all contexts in use",
        },
    ),
    (
        "--decided",
        {"type": float, "default": 0.0, "help": "weight of the loss that makes tokens sure"},
    ),
    (
        "--balance-places",
        {"action": "store_true", "help": "in balance at every place, over the images of a batch"},
    ),
    (
        "--choose-from",
        {
            "type": float,
            "default": 0.0,
            "help": "part of the epochs without --balance, before contexts are chosen anew",
        },
    ),
    ("--equal-contexts", {"action": "store_true", "help": "contexts of one size at the start"}),
    (
        "--noise",
        {
            "type": float,
            "nargs": 2,
            "default": (1.0, 1.0),
            "help": "of the nominations, start and end",
        },
    ),
    ("--init", {"default": "", "help": "a run folder of this script to start from"}),
    ("--fresh-nominators", {"action": "store_true", "help": "with --init: choose anew"}),
    ("--precision", {"choices": ["bf16", "32"], "default": "bf16"}),
)
"""Options of the command line but for those of the augmentation."""


def option_parser(description: str) -> argparse.ArgumentParser:
    """Return a parser with an option for every setting."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, option in OPTIONS:
        parser.add_argument(name, **option)
    for name, value in asdict(Augmentation()).items():
        several = {"nargs": 2} if isinstance(value, tuple) else {}
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=value, **several)
    return parser


def settings_of(told: dict[str, Any]) -> Settings:
    """Return the settings that were told by option."""
    names = asdict(Augmentation())
    changes = {name: told[name] for name in names}
    others = {name: value for name, value in told.items() if name not in names}
    return Settings(**others, augmentation=Augmentation(**changes))
