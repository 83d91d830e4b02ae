"""The NomMer network, whole (paper section 3.1), and the contract that timm asks of a backbone.

Images (B, C, H, W) -> stem -> stages 1-2 nominate contexts -> stages 3-4 attend globally -> head.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
from einops import rearrange
from timm.models._features import feature_take_indices
from torch import Tensor, nn

from nommer.backbone.building import build_stages, build_stem
from nommer.backbone.config import NUM_STAGES, NomMerConfig
from nommer.backbone.initialisation import init_linear, init_module
from nommer.backbone.layout import as_maps
from nommer.backbone.resampling import resample_position
from nommer.backbone.stage import BlockSequence, PositionStage
from nommer.shapes import Images, Logits, TokenGrid, TokenLogits, Tokens, TokensOrGrid


class NomMer(nn.Module):
    """Vision transformer that nominates, per token, one of three contexts.

    Images of any size from 32 x 32 pixels up go in; class scores come out, or from
    `forward_intermediates` the feature maps of the four stages.
    """

    num_prefix_tokens = 1
    output_fmt = "NCHW"

    def __init__(self, config: NomMerConfig) -> None:
        super().__init__()
        self.config = config
        self.num_classes = config.num_classes
        self.num_features = self.head_hidden_size = config.widths[-1]
        self.global_pool = config.global_pool
        self.stem = build_stem(config)
        self.stages = nn.ModuleList(build_stages(config))
        self.norm: nn.Module = nn.LayerNorm(self.num_features)
        self.head_drop = nn.Dropout(config.drop_rate)
        self.head = self._classifier(config.num_classes)
        self.feature_info = [
            {"num_chs": width, "reduction": reduction, "module": f"stages.{stage}"}
            for stage, (width, reduction) in enumerate(
                zip(config.widths, config.reductions, strict=True)
            )
        ]
        self.init_weights()

    # ---- forward

    def forward(self, images: Images) -> Logits | TokenLogits:
        """Class scores (B, num_classes) of images (B, channels, H, W), normalised."""
        return self.forward_head(self.forward_features(images))

    def forward_features(self, images: Images) -> TokensOrGrid:
        """Normalised tokens of stage 4, (B, 1 + rows * columns, 8D), the class token first."""
        *_, tokens = self.stage_outputs(images)
        return self.norm(tokens)

    def forward_head(self, tokens: Tokens, pre_logits: bool = False) -> Logits | TokenLogits:
        """Class scores of `forward_features`' output; with `pre_logits`, the vector before them."""
        pooled = self.head_drop(self.pool(tokens))
        return pooled if pre_logits else self.head(pooled)

    def stage_outputs(self, images: Images) -> Iterator[TokensOrGrid]:
        """Yield the stages' outputs: grids (B, rows, columns, width), of stage 4 a sequence."""
        if images.shape[-2] < 1 or images.shape[-1] < 1:
            raise ValueError(
                f"images must have at least one pixel a side, got {tuple(images.shape)}"
            )
        x = self.stem(images)
        for stage in self.stages:
            x = stage(x)
            yield x

    def pool(self, tokens: Tokens) -> Tensor:
        """Give the classifier its input: what `global_pool` says of the tokens."""
        if self.global_pool == "token":
            return tokens[:, 0]
        if self.global_pool == "avg":
            return tokens[:, self.num_prefix_tokens :].mean(dim=1)
        return tokens

    def forward_intermediates(
        self,
        images: Images,
        indices: int | list[int] | tuple[int, ...] | None = None,
        *,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
        return_prefix_tokens: bool = False,
    ) -> list[Any] | tuple[Tensor, list[Any]]:
        """Return `forward_features`' output, unless `intermediates_only`, and chosen stages' maps.

        Args:
            images: (B, channels, H, W), normalised.
            indices: stages to return: an int for the last n, a list for these (0 to 3, or -1 to
                -4), None for all.
            norm: apply the final layer norm to stage 4's output (the other stages have another
                width).
            stop_early: do not run the stages after the last one asked for.
            output_fmt: "NCHW" (B, width, rows, columns) or "NHWC" (B, rows, columns, width).
            intermediates_only: return the list alone.
            return_prefix_tokens: make each entry a pair (map, class token (B, 1, 8D)); (B, 0,
                width) in stages 1-3.

        Raises:
            ValueError: another `output_fmt`, or `stop_early` before stage 4 without
                `intermediates_only`.
        """
        if output_fmt not in ("NCHW", "NHWC"):
            raise ValueError(f"output_fmt must be 'NCHW' or 'NHWC', got {output_fmt!r}")
        taken, last = self.take_indices(indices)
        count = last + 1 if stop_early else len(self.stages)
        if count < len(self.stages) and not intermediates_only:
            raise ValueError(
                "stop_early before the last stage leaves no final features: ask for "
                "intermediates_only=True"
            )
        outputs = list(islice(self.stage_outputs(images), count))
        final = self.norm(outputs[-1]) if count == NUM_STAGES else outputs[-1]
        intermediates = []
        for index in taken:
            output = final if norm and index == NUM_STAGES - 1 else outputs[index]
            grid, prefix = self.split_prefix(output, images)
            feature = (
                as_maps(grid).contiguous(memory_format=torch.channels_last)
                if output_fmt == "NCHW"
                else grid
            )
            intermediates.append((feature, prefix) if return_prefix_tokens else feature)
        return intermediates if intermediates_only else (final, intermediates)

    def take_indices(
        self, indices: int | list[int] | tuple[int, ...] | None
    ) -> tuple[list[int], int]:
        """Return the stages that `indices` mean (an int: the last n; None: all), and their last."""
        indices = list(indices) if isinstance(indices, tuple) else indices
        return feature_take_indices(len(self.stages), indices)

    def split_prefix(self, output: TokensOrGrid, images: Images) -> tuple[TokenGrid, Tokens]:
        """Split a stage's output into grid and prefix: the class token, (B, 0, width) in 1-3."""
        if output.ndim == 4:
            return output, output.new_empty(output.shape[0], 0, output.shape[-1])
        rows, columns = self.config.grid_size(images.shape[-2], images.shape[-1], NUM_STAGES - 1)
        prefix, tokens = output[:, : self.num_prefix_tokens], output[:, self.num_prefix_tokens :]
        return rearrange(tokens, "b (h w) c -> b h w c", h=rows, w=columns), prefix

    # ---- timm's contract

    def prune_intermediate_layers(
        self,
        indices: int | list[int] | tuple[int, ...] = 1,
        prune_norm: bool = False,
        prune_head: bool = True,
    ) -> list[int]:
        """Remove the stages after the last of `indices`, and the norm and head if asked.

        Returns:
            The stages asked for, as `forward_intermediates` takes them.
        """
        taken, last = self.take_indices(indices)
        self.stages = self.stages[: last + 1]
        if prune_norm or last + 1 < NUM_STAGES:
            self.norm = nn.Identity()
        if prune_head:
            self.reset_classifier(0, self.global_pool)
        return taken

    def get_classifier(self) -> nn.Module:
        """The linear classifier, or an identity when `num_classes` is 0."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier by a new one for `num_classes` (0 for none); set the pooling."""
        pool = self.global_pool if global_pool is None else global_pool
        self.config = replace(self.config, num_classes=num_classes, global_pool=pool)
        self.num_classes, self.global_pool = num_classes, pool
        reference = next(self.parameters())
        self.head = self._classifier(num_classes).to(device=reference.device, dtype=reference.dtype)
        self.head.apply(init_linear)

    def _classifier(self, num_classes: int) -> nn.Module:
        return nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade time for memory: recompute each block's activations in the backward pass."""
        for module in self.modules():
            if isinstance(module, BlockSequence):
                module.grad_checkpointing = enable

    def set_input_size(self, img_size: int | Sequence[int]) -> None:
        """Resample the position embedding to `img_size` (pixels), to go on training there."""
        self.config = replace(self.config, img_size=img_size)
        for stage in self.stages:
            if isinstance(stage, PositionStage):
                position = resample_position(stage.pos_embed.detach(), self.config.position_grid)
                stage.pos_embed = nn.Parameter(
                    position.clone(), requires_grad=stage.pos_embed.requires_grad
                )

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Parameter name patterns of the layers in order, for layer-wise learning-rate decay."""
        blocks = [
            (r"^stages\.(\d+)\.(?:downsample|pos_embed|cls_token)", (0,)),
            (r"^stages\.(\d+)\.blocks\.(\d+)", None),
        ]
        return {
            "stem": r"^stem",
            "blocks": r"^stages\.(\d+)" if coarse else [*blocks, (r"^norm", (99999,))],
        }

    def no_weight_decay(self) -> set[str]:
        """Names of the parameters that are embeddings or bias tables: no weight decay on them."""
        leaves = ("pos_embed", "cls_token", "relative_position_bias_table")
        return {name for name, _ in self.named_parameters() if name.endswith(leaves)}

    def init_weights(self) -> None:
        """Draw every weight anew and fill the constant buffers, also after `to_empty`."""
        for module in self.modules():
            init_module(module)
