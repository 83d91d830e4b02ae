"""Four feature maps of a plain vision transformer, which has a single one.

Source: Li et al., "Exploring Plain Vision Transformer Backbones for Object Detection" (2022),
section 3, simple feature pyramid.
"""

from typing import Any

from timm.layers import LayerNorm2d
from torch import Tensor, nn

from nommer.models.pyramid import NUM_MAPS, below
from nommer.shapes import Images

FINEST = 4
"""The finest map has so many times the rows and columns of the transformer's."""


class SimplePyramid(nn.Module):
    """A plain vision transformer of timm as a hierarchical backbone.

    From its last map x (width D, stride p) come four: two deconvolutions of x (D/4, p/4), one (D/2,
    p/2), x itself, and its maximum over 2 x 2 cells (D, 2p).

    Args:
        plain: the transformer; it loses its final norm and classifier.
    """

    def __init__(self, plain: Any) -> None:
        super().__init__()
        width, stride = (plain.feature_info[-1][name] for name in ("num_chs", "reduction"))
        plain.prune_intermediate_layers(1, prune_norm=True, prune_head=True)
        self.plain = plain
        self.maps = nn.ModuleList(
            [
                nn.Sequential(
                    nn.ConvTranspose2d(width, width // 2, 2, stride=2),
                    LayerNorm2d(width // 2),
                    nn.GELU(),
                    nn.ConvTranspose2d(width // 2, width // 4, 2, stride=2),
                ),
                nn.ConvTranspose2d(width, width // 2, 2, stride=2),
                nn.Identity(),
                nn.MaxPool2d(2, ceil_mode=True),
            ]
        )
        widths = (width // 4, width // 2, width, width)
        self.feature_info = [
            {
                "num_chs": channels,
                "reduction": stride * 2**level // FINEST,
                "module": f"maps.{level}",
            }
            for level, channels in enumerate(widths)
        ]
        self.num_features, self.num_classes = width, 0
        self.pretrained_cfg, self.timm_options = plain.pretrained_cfg, plain.timm_options
        self.dynamic_img_size = getattr(plain, "dynamic_img_size", False)

    def forward_intermediates(self, images: Images, **_options: Any) -> list[Tensor]:
        """The four maps, finest first, (B, channels, rows, columns) each."""
        (last,) = self.plain.forward_intermediates(images, indices=1, intermediates_only=True)
        return [scale(last) for scale in self.maps]

    def prune_intermediate_layers(self, *_args: Any, **_options: Any) -> list[int]:
        """All maps come from the last one, so nothing can go."""
        return list(range(NUM_MAPS))

    def get_classifier(self) -> nn.Module:
        """There is none."""
        return nn.Identity()

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """The transformer's patterns of parameter names by layer; the maps are the last layer."""
        return {
            name: below("plain", spec) for name, spec in self.plain.group_matcher(coarse).items()
        }

    def no_weight_decay(self) -> set[str]:
        """The transformer's names of parameters without weight decay."""
        return {f"plain.{name}" for name in getattr(self.plain, "no_weight_decay", set)()}

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade time for memory in training."""
        self.plain.set_grad_checkpointing(enable)


def with_pyramid(backbone: Any) -> Any:
    """Return a plain transformer with a pyramid on it; any other backbone as it is."""
    strides = [entry["reduction"] for entry in getattr(backbone, "feature_info", [])][-NUM_MAPS:]
    is_plain = len(strides) == NUM_MAPS and len(set(strides)) == 1
    if not is_plain or strides[0] % FINEST or not hasattr(backbone, "patch_embed"):
        return backbone
    return SimplePyramid(backbone)


def plain_of(backbone: Any) -> Any:
    """Return the transformer under a pyramid; any other backbone as it is."""
    return backbone.plain if isinstance(backbone, SimplePyramid) else backbone
