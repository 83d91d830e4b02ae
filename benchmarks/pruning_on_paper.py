"""Count what networks would cost if nominator blocks kept a single context, without training any.

    python benchmarks/pruning_on_paper.py --model nommer_base
    python benchmarks/pruning_on_paper.py --model nommer_nano --rounds 11

With `--rounds` each is fused and timed as well, image by image in turns, in seconds of the process
on one thread: weights make no difference to that.
"""

import argparse
from collections.abc import Sequence

import torch
from gate import ratios

from nommer.acceleration.fuse import fuse
from nommer.backbone.config import CONTEXTS, NomMerConfig
from nommer.backbone.network import NomMer
from nommer.backbone.variants import VARIANTS
from nommer.models.costs import giga_macs
from nommer.pruning.surgery import pruned_config


def configs(model: str) -> dict[str, NomMerConfig]:
    """Describe networks with all contexts, without each, with one, and with one in stage 2."""
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
    return {name: pruned_config(config, sets) for name, sets in cases.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="nommer_base", choices=VARIANTS)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=0, help="of timing; 0 for none")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    found, times = configs(options.model), {}
    if options.rounds:
        images = torch.randn(1, 3, options.size, options.size)
        forms = {name: fuse(NomMer(config)) for name, config in found.items()}
        times = ratios(forms, [images], options.rounds)
    with torch.device("meta"):
        counted = {name: NomMer(config) for name, config in found.items()}
    whole = giga_macs(counted["all three"], options.size)
    print("| contexts of stages 1 and 2 | GMACs | of all | parameters, M | times as fast |")
    print("|---|---|---|---|---|")
    for name, network in counted.items():
        macs = giga_macs(network, options.size)
        parameters = sum(weight.numel() for weight in network.parameters()) / 1e6
        time = (
            "{times as fast:.2f} ({low:.2f} to {high:.2f})".format(**times[name]) if times else ""
        )
        print(f"| {name} | {macs:.4g} | {macs / whole:.2f} | {parameters:.1f} | {time} |")


if __name__ == "__main__":
    main()
