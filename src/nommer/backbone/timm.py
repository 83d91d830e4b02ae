"""NomMer in timm's registry: `timm.create_model("nommer_tiny")` works after `import nommer`."""

from dataclasses import replace
from typing import Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import nn

from nommer.backbone.network import NomMer
from nommer.backbone.variants import VARIANTS


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


def create_nommer(variant: str, pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Build a NomMer the way timm builds its models.

    Args:
        variant: a name of `VARIANTS`.
        pretrained: load weights; none are published with this package yet, so timm refuses.
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
        build, variant, pretrained, feature_cfg={"out_indices": (0, 1, 2, 3), "feature_cls": "getter"}, **kwargs
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
