"""The architecture of a NomMer network: one frozen, validated description, without torch."""

from collections.abc import Sequence
from dataclasses import dataclass

NUM_STAGES = 4
CONTEXTS = ("convolution", "window", "global")
"""Names of the contexts, in the order of the nomination logits."""
GROUPS = 8
"""Groups of the 1x1 convolutions that squeeze a block's coefficients into one token and back."""
GLOBAL_POOLS = ("token", "avg", "")
FUSIONS = ("nomination", "softmax", "sum")
"""Ways to make one of the contexts; the first is the published one, the others are ablations."""
STEMS = ("patch", "overlapping")
"""Kinds of stem; the first is the published one."""
COMPRESSIONS = ("dct", "average")
"""Ways to compress a block for the global context; average pooling is an ablation."""


def _height_width(value: int | Sequence[int]) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2:
        raise ValueError(
            f"img_size must be one number of pixels or two (height, width), got {value!r}"
        )
    return (int(pair[0]), int(pair[1]))


@dataclass(frozen=True, kw_only=True)
class NomMerConfig:
    """Architecture of a NomMer; names follow timm where timm has one.

    Sequences may be given as lists and are kept as tuples, `img_size` as (height, width),
    `contexts` in the order of `CONTEXTS`. The fields from `contexts` on are ablations: by default
    the network is the published one.

    Raises:
        ValueError: a value is out of range; the message names it and says what is allowed.
    """

    embed_dim: int = 96
    """D, the width of stage 1; stage i has D * 2^(i-1)."""
    depths: Sequence[int] = (2, 2, 8, 2)
    """Blocks per stage."""
    num_heads: Sequence[int] = (2, 2, 4, 8)
    """Attention heads per stage."""
    expansion: int = 2
    """e, which divides the width inside the convolutional context."""
    mlp_ratios: Sequence[int] = (2, 2, 2, 1)
    """Hidden width of the MLPs, in widths of their stage."""
    window_size: int = 7
    """Side of the attention windows, in tokens."""
    block_sizes: Sequence[int] = (8, 4)
    """k, the side of the DCT blocks in stages 1 and 2, in tokens."""
    patch_size: int = 4
    """Stride of the stem: 4 as published, 2 or 1 for small images."""
    stem: str = "patch"
    """Kind of stem: "patch", one convolution as large as its stride, or "overlapping" 3x3 ones."""
    in_chans: int = 3
    """Channels of the input image."""
    num_classes: int = 1000
    """Outputs of the classifier; 0 for none."""
    img_size: int | Sequence[int] = 224
    """Image size (height, width) in pixels of the position embedding; others resample it."""
    position_std: float = 1.0
    """Standard deviation that the position embedding is drawn with; 1 as published."""
    global_pool: str = "token"
    """Input of the classifier: "token" the class token, "avg" the mean of the others, "" all."""
    drop_rate: float = 0.0
    """Dropout before the classifier."""
    drop_path_rate: float = 0.0
    """Drop path of the last block; it grows linearly from 0 over all blocks."""
    contexts: Sequence[str] = CONTEXTS
    """Contexts of the blocks of stages 1 and 2; a single one leaves nothing to nominate."""
    fusion: str = "nomination"
    """Their fusion: "nomination" of one per token, "softmax" mixture by scores, or "sum"."""
    compression: str = "dct"
    """Compression of blocks for the global context: "dct", "average" (as many coefficients)."""
    kept_coefficients: Sequence[int] | None = None
    """r, the coefficients kept per side of a block in stages 1 and 2, 1 to k.

    None for ceil(k / 2) as published, also where just that is given.
    """
    block_contexts: Sequence[Sequence[str]] | None = None
    """Contexts of each block of stages 1 and 2 in turn, where blocks differ: some of `contexts`.

    None for all of `contexts` in every block, also where just that is given. A block of a single
    context has nothing to nominate (`nommer prune`).
    """

    def __post_init__(self) -> None:
        object.__setattr__(self, "img_size", _height_width(self.img_size))
        for name, length in {
            "depths": 4,
            "num_heads": 4,
            "mlp_ratios": 4,
            "block_sizes": 2,
        }.items():
            object.__setattr__(self, name, tuple(getattr(self, name)))
            if len(getattr(self, name)) != length or min(getattr(self, name)) < 1:
                raise ValueError(
                    f"{name} must be {length} numbers of 1 or more, got {getattr(self, name)}"
                )
        for name in ("embed_dim", "expansion", "window_size", "in_chans"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")
        self._check_choices()
        self._check_widths()
        self._check_contexts()
        self._check_block_contexts()
        self._check_compression()

    def _check_choices(self) -> None:
        if self.patch_size not in (1, 2, 4):
            raise ValueError(f"patch_size must be 4, 2 or 1, got {self.patch_size}")
        for name, known in {"global_pool": GLOBAL_POOLS, "stem": STEMS}.items():
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} must be one of {', '.join(map(repr, known))}, got "
                    f"{getattr(self, name)!r}"
                )
        if not self.position_std >= 0:
            raise ValueError(f"position_std must be 0 or more, got {self.position_std}")
        if self.num_classes < 0:
            raise ValueError(f"num_classes must be 0 or more, got {self.num_classes}")
        for name in ("drop_rate", "drop_path_rate"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(
                    f"{name} must be at least 0 and below 1, got {getattr(self, name)}"
                )
        if min(_height_width(self.img_size)) < 1:
            raise ValueError(f"img_size must be 1 or more pixels a side, got {self.img_size}")

    def _check_widths(self) -> None:
        for stage, (width, heads) in enumerate(
            zip(self.widths, self.num_heads, strict=True), start=1
        ):
            if width % heads:
                raise ValueError(
                    f"num_heads of stage {stage} must divide its width {width}, got {heads}"
                )
        if self.embed_dim % GROUPS:
            raise ValueError(
                f"embed_dim must be a multiple of {GROUPS} (groups of the global context), got "
                f"{self.embed_dim}"
            )
        if self.embed_dim % self.expansion:
            raise ValueError(
                f"expansion must divide embed_dim {self.embed_dim}, got {self.expansion}"
            )

    def _check_contexts(self) -> None:
        given = list(self.contexts)
        if not given or len(set(given)) < len(given) or not set(given) <= set(CONTEXTS):
            raise ValueError(
                f"contexts must be one or more of {', '.join(CONTEXTS)}, each once, got "
                f"{self.contexts!r}"
            )
        object.__setattr__(self, "contexts", tuple(name for name in CONTEXTS if name in given))
        if self.fusion not in FUSIONS:
            raise ValueError(f"fusion must be one of {', '.join(FUSIONS)}, got {self.fusion!r}")
        if len(given) == 1 and self.fusion != "nomination":
            raise ValueError(
                f"fusion must be left out where there is one context ({given[0]}), got "
                f"{self.fusion!r}"
            )

    def _check_block_contexts(self) -> None:
        if self.block_contexts is None:
            return
        given = [tuple(names) for names in self.block_contexts]
        if len(given) != sum(self.depths[:2]) or not all(
            names and set(names) <= set(self.contexts) and len(set(names)) == len(names)
            for names in given
        ):
            raise ValueError(
                f"block_contexts must be, for each of the {sum(self.depths[:2])} blocks of stages "
                f"1 and 2, one or more of {', '.join(self.contexts)}, each once, got "
                f"{self.block_contexts!r}"
            )
        ordered = tuple(tuple(name for name in CONTEXTS if name in names) for names in given)
        same = all(names == self.contexts for names in ordered)
        object.__setattr__(self, "block_contexts", None if same else ordered)

    def _check_compression(self) -> None:
        if self.compression not in COMPRESSIONS:
            raise ValueError(
                f"compression must be one of {', '.join(COMPRESSIONS)}, got {self.compression!r}"
            )
        if self.kept_coefficients is not None:
            kept = tuple(self.kept_coefficients)
            if len(kept) != 2 or not all(
                1 <= r <= k for r, k in zip(kept, self.block_sizes, strict=True)
            ):
                raise ValueError(
                    "kept_coefficients must be 2 numbers from 1 to the block_sizes "
                    f"{self.block_sizes}, got {kept}"
                )
            object.__setattr__(
                self, "kept_coefficients", None if kept == self._published_kept else kept
            )
        for name, default in {"compression": "dct", "kept_coefficients": None}.items():
            if "global" not in self.contexts and getattr(self, name) != default:
                raise ValueError(
                    f"{name} must be left out without the global context, got "
                    f"{getattr(self, name)!r}"
                )

    @property
    def _published_kept(self) -> tuple[int, ...]:
        return tuple(-(-size // 2) for size in self.block_sizes)

    @property
    def kept(self) -> tuple[int, ...]:
        """Coefficients r per side in stages 1 and 2: `kept_coefficients`, or ceil(k / 2)."""
        return (
            self._published_kept
            if self.kept_coefficients is None
            else tuple(self.kept_coefficients)
        )

    @property
    def nominates(self) -> bool:
        """True where contexts are chosen or weighed token by token: several, and not summed."""
        several = any(len(names) > 1 for names in self.block_contexts or (self.contexts,))
        return several and self.fusion != "sum"

    def contexts_of(self, stage: int, block: int) -> tuple[str, ...]:
        """Return the contexts of a block of stage 0 or 1, counted in its stage from 0."""
        if self.block_contexts is None:
            return tuple(self.contexts)
        return tuple(self.block_contexts[block + (self.depths[0] if stage else 0)])

    @property
    def ablates(self) -> bool:
        """True where the blocks of stages 1 and 2 are not the published ones."""
        published = (CONTEXTS, "nomination", "dct", None, None)
        return published != (
            self.contexts,
            self.fusion,
            self.compression,
            self.kept_coefficients,
            self.block_contexts,
        )

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the four stages: D, 2D, 4D, 8D."""
        return tuple(self.embed_dim * 2**stage for stage in range(NUM_STAGES))

    @property
    def reductions(self) -> tuple[int, ...]:
        """Strides of the four stages in pixels: 4, 8, 16, 32 with `patch_size` 4."""
        return tuple(self.patch_size * 2**stage for stage in range(NUM_STAGES))

    @property
    def image_sides(self) -> tuple[int, int]:
        """Height and width of `img_size`."""
        return _height_width(self.img_size)

    @property
    def position_grid(self) -> tuple[int, int]:
        """Rows and columns of the position embedding: the stage-3 grid of `img_size`."""
        return self.grid_size(*self.image_sides, stage=2)

    def grid_size(self, height: int, width: int, stage: int) -> tuple[int, int]:
        """Return rows and columns of the tokens of `stage` (0 to 3) for an image in pixels."""
        reduction = self.reductions[stage]
        return (height + reduction - 1) // reduction, (width + reduction - 1) // reduction
