"""From a description of the architecture to its stem, its stages and their blocks."""

from collections.abc import Iterator
from typing import cast

from timm.layers import calculate_drop_path_rates
from torch import nn

from nommer.backbone.ablations import OverlappingStem, build_ablation
from nommer.backbone.attention import GlobalAttention
from nommer.backbone.block import Block
from nommer.backbone.compression import BlockTransform
from nommer.backbone.config import NomMerConfig
from nommer.backbone.contexts import ConvolutionContext, SpectralContext, WindowContext
from nommer.backbone.nominator import NominatedContext
from nommer.backbone.stage import ClassTokenStage, PositionStage, Stage
from nommer.backbone.stem import Downsample, Stem


def build_stem(config: NomMerConfig) -> nn.Module:
    """Return what makes the first token grid of images."""
    kind = OverlappingStem if config.stem == "overlapping" else Stem
    return kind(config.in_chans, config.embed_dim, patch_size=config.patch_size)


def build_stages(config: NomMerConfig) -> Iterator[Stage]:
    """Yield the four stages of `config`, in order."""
    drop_paths = cast(
        "list[list[float]]",
        calculate_drop_path_rates(config.drop_path_rate, list(config.depths), stagewise=True),
    )
    for stage, (width, rates) in enumerate(zip(config.widths, drop_paths, strict=True)):
        downsample = Downsample(width // 2, width) if stage else nn.Identity()
        blocks = [build_block(config, stage, n, drop_path=rate) for n, rate in enumerate(rates)]
        if stage < 2:
            yield Stage(downsample, blocks)
        elif stage == 2:
            grid_size, position_std = config.position_grid, config.position_std
            yield PositionStage(
                downsample, blocks, grid_size=grid_size, width=width, position_std=position_std
            )
        else:
            yield ClassTokenStage(downsample, blocks, width=width)


def build_block(config: NomMerConfig, stage: int, block: int, *, drop_path: float) -> Block:
    """Return a block of `stage` (0 to 3), counted from 0 in it."""
    width, ratio = config.widths[stage], config.mlp_ratios[stage]
    return Block(width, build_mixer(config, stage, block), mlp_ratio=ratio, drop_path=drop_path)


def build_mixer(config: NomMerConfig, stage: int, block: int = 0) -> nn.Module:
    """Return the mixer of a block: nominated context in stages 1-2, global attention in 3-4."""
    width, heads = config.widths[stage], config.num_heads[stage]
    if stage >= 2:
        return GlobalAttention(width, heads=heads)
    if config.ablates:
        return build_ablation(config, stage, block)
    transform = BlockTransform(config.block_sizes[stage])
    return NominatedContext(
        width,
        convolution=ConvolutionContext(width, expansion=config.expansion),
        window=WindowContext(width, heads=heads, window_size=config.window_size),
        spectral=SpectralContext(width, heads=heads, transform=transform),
    )
