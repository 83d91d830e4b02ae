"""List the networks and settings of the suites that `accuracy.py` compares."""

SWIN = "--model timm:swin_tiny_patch4_window7_224 --network.timm"
SUITES: dict[str, dict[str, str]] = {
    "small": {
        "nommer_pico": "--model nommer_pico",
        "nommer_nano": "--model nommer_nano",
        "resnet10t": "--model timm:resnet10t --network.timm '{stem_stride: 2}'",
        "resnet18": "--model timm:resnet18 --network.timm '{stem_stride: 2}'",
        "convnext_atto": "--model timm:convnext_atto --network.timm '{stem_stride: 2}'",
        "deit_tiny, patch 8": "--model timm:deit_tiny_patch16_224 "
        "--network.timm '{img_size: 64, patch_size: 8}'",
        "swin, width 48": f"{SWIN} '{{img_size: 64, patch_size: 2, window_size: 8, embed_dim: 48, "
        "depths: [2, 2, 4, 2], num_heads: [2, 4, 8, 16], drop_path_rate: 0.0}'",
    },
    "stride_4": {
        "nommer_pico": "--model nommer_pico --network.patch_size 4",
        "nommer_nano": "--model nommer_nano --network.patch_size 4",
        "resnet10t": "--model timm:resnet10t",
        "convnext_atto": "--model timm:convnext_atto",
    },
    "large": {
        "nommer_nano": "--model nommer_nano",
        "nommer_tiny": "--model nommer_tiny",
        "swin_tiny": f"{SWIN} '{{img_size: 64, patch_size: 2, window_size: 8, "
        "drop_path_rate: 0.1}'",
        "convnext_tiny": "--model timm:convnext_tiny "
        "--network.timm '{stem_stride: 2, drop_path_rate: 0.1}'",
        "resnet50": "--model timm:resnet50 --network.timm '{stem_stride: 2, drop_path_rate: 0.1}'",
    },
    "settings": {
        "as published": "",
        "position 0.02": "--network.position_scale 0.02",
        "temperature 1 to 0.1": "--network.temperature '[1, 0.1]'",
        "temperature 0.5": "--network.temperature '[0.5, 0.5]'",
        "temperature 2": "--network.temperature '[2, 2]'",
        "noise 1 to 0": "--network.noise '[1, 0]'",
        "no noise": "--network.noise '[0, 0]'",
        "drop path 0.1": "--network.drop_path_rate 0.1",
        "lr 5e-4": "--lr 5e-4",
        "lr 2e-3": "--lr 2e-3",
        "lr 4e-3": "--lr 4e-3",
        "window 4": "--network.window_size 4",
        "blocks 4, 4": "--network.block_sizes '[4, 4]'",
        "blocks 4, 2": "--network.block_sizes '[4, 2]'",
        "patch 4": "--network.patch_size 4",
        "average of tokens": "--network.global_pool avg",
        "softmax": "--network.fusion softmax",
    },
}
"""Cases that are compared: a name, and arguments of `nommer train` besides the recipe.

Strides of the stages are 2, 4, 8, 16 everywhere (deit_tiny has 8 x 8 tokens throughout), in
"stride_4" 4, 8, 16, 32, so that the networks of a suite see an image at the same resolutions."""
