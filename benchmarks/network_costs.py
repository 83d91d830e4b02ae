"""Count parameters and multiply-accumulates per variant, or of the ablations of one variant.

python benchmarks/network_costs.py
python benchmarks/network_costs.py --ablations nommer_tiny
"""

import argparse
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import timm
import torch

from nommer.backbone.variants import VARIANTS
from nommer.models.costs import giga_macs

PUBLISHED = {"nommer_tiny": 5.4, "nommer_small": 10.1, "nommer_base": 17.6}

ABLATIONS: dict[str, dict[str, Any]] = {
    "as published": {},
    "convolution": {"contexts": ["convolution"]},
    "window": {"contexts": ["window"]},
    "global": {"contexts": ["global"]},
    "convolution, window": {"contexts": ["convolution", "window"]},
    "convolution, global": {"contexts": ["convolution", "global"]},
    "window, global": {"contexts": ["window", "global"]},
    "softmax": {"fusion": "softmax"},
    "sum": {"fusion": "sum"},
    "average pooling": {"compression": "average"},
    "r = 2, 1": {"kept_coefficients": [2, 1]},
    "r = 8, 4": {"kept_coefficients": [8, 4]},
    "k = 4, 4": {"block_sizes": [4, 4]},
    "k = 8, 8": {"block_sizes": [8, 8]},
}


def costs(name: str, **options: Any) -> tuple[int, int, float]:
    """Trainable parameters, those of the classifier, and GMACs at 224 x 224."""
    with torch.device("meta"):
        model = timm.create_model(name, **options)
    total = sum(parameter.numel() for parameter in model.parameters())
    head = sum(parameter.numel() for parameter in model.get_classifier().parameters())
    return total, head, giga_macs(model, 224)


def rows(variant: str | None) -> Iterator[tuple[str, tuple[int, int, float], Any]]:
    """Return the lines of the table: a name, its costs, and what the paper says."""
    if variant is None:
        for name in VARIANTS:
            yield name, costs(name), PUBLISHED.get(name, "")
    else:
        for name, options in ABLATIONS.items():
            yield name, costs(variant, **options), "" if options else PUBLISHED.get(variant, "")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ablations", metavar="VARIANT", choices=list(VARIANTS))
    variant = parser.parse_args().ablations
    what = "ablation" if variant else "variant"
    print(
        f"nommer {version('nommer')}: {f'{variant}, ' if variant else ''}224 x 224 pixels, 1000 "
        "classes\n"
    )
    print(f"| {what} | trainable parameters | without classifier | GMACs | GMACs (paper) |")
    print("|---|---|---|---|---|")
    for name, (total, head, macs), published in rows(variant):
        print(f"| {name} | {total:,} | {total - head:,} | {macs:.2f} | {published} |")


if __name__ == "__main__":
    main()
