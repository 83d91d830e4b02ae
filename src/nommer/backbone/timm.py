"""NomMer in timm's registry: `timm.create_model("nommer_tiny")` works after `import nommer`."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from nommer.backbone.checkpoint import from_published, is_published
from nommer.backbone.network import NomMer
from nommer.backbone.stage import resample_position
from nommer.backbone.variants import VARIANTS

POSITION = "stages.2.pos_embed"


def _default_cfg() -> dict[str, Any]:
    return {
        "url": "",
        "num_classes": 1000,
        "input_size": (3, 224, 224),
        "min_input_size": (3, 32, 32),
        "pool_size": None,
        "fixed_input_size": False,
        "crop_pct": 0.875,
        "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "first_conv": "stem.conv",
        "classifier": "head",
        "license": "apache-2.0",
        "paper_ids": "arXiv:2111.12994",
        "paper_name": "NomMer: Nominate Synergistic Context in Vision Transformer for Visual Recognition",
    }


default_cfgs = generate_default_cfgs({f"{name}.untrained": _default_cfg() for name in VARIANTS})


def checkpoint_filter_fn(state_dict: Mapping[str, Tensor], model: NomMer) -> dict[str, Tensor]:
    """A checkpoint as `model` takes it: from the published layout to ours, position embedding resampled to its grid."""
    state = from_published(state_dict) if is_published(state_dict) else dict(state_dict)
    if POSITION in state:
        state[POSITION] = resample_position(state[POSITION], model.config.position_grid)
    return state


def create_nommer(variant: str, pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Build a NomMer the way timm builds its models.

    Args:
        variant: a name of `VARIANTS`.
        pretrained: load the weights that `pretrained_cfg_overlay={"file": ...}` names; without it timm refuses, for
            none are published with this package yet.
        **kwargs: fields of `NomMerConfig` to change, and timm's own options (`features_only`, `out_indices`, ...).

    Returns:
        A `NomMer`, or with `features_only` timm's wrapper that returns the list of its feature maps.

    Raises:
        TypeError: an option that neither timm nor `NomMerConfig` knows.
        ValueError: a value out of range.
    """

    def build(**changes: Any) -> NomMer:
        return NomMer(replace(VARIANTS[variant], **changes))

    return build_model_with_cfg(
        build,
        variant,
        pretrained,
        pretrained_filter_fn=checkpoint_filter_fn,
        feature_cfg={"out_indices": (0, 1, 2, 3), "feature_cls": "getter"},
        **kwargs,
    )


@register_model
def nommer_tiny(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """NomMer-T: 22.5 M parameters, 5.4 GMACs at 224 x 224."""
    return create_nommer("nommer_tiny", pretrained, **kwargs)


@register_model
def nommer_small(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """NomMer-S: 41.5 M parameters, 10.1 GMACs at 224 x 224."""
    return create_nommer("nommer_small", pretrained, **kwargs)


@register_model
def nommer_base(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """NomMer-B: 73.4 M parameters, 17.6 GMACs at 224 x 224."""
    return create_nommer("nommer_base", pretrained, **kwargs)


@register_model
def nommer_micro(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Ours, for tests: 0.4 M parameters with 1000 classes, 0.3 M without a classifier."""
    return create_nommer("nommer_micro", pretrained, **kwargs)


@register_model
def nommer_pico(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Ours, for small images and machines."""
    return create_nommer("nommer_pico", pretrained, **kwargs)


@register_model
def nommer_nano(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Ours, for small data and machines."""
    return create_nommer("nommer_nano", pretrained, **kwargs)
