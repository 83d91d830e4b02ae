"""Initialisation of the weights, as published."""

from torch import nn

from nommer.backbone.compression import BlockTransform
from nommer.backbone.contexts import WindowContext
from nommer.backbone.nominator import Nomination
from nommer.backbone.stage import ClassTokenStage, PositionStage


def init_linear(module: nn.Module) -> None:
    """Draw the weight of a linear layer from a truncated normal of deviation 0.02, bias 0."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def init_module(module: nn.Module) -> None:
    """Draw the parameters, and fill the constant buffers, that `module` holds itself."""
    if isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.LayerNorm):
        module.reset_parameters()
    elif isinstance(module, WindowContext):
        nn.init.trunc_normal_(module.relative_position_bias_table, std=0.02)
    elif isinstance(module, PositionStage):
        nn.init.normal_(module.pos_embed, std=module.position_std)
    elif isinstance(module, ClassTokenStage):
        nn.init.normal_(module.cls_token)
    init_linear(module)
    if isinstance(module, WindowContext | BlockTransform | Nomination):
        module.init_non_persistent_buffers()
