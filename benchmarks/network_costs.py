"""Parameters and multiply-accumulates per variant, as a Markdown table.

python benchmarks/network_costs.py
"""

from importlib.metadata import version

import timm
import torch
from torch.utils.flop_counter import FlopCounterMode

import nommer  # noqa: F401 - registers the networks
from nommer.backbone.variants import VARIANTS

PUBLISHED = {"nommer_tiny": 5.4, "nommer_small": 10.1, "nommer_base": 17.6}


def giga_macs(model: torch.nn.Module, size: int) -> float:
    """Multiply-accumulates of one image of `size` x `size`, in units of 1e9 (convolutions, products, attention)."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.zeros(1, 3, size, size, device="meta"))
    return counter.get_total_flops() / 2e9


def main() -> None:
    print(f"nommer {version('nommer')}: 224 x 224 pixels, 1000 classes\n")
    print("| variant | trainable parameters | without classifier | GMACs | GMACs (paper) |")
    print("|---|---|---|---|---|")
    for name in VARIANTS:
        with torch.device("meta"):
            model = timm.create_model(name)
        total = sum(parameter.numel() for parameter in model.parameters())
        head = sum(parameter.numel() for parameter in model.get_classifier().parameters())
        published = PUBLISHED.get(name, "")
        print(f"| {name} | {total:,} | {total - head:,} | {giga_macs(model, 224):.2f} | {published} |")


if __name__ == "__main__":
    main()
