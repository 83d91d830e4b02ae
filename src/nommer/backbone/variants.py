"""The family at a glance: the published sizes, and ours for small machines, data and tests.

Those of the last three lines are for images of 64 x 64 pixels: 0.029, 0.054 and 0.063 GMACs there.

Parameters (trainable, 1000 classes, 224 x 224): tiny 22,455,804, small 41,532,388, base 73,404,900.
"""

from typing import Any

from nommer.backbone.config import NomMerConfig

_OF_64_PIXELS: dict[str, Any] = {
    "img_size": 64, "stem": "overlapping", "window_size": 4, "block_sizes": (4, 2),
    "num_heads": (1, 1, 2, 4), "global_pool": "avg", "position_std": 0.02,
}  # fmt: skip
"""Settings chosen for small images and little data (`docs/results.md`)."""

VARIANTS: dict[str, NomMerConfig] = {
    # published
    "nommer_tiny": NomMerConfig(embed_dim=96, depths=(2, 2, 8, 2), expansion=2, drop_path_rate=0.1),
    "nommer_small": NomMerConfig(
        embed_dim=96, depths=(6, 6, 16, 4), expansion=4, drop_path_rate=0.3
    ),
    "nommer_base": NomMerConfig(
        embed_dim=128, depths=(6, 6, 16, 4), expansion=4, drop_path_rate=0.5
    ),
    # ours
    "nommer_micro": NomMerConfig(embed_dim=16, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 4)),
    "nommer_pico": NomMerConfig(embed_dim=32, depths=(1, 1, 2, 1), num_heads=(1, 1, 2, 4)),
    "nommer_nano": NomMerConfig(embed_dim=48, depths=(1, 1, 4, 1), num_heads=(1, 1, 2, 4)),
    "nommer_pico64": NomMerConfig(embed_dim=32, depths=(1, 1, 2, 1), **_OF_64_PIXELS),
    "nommer_nano64": NomMerConfig(embed_dim=40, depths=(1, 2, 3, 1), **_OF_64_PIXELS),
    "nommer_mini64": NomMerConfig(embed_dim=40, depths=(1, 2, 3, 1), expansion=1, **_OF_64_PIXELS),
}
"""Architecture of each registered model, by name."""
