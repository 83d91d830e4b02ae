"""Between the layout of the published checkpoints and ours: plain functions on state dicts.

The published layout is described in `parity/nommer_tiny_keys.json` of the project's reference
material: `cnn1`, `bn1`, `transformer{1..4}.layers.{n}`, `merge{1..3}`, `mlp_head`. Entries that
hold constants (DCT kernels, relative position index) carry no learned value: they are checked for
shape and dropped, and made again on the way back.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from torch import Tensor

from nommer.backbone.compression import dct_basis
from nommer.backbone.config import GROUPS, NomMerConfig
from nommer.backbone.contexts.window import relative_position_index
from nommer.backbone.variants import VARIANTS

StateDict = dict[str, Tensor]

# (published, ours), outside and inside the blocks; published stages count from 1, ours from 0.
_TOP = (
    ("pos_embedding", "stages.2.pos_embed"),
    ("cls_token", "stages.3.cls_token"),
    ("cnn1", "stem.conv"),
    ("bn1", "stem.norm"),
    ("merge1", "stages.1.downsample"),
    ("merge2", "stages.2.downsample"),
    ("merge3", "stages.3.downsample"),
    ("mlp_head.0", "norm"),
    ("mlp_head.1", "head"),
)
_BLOCK = (
    ("0.norm", "norm1"),
    ("0.fn.cnn.conv1", "mixer.convolution.conv1"),
    ("0.fn.cnn.bn1", "mixer.convolution.norm1"),
    ("0.fn.cnn.conv2", "mixer.convolution.conv2"),
    ("0.fn.cnn.bn2", "mixer.convolution.norm2"),
    ("0.fn.cnn.conv3", "mixer.convolution.conv3"),
    ("0.fn.cnn.bn3", "mixer.convolution.norm3"),
    ("0.fn.attention.relative_position_bias_table", "mixer.window.relative_position_bias_table"),
    ("0.fn.attention.qkv", "mixer.window.attention.qkv"),
    ("0.fn.attention.proj", "mixer.window.attention.proj"),
    ("0.fn.attentionG.dw", "mixer.spectral.compress"),
    ("0.fn.attentionG.bn1", "mixer.spectral.norm"),
    ("0.fn.attentionG.attn.to_qkv", "mixer.spectral.attention.qkv"),
    ("0.fn.attentionG.attn.to_out.0", "mixer.spectral.attention.proj"),
    ("0.fn.attentionG.up", "mixer.spectral.expand"),
    ("0.fn.fc", "mixer.nominator.score"),
    ("0.fn.to_qkv", "mixer.qkv"),
    ("0.fn.to_out.0", "mixer.proj"),
    ("1.norm", "norm2"),
    ("1.fn.net.0", "mlp.fc1"),
    ("1.fn.net.3", "mlp.fc2"),
)
_PUBLISHED_BLOCK = re.compile(r"transformer([1-4])\.layers\.(\d+)\.(.+)")
_OUR_BLOCK = re.compile(r"stages\.([0-3])\.blocks\.(\d+)\.(.+)")
_TABLE = ".attention.relative_position_bias_table"
_CONSTANT = re.compile(
    r"\.(attentionG\.dct_conv_8x8\.weight|attentionG\.idct_conv\.0\.weight|attention\.relative_position_index)$"
)


def is_published(state_dict: Mapping[str, Tensor]) -> bool:
    """Tell whether `state_dict` has the published layout."""
    return "cnn1.weight" in state_dict and "transformer1.layers.0.0.norm.weight" in state_dict


def is_ours(state_dict: Mapping[str, Tensor]) -> bool:
    """Tell whether `state_dict` is that of a NomMer."""
    return "stem.conv.weight" in state_dict and "stages.0.blocks.0.norm1.weight" in state_dict


def from_published(state_dict: Mapping[str, Tensor]) -> StateDict:
    """Rename a published state dict to our layout; the tensors are the same objects.

    Raises:
        ValueError: a key that the published layout does not have, or a constant of a wrong shape.
    """
    constants = _constant_shapes(state_dict)
    converted = {}
    for key, value in state_dict.items():
        if _CONSTANT.search(key):
            if constants.get(key) != tuple(value.shape):
                raise ValueError(
                    f"published constant {key} has shape {tuple(value.shape)}, which its block "
                    "does not have"
                )
            continue
        converted[_to_ours(key)] = value
    return converted


def to_published(state_dict: Mapping[str, Tensor]) -> StateDict:
    """Rename a state dict of ours to the published layout, constants made again.

    The network must be as published: that layout has no place for ablations, and a state dict does
    not tell them all.

    Raises:
        ValueError: a key that NomMer does not have, or a block without one of the three contexts.
    """
    _check_contexts(state_dict)
    converted = with_published_names(state_dict)
    converted.update(_constants(converted))
    return converted


def with_published_names(state_dict: Mapping[str, Tensor]) -> StateDict:
    """State dict in our layout -> in the published one, without its constants.

    Raises:
        ValueError: a key that NomMer does not have.
    """
    return {_to_published(key): value for key, value in state_dict.items()}


def _check_contexts(state_dict: Mapping[str, Tensor]) -> None:
    held: dict[str, set[str]] = {}
    for key in state_dict:
        block, mixer, part = key.partition(".mixer.")
        if mixer and key.startswith(("stages.0.", "stages.1.")):
            held.setdefault(block, set()).add(part.partition(".")[0])
    for block, parts in held.items():
        missing = {"convolution", "window", "spectral", "nominator"} - parts
        if missing:
            raise ValueError(
                f"{block} has no {sorted(missing)[0]}, which the published layout needs"
            )


def published_config(state_dict: Mapping[str, Tensor]) -> NomMerConfig:
    """Find the variant that a published state dict belongs to.

    Raises:
        ValueError: no published variant has these widths and depths; the message shows them.
    """
    width, in_chans, patch_size, _ = state_dict["cnn1.weight"].shape
    depths = tuple(1 + max(blocks, default=-1) for blocks in _blocks_by_stage(state_dict))
    expansion = width // len(state_dict["transformer1.layers.0.0.fn.cnn.conv1.weight"])
    for config in VARIANTS.values():
        if (config.embed_dim, config.depths, config.expansion) == (width, depths, expansion):
            grid = state_dict["pos_embedding"].shape[1:3]
            size = (grid[0] * 4 * patch_size, grid[1] * 4 * patch_size)
            classes = len(state_dict["mlp_head.1.bias"]) if "mlp_head.1.bias" in state_dict else 0
            return replace(
                config, in_chans=in_chans, patch_size=patch_size, num_classes=classes, img_size=size
            )
    known = ", ".join(
        f"{name} ({c.embed_dim}, {c.depths}, {c.expansion})" for name, c in VARIANTS.items()
    )
    raise ValueError(
        f"no variant has width {width}, depths {depths}, expansion {expansion}; known: {known}"
    )


def _blocks_by_stage(state_dict: Mapping[str, Tensor]) -> list[set[int]]:
    matches = [match for key in state_dict if (match := _PUBLISHED_BLOCK.match(key))]
    return [{int(m[2]) for m in matches if int(m[1]) == stage} for stage in (1, 2, 3, 4)]


def _rename(name: str, pairs: Iterable[tuple[str, str]]) -> str | None:
    for old, new in pairs:
        if name == old or name.startswith(f"{old}."):
            return new + name[len(old) :]
    return None


def _to_ours(key: str) -> str:
    block = _PUBLISHED_BLOCK.fullmatch(key)
    name = _rename(block[3], _BLOCK) if block else _rename(key, _TOP)
    if name is None:
        raise ValueError(f"{key} is not a key of the published NomMer layout")
    return f"stages.{int(block[1]) - 1}.blocks.{block[2]}.{name}" if block else name


def _to_published(key: str) -> str:
    block = _OUR_BLOCK.fullmatch(key)
    name = _rename(block[3], ((ours, published) for published, ours in _BLOCK)) if block else None
    name = name if block else _rename(key, ((ours, published) for published, ours in _TOP))
    if name is None:
        raise ValueError(f"{key} is not a key of a NomMer state dict")
    return f"transformer{int(block[1]) + 1}.layers.{block[2]}.{name}" if block else name


def _spectral_blocks(published: Mapping[str, Tensor]) -> Iterator[tuple[str, int, int, int]]:
    """Yield the name, window side, width and kept coefficients of every nominator block."""
    for key, table in published.items():
        if key.endswith(_TABLE):
            block = key.removesuffix(_TABLE)
            width, per_group = published[f"{block}.attentionG.dw.weight"].shape[:2]
            kept = math.isqrt(per_group * GROUPS // width)
            yield block, (math.isqrt(len(table)) + 1) // 2, width, kept


def _constant_shapes(published: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the constant entries, which a stranger's file may not have us make."""
    shapes: dict[str, tuple[int, ...]] = {}
    for block, side, width, kept in _spectral_blocks(published):
        size = 2 * kept  # every published block size is even
        shapes[f"{block}.attention.relative_position_index"] = (side**2, side**2)
        shapes[f"{block}.attentionG.dct_conv_8x8.weight"] = (width * kept**2, 1, size, size)
        shapes[f"{block}.attentionG.idct_conv.0.weight"] = (width * size**2, kept**2, 1, 1)
    return shapes


def _constants(published: Mapping[str, Tensor]) -> StateDict:
    """The constant entries of the nominator blocks of a state dict in the published layout."""
    constants: StateDict = {}
    for block, side, width, kept in _spectral_blocks(published):
        size = 2 * kept
        basis = dct_basis(size, kept).float()
        kernels = basis.view(kept**2, 1, size, size).repeat(width, 1, 1, 1)
        back = basis.T.reshape(size**2, kept**2, 1, 1).repeat(width, 1, 1, 1)
        constants[f"{block}.attention.relative_position_index"] = relative_position_index(side)
        constants[f"{block}.attentionG.dct_conv_8x8.weight"] = kernels
        constants[f"{block}.attentionG.idct_conv.0.weight"] = back
    return constants
