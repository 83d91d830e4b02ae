"""Variants of the network, and changes to them."""

import re
from dataclasses import dataclass, replace
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Literal

from nommer.errors import InputError
from nommer.settings.pixels import SMALL_IMAGE
from nommer.settings.schema import Settings

OWN = (
    "nommer_micro",
    "nommer_pico",
    "nommer_nano",
    "nommer_pico64",
    "nommer_nano64",
    "nommer_mini64",
)
"""Names of our own small variants."""

VARIANTS = ("nommer_tiny", "nommer_small", "nommer_base", *OWN)
"""Names of the family, as `backbone.variants` describes them; the published sizes first."""

PEER = "timm:"
"""Beginning of the name of a network of timm, where it takes the place of a variant."""

AUTO, USUAL = "auto", "nommer_nano"
"""Of a training: the network that fits its weights or images, and where none does better."""

TINY_IMAGE = 48
"""Below this size, in pixels, a stem of stride 4 leaves no useful grid."""

PUBLISHED_NOISE = 1.0, 1.0
"""Scale of the nomination's noise at the start and at the end of training, as published."""


@dataclass(frozen=True, kw_only=True)
class NetworkOptions(Settings):
    """Changes to the chosen variant of the network.

    What is not given is taken from the variant or the image size.
    """

    prefix: ClassVar[str] = "--network."

    patch_size: Literal[1, 2, 4] | None = None
    """Stride of the stem. By default 4, or 2 for images under 160 pixels."""
    stem: Literal["patch", "overlapping"] | None = None
    """Convolutions of the stem: one of the size of its stride as published, or 3x3 ones of stride
    2. By default the variant's.
    """
    window_size: int | None = None
    """Side of the attention windows in tokens. By default 7; 8 for images under 160 pixels, 4 under
    48.
    """
    block_sizes: tuple[int, int] | None = None
    """Sides of the DCT blocks of stages 1 and 2 in tokens. By default 8 and 4; 4 and 4 for images
    under 48 pixels.
    """
    global_pool: Literal["token", "avg"] | None = None
    """Input of the classifier: the class token as published, or the mean of the other tokens. By
    default the variant's.
    """
    drop_rate: float = 0.0
    """Dropout before the classifier."""
    drop_path_rate: float | None = None
    """Drop path of the last block. By default the variant's published one."""
    contexts: tuple[Literal["convolution", "window", "global"], ...] = (
        "convolution",
        "window",
        "global",
    )
    """Contexts of the blocks of stages 1 and 2: all, as published, or some; a single one is always
    taken.
    """
    fusion: Literal["nomination", "softmax", "sum"] = "nomination"
    """Way to make one of several contexts: nomination as published, a mixture by the softmax of the
    scores, the sum.
    """
    compression: Literal["dct", "average"] = "dct"
    """Compression of the blocks of the global context: the DCT as published, or average pooling."""
    kept_coefficients: tuple[int, int] | None = None
    """Coefficients kept per side of the blocks of stages 1 and 2. By default half of block_sizes,
    rounded up.
    """
    position_scale: float | None = None
    """Standard deviation that the position embedding is drawn with. By default the variant's; 1 as
    published.
    """
    temperature: tuple[float, float] = (1.0, 1.0)
    """Temperature of the nomination's softmax at the start and at the end of training. 1 and 1 as
    published.
    """
    noise: tuple[float, float] | None = None
    """Scale of the nomination's noise at the start and at the end of training. By default 1 and 1
    as published; 0.3 and 0.3 where one of our own small variants is trained from scratch.
    """
    balance: float | None = None
    """Weight of a loss that keeps all contexts in use over a batch. By default 0 as published; 0.1
    where one of our own small variants is trained from scratch.
    """
    balance_places: bool = False
    """Keep the balance at every place of the grid over the images of a batch, of one size and many:
    over the whole batch alone, contexts may be dealt out by place. False as published."""
    decided: float = 0.0
    """Weight of a loss that makes tokens sure of their context. 0 as published."""
    choose_from: float | None = None
    """Part of the epochs, 0 to 1, after which the scores by which tokens nominate are drawn anew,
    the contexts scaled to outputs of one size, and balance and decided begin: a network that has
    learned something learns to choose. As published, that is from the start, and once.
    """
    equal_contexts: bool = False
    """Scale fresh contexts to outputs of one size; as published, the convolution's is larger."""
    grad_checkpointing: bool = False
    """Trade time for memory: recompute activations in the backward pass."""
    timm: dict[str, Any] | None = None
    """For a network of timm: arguments of its constructor, such as {img_size: 64, patch_size: 2};
    and stem_stride: 2, which halves every stride of a ResNet or a ConvNeXt, for small images."""

    def check(self) -> None:
        """Refuse values out of range."""
        if self.position_scale is not None and not self.position_scale >= 0:
            raise InputError(
                f"--network.position-scale must be 0 or more, got {self.position_scale}"
            )
        for name in ("balance", "decided"):
            weight = getattr(self, name) or 0
            if not 0 <= weight < float("inf"):
                raise InputError(f"--network.{name} must be 0 or more, got {weight}")
        if self.choose_from is not None and not 0 <= self.choose_from < 1:
            raise InputError(
                f"--network.choose-from must be from 0 to below 1, got {self.choose_from}"
            )
        if self.choose_from is not None and not self.balances:
            raise InputError(
                "--network.choose-from: says when the balance begins; give --network.balance too"
            )
        if self.balance_places and not self.balance:
            raise InputError(
                "--network.balance-places: says how the balance is kept; give --network.balance too"
            )
        for name, least in {"temperature": "above 0", "noise": "0 or more"}.items():
            pair = getattr(self, name) or PUBLISHED_NOISE
            if not min(pair) >= 0 or (name == "temperature" and min(pair) == 0):
                raise InputError(f"--network.{name} must be two numbers {least}, got {pair}")

    @property
    def anneals(self) -> bool:
        """True where the nomination differs from the published one at any time of the training."""
        return (self.temperature, self.noise or PUBLISHED_NOISE) != ((1.0, 1.0), PUBLISHED_NOISE)

    @property
    def balances(self) -> bool:
        """True where the nominations have a loss of their own."""
        return (self.balance or 0) > 0 or self.decided > 0

    @property
    def nominates_all(self) -> bool:
        """True where one of three contexts is nominated, as published."""
        published = NetworkOptions()
        parts = ("contexts", "fusion", "compression")
        return all(getattr(self, part) == getattr(published, part) for part in parts)

    @property
    def as_published(self) -> "NetworkOptions":
        """A copy in which noise and balance are as published where they are not given."""
        return replace(self, noise=self.noise or PUBLISHED_NOISE, balance=self.balance or 0.0)

    def for_image_size(self, image_size: int) -> "NetworkOptions":
        """Return a copy with sizes filled in so that small images keep a useful grid."""
        if image_size >= SMALL_IMAGE:
            defaults: tuple[Literal[1, 2, 4], int, tuple[int, int]] = (4, 7, (8, 4))
        else:
            defaults = (2, 8, (8, 4)) if image_size >= TINY_IMAGE else (2, 4, (4, 4))
        return replace(
            self,
            patch_size=self.patch_size or defaults[0],
            window_size=self.window_size or defaults[1],
            block_sizes=self.block_sizes or defaults[2],
        )


def check_model(name: str) -> None:
    """Refuse a name that is neither a variant nor a network of timm's by its beginning.

    Raises:
        InputError: the name, what there is, and what may have been meant.
    """
    if name in VARIANTS or name.startswith(PEER):
        return
    near = get_close_matches(name, VARIANTS, 1) or near_in_timm(name)
    meant = f"; did you mean {near[0]}?" if near else ""
    raise InputError(
        f"--model {name!r} is not known; choose from {', '.join(VARIANTS)}, or {PEER}NAME for one "
        f"of timm{meant}"
    )


def near_in_timm(name: str) -> list[str]:
    """Return the network of timm that is called so, or nearly so.

    Its names are read from its source files: importing timm takes seconds.
    """
    found = find_spec("timm")
    folders = found.submodule_search_locations if found else None
    names: set[str] = set()
    for file in Path(folders[0], "models").glob("*.py") if folders else ():
        names.update(re.findall(r"^def (\w+)\(pretrained", file.read_text("utf-8"), re.MULTILINE))
    return [f"{PEER}{near}" for near in get_close_matches(name, names, 1, cutoff=0.8)]
