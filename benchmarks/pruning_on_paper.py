"""Count what networks would cost if nominator blocks kept a single context, without training any.

python benchmarks/pruning_on_paper.py --model nommer_base
"""

import argparse
from collections.abc import Sequence

from nommer.backbone.config import CONTEXTS
from nommer.backbone.network import NomMer
from nommer.backbone.variants import VARIANTS
from nommer.models.costs import giga_macs
from nommer.pruning.surgery import pruned_config


def rows(model: str, size: int) -> dict[str, tuple[float, float]]:
    """Return GMACs and millions of parameters with all contexts, without each, and with one."""
    config = VARIANTS[model]
    both = range(config.depths[0] + config.depths[1])
    kept = {"all three": CONTEXTS} | {
        f"without {name}": tuple(other for other in CONTEXTS if other != name) for name in CONTEXTS
    }
    cases = {name: [names for _ in both] for name, names in kept.items()}
    cases |= {f"{name} alone": [(name,) for _ in both] for name in CONTEXTS}
    # as networks trained on little data turn out: stage 2 is convolution, stage 1 is mixed
    mixed = [CONTEXTS if block < config.depths[0] else ("convolution",) for block in both]
    cases["stage 2 convolution alone"] = mixed
    found = {}
    for name, sets in cases.items():
        network = NomMer(pruned_config(config, sets))
        parameters = sum(weight.numel() for weight in network.parameters()) / 1e6
        found[name] = giga_macs(network, size), parameters
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="nommer_base", choices=VARIANTS)
    parser.add_argument("--size", type=int, default=224)
    options = parser.parse_args(arguments)
    counted = rows(options.model, options.size)
    whole, _ = counted["all three"]
    print("| contexts of stages 1 and 2 | GMACs | of all | parameters, M |\n|---|---|---|---|")
    for name, (macs, parameters) in counted.items():
        print(f"| {name} | {macs:.2f} | {macs / whole:.2f} | {parameters:.1f} |")


if __name__ == "__main__":
    main()
