"""Run `nommer benchmark` with one more row.

It is the network as `tests/reference.py` writes it, equation by equation.

    python benchmarks/literal_form.py --models nommer_tiny --batches 4 --mode both \\
        --out runs/literal

Takes the options of `nommer benchmark`. The row "literal" computes in float32 with the reference's
own functions, loops over windows, shifts and coefficients included; only its loop over single
tokens, which finds the first maximum, and the table of relative positions, which the network keeps
too, are replaced, since Python alone would be measured there.
"""

import functools
import importlib.util
import sys
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

from nommer.backbone.nominator import gumbel_noise, one_hot_maximum
from nommer.benchmarking import benchmark as engine
from nommer.benchmarking.models import build
from nommer.cli.parser import parse
from nommer.screen import show_benchmark
from nommer.settings.benchmark import BenchmarkSettings

REFERENCE = Path(__file__).resolve().parents[1] / "tests" / "reference.py"


@functools.cache
def read_reference() -> Any:
    """Return the module of the literal functions."""
    spec = importlib.util.spec_from_file_location("reference", REFERENCE)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(REFERENCE)
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    reference.first_maximum = one_hot_maximum
    reference.position_bias = functools.partial(position_bias, functools.cache(relative_rows))
    return reference


def relative_rows(positions: tuple[tuple[int, int], ...], side: int) -> Tensor:
    """Return rows of the table of biases for all pairs of positions of a window."""
    with torch.inference_mode(mode=False):  # it is kept for training too
        grid = torch.tensor(positions)
        between = grid[:, None] - grid[None] + side - 1
        return between[..., 0] * (2 * side - 1) + between[..., 1]


def position_bias(
    rows: Any, positions: list[tuple[int, int]], table: Tensor, *, side: int
) -> Tensor:
    """As `reference.position_bias`, the rows looked up once."""
    return table[rows(tuple(positions), side)].permute(2, 0, 1)


class LiteralNetwork(nn.Module):
    """The weights of a NomMer, computed with by the reference."""

    def __init__(self, name: str, size: int) -> None:
        super().__init__()
        self.network = build(name, size)

    def forward(self, images: Tensor) -> Tensor:
        """Class scores of images (B, 3, size, size)."""
        config: Any = self.network.config
        noises = [gumbel_noise(torch.zeros(len(images), *grid, 3)) for grid in self.grids(images)]
        return read_reference().network(
            images,
            dict(self.network.named_parameters()) | dict(self.network.named_buffers()),
            heads=config.num_heads,
            side=config.window_size,
            block_sizes=config.block_sizes,
            depths=config.depths,
            stride=config.patch_size,
            training=self.training,
            noises=noises if self.training else (),
        )

    def grids(self, images: Tensor) -> list[tuple[int, int]]:
        """Return rows and columns of the tokens in every block that nominates."""
        config: Any = self.network.config
        height, width = images.shape[-2:]
        return [
            config.grid_size(height, width, stage)
            for stage in range(2)
            for _ in range(config.depths[stage])
        ]


def main() -> None:
    chosen = BenchmarkSettings(**parse(["benchmark", *sys.argv[1:]]))
    ours = [name for name in chosen.models if name.startswith("nommer")]
    literal = {name: functools.partial(LiteralNetwork, name) for name in ours}
    show_benchmark(engine.run_benchmark(chosen, literal=literal), Console())


if __name__ == "__main__":
    main()
