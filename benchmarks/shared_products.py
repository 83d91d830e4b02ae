"""Time the products that read the same tokens in a nominator block: apart, and as one.

    python benchmarks/shared_products.py --precision bf16 --mode training

Queries, keys and values of the window context and the first 1x1 convolution of the convolutional
one read the same grid, so one product with both weights could serve them; windows are then cut from
what comes out. (Those of the global context read one token per DCT block, after a norm: a product
over all tokens would compute 64 or 16 times as many.) The forms take turns on one thread, at the
sizes of `nommer_tiny` at 224 x 224; milliseconds are the processor's, medians of the rounds.

- apart: as the network reads, windows cut before their product;
- windows later: two products over the grid, windows cut after theirs;
- one: a single product over the grid, and its output taken apart.
"""

import argparse
import statistics
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from turns import in_turns, ratio, seconds_of

from nommer.backbone.contexts.window import split_into_windows

STAGES = {"stage 1": (56, 96), "stage 2": (28, 192)}
"""Rows of the grid, and channels."""

WINDOW, EXPANSION = 7, 2

Form = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def apart(grid: Tensor, qkv: Tensor, reduce: Tensor) -> tuple[Tensor, Tensor]:
    return F.linear(split_into_windows(grid, WINDOW), qkv), F.linear(grid, reduce)


def windows_later(grid: Tensor, qkv: Tensor, reduce: Tensor) -> tuple[Tensor, Tensor]:
    return split_into_windows(F.linear(grid, qkv), WINDOW), F.linear(grid, reduce)


def one(grid: Tensor, qkv: Tensor, reduce: Tensor) -> tuple[Tensor, Tensor]:
    both = F.linear(grid, torch.cat([qkv, reduce]))
    asked, reduced = both.split([len(qkv), len(reduce)], dim=-1)
    return split_into_windows(asked, WINDOW), reduced.contiguous()


FORMS: dict[str, Form] = {"apart": apart, "windows later": windows_later, "one": one}


def called(form: Form, given: tuple[Tensor, Tensor, Tensor], *, training: bool) -> None:
    """Compute, and in training the gradients of tokens and weights too."""
    leaves = [part.detach().requires_grad_(training) for part in given]
    with torch.set_grad_enabled(training):
        outputs = form(*leaves)
        if training:
            torch.autograd.backward(outputs, [torch.ones_like(output) for output in outputs])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--precision", choices=["32", "bf16"], default="32")
    parser.add_argument("--mode", choices=["training", "inference"], default="inference")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=30)
    told = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    kind = torch.bfloat16 if told.precision == "bf16" else torch.float32
    print("| grid | form | ms | apart 1 (quartiles) |\n|---|---|---|---|")
    for name, (side, width) in STAGES.items():
        grid = torch.randn(told.batch, side, side, width, dtype=kind)
        weights = [torch.randn(rows, width, dtype=kind) for rows in (3 * width, width // EXPANSION)]
        training = told.mode == "training"
        forms = {
            form: partial(seconds_of, partial(called, compute, (grid, *weights), training=training))
            for form, compute in FORMS.items()
        }
        times = in_turns(forms, told.rounds)
        for form, spent in times.items():
            milliseconds = 1000 * statistics.median(spent)
            shown = ratio(spent, times["apart"])
            print(f"| {name} | {form} | {milliseconds:.2f} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
