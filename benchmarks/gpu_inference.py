"""The parts of `gpu.py` that only infer.

Each yields its rows as they are found.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from gpu_bench import Bench, Row
from torch import nn
from torch.nn.attention.flex_attention import flex_attention


def graphs(bench: Bench) -> Iterator[Row]:
    """Yield the time of one image, kernel by kernel and as one CUDA graph."""
    sizes = bench.sizes
    for model in sizes.large:
        network = bench.networks.inference(
            bench.case(model, "fused", "inference", "bf16-true", batch=1)
        )
        images = torch.randn(1, 3, sizes.side, sizes.side, device=bench.device).bfloat16()
        with torch.inference_mode():
            replay, out = captured(network, images)
            replay()
            difference = (out() - network(images)).abs().max().item()
            calls = {"eager": lambda n=network, i=images: n(i), "graph": replay}
            seconds = bench.time(calls, alone=True)
        yield {
            "what": f"{model}, fused, bf16, one image",
            "ms eager": 1000 * seconds["eager"],
            "ms graph": 1000 * seconds["graph"],
            "times eager": seconds["eager"] / seconds["graph"],
            "largest difference": difference,
            "result": "" if bench.device.type == "cuda" else "no graphs here: eager twice",
        }


def captured(
    network: nn.Module, images: torch.Tensor
) -> tuple[Callable[[], Any], Callable[[], torch.Tensor]]:
    """Return a call that runs the network on `images` as a graph, and one that gives its output."""
    if images.device.type != "cuda":
        return lambda: network(images), lambda: network(images)
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            network(images)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = network(images)
    return graph.replay, lambda: out


def throughput(bench: Bench) -> Iterator[Row]:
    """Yield images per second of each network at each batch size, in turns."""
    sizes = bench.sizes
    runners = [(sizes.model, "eager"), (sizes.model, "fused")]
    runners += [(name, "eager") for name in sizes.peers]
    for batch in sizes.batches:
        calls = {
            f"{model} {how}": bench.networks.step(
                bench.case(model, how, "inference", "bf16", batch)
            )[0]
            for model, how in runners
        }
        seconds = bench.time(calls, alone=batch == 1)
        for name, value in seconds.items():
            yield {
                "what": f"inference, {name}, batch {batch}, bf16",
                "images/s": batch / value,
                "times the peer": seconds[f"{sizes.peer} eager"] / value,
            }
        if bench.late:
            return


def flex(bench: Bench) -> Iterator[Row]:
    """Yield the time of attention in windows of 7 x 7 tokens with a bias, in two forms."""
    tokens, heads, width, windows = 49, 2, 48, bench.sizes.windows
    dtype = torch.bfloat16 if bench.device.type == "cuda" else torch.float32
    query, key, value = (
        torch.randn(windows, heads, tokens, width, device=bench.device, dtype=dtype)
        for _ in range(3)
    )
    # rows of 56, as the window context lays its bias out: fused attention wants multiples of 8
    bias = torch.randn(heads, tokens, 56, device=bench.device, dtype=dtype)[..., :tokens]

    def add_bias(score: Any, _batch: Any, head: Any, row: Any, column: Any) -> Any:
        return score + bias[head, row, column]

    flexible = torch.compile(flex_attention) if bench.device.type == "cuda" else flex_attention
    calls = {
        "scaled_dot_product_attention": lambda: F.scaled_dot_product_attention(
            query, key, value, attn_mask=bias
        ),
        "flex_attention": lambda: flexible(query, key, value, score_mod=add_bias),
    }
    with torch.inference_mode():
        difference = (calls["flex_attention"]() - calls["scaled_dot_product_attention"]()).abs()
        seconds = bench.time(calls)
    for name, one in seconds.items():
        yield {
            "what": f"{windows} windows, forward pass, {name}",
            "ms": 1000 * one,
            "times eager": seconds["scaled_dot_product_attention"] / one,
            "largest difference": difference.max().item(),
        }
