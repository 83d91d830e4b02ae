"""Time attention on the CPU by torch's operators and by plain products, alone, without a network.

    python benchmarks/attention_forms.py --precision bf16 --mode training

The sequences are those of `nommer_tiny` at 224 x 224 (batch 4) and 448 x 448 (batch 1), and windows
of 16 tokens. The forms take turns, in another order in each round, on one thread; milliseconds are
the processor's, medians of the rounds. `error` is of what comes out, against float32.

- fused: torch's choice; without a bias that is learned it is its fused attention;
- math: torch's plain operators, which compute in float32;
- float32: brought to float32 before and back after torch's choice;
- products: plain products, scores, bias and softmax in float32.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from turns import in_turns

from nommer.acceleration.attention import _attend_short as products

Form = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]

SHAPES = {
    "windows of stage 1": (256, 2, 49, 48, True),
    "windows of stage 2": (64, 4, 49, 48, True),
    "windows of 16": (1024, 1, 16, 40, True),
    "stage 3": (4, 8, 196, 48, False),
    "stage 4": (4, 16, 50, 48, False),
    "stage 3, 448 x 448": (1, 8, 784, 48, False),
}
"""Sequences, heads, tokens, width of a head, and whether there is a bias."""


def fused(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    bias = None if bias is None else bias.to(query.dtype)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias)


def math(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    with sdpa_kernel(SDPBackend.MATH):
        return fused(query, key, value, bias)


def float32(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    return fused(query.float(), key.float(), value.float(), bias).to(query.dtype)


FORMS: dict[str, Form] = {"fused": fused, "math": math, "float32": float32, "products": products}


def computed(
    attend: Form, tokens: Tensor, heads: int, bias: Tensor | None, mode: str
) -> tuple[float, Tensor]:
    """Return a call's seconds, in training with its backward pass, and its value."""
    tokens = tokens.clone().requires_grad_(mode == "training")
    bias = None if bias is None else bias.clone().requires_grad_(mode == "training")
    start = time.process_time()
    with torch.set_grad_enabled(mode == "training"):
        parts = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in tokens.chunk(3, -1))
        out = attend(*parts, bias).transpose(1, 2).flatten(2)
    if mode == "training":
        out.backward(torch.ones_like(out))
    return time.process_time() - start, out.detach().float()


def measured(form: str, errors: dict[str, float], exact: Tensor, given: tuple) -> float:
    """Return a call's seconds, and note in `errors` how far it is from the exact value."""
    spent, out = computed(FORMS[form], *given)
    errors[form] = ((out - exact).norm() / exact.norm()).item()
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--precision", choices=["32", "bf16"], default="bf16")
    parser.add_argument("--mode", choices=["training", "inference"], default="training")
    parser.add_argument("--rounds", type=int, default=5)
    told = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print("| sequences | form | ms | fused 1 | error |\n|---|---|---|---|---|")
    for name, (sequences, heads, tokens, width, biased) in SHAPES.items():
        given = torch.randn(sequences, tokens, 3 * heads * width)
        given = given.to(torch.bfloat16 if told.precision == "bf16" else torch.float32)
        bias = torch.randn(1, heads, tokens, tokens) if biased else None
        _, exact = computed(fused, given.float(), heads, bias, "inference")
        errors: dict[str, float] = {}
        forms = {
            form: partial(measured, form, errors, exact, (given, heads, bias, told.mode))
            for form in FORMS
        }
        times = in_turns(forms, told.rounds)
        middle = {form: 1000 * statistics.median(spent) for form, spent in times.items()}
        for form, spent in middle.items():
            ratio = spent / middle["fused"]
            print(
                f"| {name} | {form} | {spent:.2f} | {ratio:.2f} | {errors[form]:.5f} |", flush=True
            )


if __name__ == "__main__":
    main()
