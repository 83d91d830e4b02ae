"""Heads on the four feature maps of any backbone of timm's contract, which they keep."""

import re
from typing import Any

from torch import nn

from nommer.errors import InputError

NUM_MAPS = 4


class OnBackbone(nn.Module):
    """A head on a backbone of timm's contract, which it keeps: layers, decay, checkpointing."""

    backbone: Any

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """The backbone's patterns of parameter names by layer; the heads are the last layer."""
        return {
            name: below("backbone", spec)
            for name, spec in self.backbone.group_matcher(coarse).items()
        }

    def no_weight_decay(self) -> set[str]:
        """The backbone's names of parameters without weight decay."""
        names: set[str] = getattr(self.backbone, "no_weight_decay", set)()
        return {f"backbone.{name}" for name in names}

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade time for memory in training.

        Recompute the backbone's activations in the backward pass.
        """
        self.backbone.set_grad_checkpointing(enable)


def pyramid_of(backbone: Any) -> tuple[list[int], list[int]]:
    """Return channels and strides of the four feature maps, finest first.

    The backbone is cut down to what they need.

    Raises:
        InputError: not four maps, each half as fine as the one before it, or images of one size
            only.
    """
    name = type(backbone).__name__
    fixed = (getattr(backbone, "pretrained_cfg", None) or {}).get("fixed_input_size", False)
    if fixed and not getattr(backbone, "dynamic_img_size", False):
        raise InputError(
            f"{name} takes images of one size only; choose a network such as nommer_tiny or "
            "resnet50"
        )
    info: list[dict[str, Any]] = list(getattr(backbone, "feature_info", []))[-NUM_MAPS:]
    strides = [entry["reduction"] for entry in info]
    halved = len(strides) == NUM_MAPS and strides == [
        strides[0] * 2**stage for stage in range(NUM_MAPS)
    ]
    if not halved or not hasattr(backbone, "forward_intermediates"):
        found = f"strides {', '.join(map(str, strides))}" if strides else "none"
        raise InputError(
            f"{name} gives no four feature maps that halve their sides one after the other (found "
            f"{found}); choose a "
            "hierarchical network such as nommer_tiny, resnet50 or convnext_atto"
        )
    backbone.prune_intermediate_layers(NUM_MAPS, prune_norm=True, prune_head=True)
    return [entry["num_chs"] for entry in info], strides


def below(prefix: str, spec: Any) -> Any:
    """A matcher's pattern, or its list of (pattern, order), for names that stand below `prefix`."""
    if isinstance(spec, str):
        anywhere = re.sub(r"(^|[|(])\^", r"\1", spec)
        return rf"^{prefix}\.(?:{anywhere})"
    return [(below(prefix, pattern), order) for pattern, order in spec]
