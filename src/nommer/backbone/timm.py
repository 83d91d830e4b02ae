"""NomMer in timm's registry: `timm.create_model("nommer_tiny")` works after `import nommer`."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import PretrainedCfg, build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from nommer.backbone.checkpoint import from_published, is_published
from nommer.backbone.config import NomMerConfig
from nommer.backbone.network import NomMer
from nommer.backbone.resampling import resample_position
from nommer.backbone.variants import VARIANTS
from nommer.zoo import CARD, WEIGHTS, Entry, classifiers, find_entry

POSITION = "stages.2.pos_embed"


_FIRST_CONVS = {"patch": "stem.conv", "overlapping": "stem.steps.0"}


def _default_cfg(config: NomMerConfig) -> dict[str, Any]:
    return {
        "url": "",
        "num_classes": 1000,
        "input_size": (config.in_chans, *config.image_sides),
        "min_input_size": (3, 32, 32),
        "pool_size": None,
        "fixed_input_size": False,
        "crop_pct": 0.875,
        "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "first_conv": _FIRST_CONVS[config.stem],
        "classifier": "head",
        "license": "apache-2.0",
        "paper_ids": "arXiv:2111.12994",
        "paper_name": "NomMer: Nominate Synergistic Context in Vision Transformer for Visual "
        "Recognition",
    }


def _zoo_cfg(entry: Entry) -> dict[str, Any]:
    """Describe the weights of an entry of the zoo as timm asks for it."""
    description, folder = entry.description(), entry.verified()
    architecture, preprocessing = description["architecture"], description["preprocessing"]
    size = preprocessing["image_size"]
    return _default_cfg(NomMerConfig(**architecture)) | {
        "file": str(folder / WEIGHTS),
        "architecture": entry.variant,
        "tag": entry.tag,
        "num_classes": len(description["class_names"]),
        "input_size": (architecture["in_chans"], size, size),
        **{name: preprocessing[name] for name in ("crop_pct", "interpolation")},
        **{name: tuple(preprocessing[name]) for name in ("mean", "std")},
        "label_names": tuple(description["class_names"]),
        "license": entry.terms,
        "notes": (f"card: {folder / CARD}",),
    }


_CFGS: dict[str, dict[str, Any] | PretrainedCfg] = {
    f"{name}.untrained*": _default_cfg(config) for name, config in VARIANTS.items()
}
_CFGS |= {
    entry.name: _default_cfg(VARIANTS[entry.variant]) | {"file": str(entry.folder / WEIGHTS)}
    for entry in classifiers()
    if entry.folder
}

default_cfgs = generate_default_cfgs(_CFGS)
"""By default nothing is loaded; weights of the zoo come with all that `_zoo_cfg` says of them."""

_OF_TRAINING = {"num_classes", "drop_rate", "drop_path_rate"}
"""Fields of an entry's architecture that `pretrained=True` leaves to the caller."""


def checkpoint_filter_fn(state_dict: Mapping[str, Tensor], model: NomMer) -> dict[str, Tensor]:
    """Bring a checkpoint to our layout, its position embedding resampled to the model's grid."""
    state = from_published(state_dict) if is_published(state_dict) else dict(state_dict)
    if POSITION in state:
        state[POSITION] = resample_position(state[POSITION], model.config.position_grid)
    return state


def create_nommer(variant: str, pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Build a NomMer the way timm builds its models.

    Args:
        variant: a name of `VARIANTS`.
        pretrained: load the weights of the zoo's entry for this variant, or the one with the given
            tag (`timm.create_model("nommer_nano.tiny_imagenet_200", pretrained=True)`), into the
            architecture that it was trained with; or those that `pretrained_cfg_overlay={"file":
            ...}` names.
        **kwargs: fields of `NomMerConfig` to change, and timm's own options (`features_only`,
            `out_indices`, ...).

    Returns:
        A `NomMer`, or with `features_only` timm's wrapper that returns the list of its feature
        maps.

    Raises:
        InputError: the zoo's entry is absent or damaged.
        RuntimeError: there are no weights for this variant.
        TypeError: an option that neither timm nor `NomMerConfig` knows.
        ValueError: a value out of range.
    """
    if pretrained and not kwargs.get("pretrained_cfg_overlay"):
        kwargs = _of_zoo_entry(variant, kwargs)

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


def _of_zoo_entry(variant: str, options: dict[str, Any]) -> dict[str, Any]:
    """Complete the options of a model by what the zoo's entry says, if there is one."""
    tag = options.get("pretrained_cfg")
    if tag is not None and not isinstance(tag, str):
        return options
    entry = find_entry(f"{variant}.{tag}" if tag else variant)
    if entry is None or not entry.classifies:
        return options
    architecture = entry.description()["architecture"]
    trained = {name: value for name, value in architecture.items() if name not in _OF_TRAINING}
    return trained | options | {"pretrained_cfg": _zoo_cfg(entry)}


@register_model
def nommer_tiny(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """NomMer-T: 22.5 M parameters, 5.4 GMACs (paper) at 224 x 224."""
    return create_nommer("nommer_tiny", pretrained, **kwargs)


@register_model
def nommer_small(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """NomMer-S: 41.5 M parameters, 10.1 GMACs (paper) at 224 x 224."""
    return create_nommer("nommer_small", pretrained, **kwargs)


@register_model
def nommer_base(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """NomMer-B: 73.4 M parameters, 17.6 GMACs (paper) at 224 x 224."""
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


@register_model
def nommer_pico64(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Ours for images of 64 x 64 pixels: 0.029 GMACs there."""
    return create_nommer("nommer_pico64", pretrained, **kwargs)


@register_model
def nommer_nano64(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Ours for images of 64 x 64 pixels: 0.054 GMACs there."""
    return create_nommer("nommer_nano64", pretrained, **kwargs)


@register_model
def nommer_mini64(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Ours for images of 64 x 64 pixels, with full convolutions: 0.063 GMACs there."""
    return create_nommer("nommer_mini64", pretrained, **kwargs)
