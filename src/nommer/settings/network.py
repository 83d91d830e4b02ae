"""Changes to a variant of the network."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from nommer.errors import InputError
from nommer.settings.pixels import SMALL_IMAGE

VARIANTS = (
    "nommer_tiny",
    "nommer_small",
    "nommer_base",
    "nommer_micro",
    "nommer_pico",
    "nommer_nano",
)
"""Names of the family, as `backbone.variants` describes them."""

PEER = "timm:"
"""What the name of a network of timm begins with, where it takes the place of a variant."""

_TINY_IMAGE = 48


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """Changes to the chosen variant of the network.

    What is not given is taken from the variant or the image size.
    """

    patch_size: Literal[1, 2, 4] | None = None
    """Stride of the stem. By default 4, or 2 for images under 160 pixels."""
    window_size: int | None = None
    """Side of the attention windows in tokens. By default 7; 8 for images under 160 pixels, 4 under
    48.
    """
    block_sizes: tuple[int, int] | None = None
    """Sides of the DCT blocks of stages 1 and 2 in tokens. By default 8 and 4; 4 and 4 for images
    under 48 pixels.
    """
    global_pool: Literal["token", "avg"] = "token"
    """What the classifier sees: the class token, or the mean of the other tokens."""
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
    """What makes one of several contexts: nomination as published, a mixture by the softmax of the
    scores, the sum.
    """
    compression: Literal["dct", "average"] = "dct"
    """What the global context compresses its blocks by: the DCT as published, or average pooling."""
    kept_coefficients: tuple[int, int] | None = None
    """Coefficients kept per side of the blocks of stages 1 and 2. By default half of block_sizes,
    rounded up.
    """
    position_scale: float = 1.0
    """Standard deviation that the position embedding is drawn with. 1 as published."""
    temperature: tuple[float, float] = (1.0, 1.0)
    """Temperature of the nomination's softmax at the start and at the end of training. 1 and 1 as
    published.
    """
    noise: tuple[float, float] = (1.0, 1.0)
    """Scale of the nomination's noise at the start and at the end of training. 1 and 1 as
    published.
    """
    grad_checkpointing: bool = False
    """Trade time for memory: recompute activations in the backward pass."""
    timm: dict[str, Any] | None = None
    """For a network of timm: arguments of its constructor, such as {img_size: 64, patch_size: 2};
    and stem_stride: 2, which halves every stride of a ResNet or a ConvNeXt, for small images."""

    def __post_init__(self) -> None:
        if not self.position_scale >= 0:
            raise InputError(
                f"--network.position-scale must be 0 or more, got {self.position_scale}"
            )
        for name, least in {"temperature": "above 0", "noise": "0 or more"}.items():
            pair = tuple(getattr(self, name))
            object.__setattr__(self, name, pair)
            if len(pair) != 2 or not min(pair) >= 0 or (name == "temperature" and min(pair) == 0):
                raise InputError(f"--network.{name} must be two numbers {least}, got {pair}")

    @property
    def anneals(self) -> bool:
        """True where the nomination differs from the published one at any time of the training."""
        return (self.temperature, self.noise) != ((1.0, 1.0), (1.0, 1.0))

    def for_image_size(self, image_size: int) -> "NetworkOptions":
        """With patch, window and block sizes filled in so that small images keep a useful grid."""
        if image_size >= SMALL_IMAGE:
            defaults: tuple[Literal[1, 2, 4], int, tuple[int, int]] = (4, 7, (8, 4))
        else:
            defaults = (2, 8, (8, 4)) if image_size >= _TINY_IMAGE else (2, 4, (4, 4))
        return replace(
            self,
            patch_size=self.patch_size or defaults[0],
            window_size=self.window_size or defaults[1],
            block_sizes=self.block_sizes or defaults[2],
        )
