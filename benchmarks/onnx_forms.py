"""Time other ways to write a NomMer for ONNX Runtime beside the way it is exported.

    python benchmarks/onnx_forms.py --model nommer_tiny --batch 4 --rounds 9

- fused: as `nommer.fuse` computes, attention not split (`nommer.acceleration.split_attention`);
- pointwise: 1x1 convolutions as linear layers, so that only the half as wide grid between them is
  transposed for the 3x3 one;
- selected: the nominated context by its number, without a one-hot;
- both: the last two.

The forms take turns, in another order in each round, on one thread; seconds are the processor's of
this process. A ratio is the median of those within a round: below 1 the form is faster. The peer is
exported as `nommer benchmark` does it.
"""

import argparse
import copy
import statistics
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path

import onnx
import onnxruntime
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from turns import in_turns, ratio, seconds_of

from nommer.acceleration.fuse import FusedConvolutionContext, FusedNominator
from nommer.acceleration.split_attention import split_attention
from nommer.backbone.layout import as_grid, as_maps
from nommer.benchmarking.cases import Case
from nommer.benchmarking.models import Networks, write_onnx


class Pointwise(FusedConvolutionContext):
    """The convolutional context, 1x1 convolutions as linear layers."""

    def forward(self, grid: Tensor) -> Tensor:
        first, last = self.conv1, self.conv3
        hidden = F.relu(F.linear(grid, first.weight.flatten(1), first.bias))
        hidden = as_grid(self.conv2(as_maps(hidden)))
        return F.relu(F.linear(hidden, last.weight.flatten(1), last.bias) + grid)


class Selected(FusedNominator):
    """The nominator that selects by number."""

    def forward(self, *contexts: Tensor) -> Tensor:
        best = self.score(sum(contexts)).argmax(-1, keepdim=True)
        *before, chosen = contexts
        for index, context in reversed(list(enumerate(before))):
            chosen = torch.where(best == index, context, chosen)
        return chosen


POINTWISE = {FusedConvolutionContext: Pointwise}
SELECTED = {FusedNominator: Selected}
FORMS: dict[str, dict[type, type]] = {
    "as exported": {},
    "pointwise": POINTWISE,
    "selected": SELECTED,
    "both": POINTWISE | SELECTED,
}


def session_of(
    network: nn.Module, images: Tensor, classes: dict[type, type]
) -> tuple[onnxruntime.InferenceSession, Counter[str]]:
    """Return the network in ONNX Runtime, and its operators after the optimisation there."""
    for module in network.modules():
        module.__class__ = classes.get(type(module), type(module))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    with tempfile.TemporaryDirectory() as folder:
        optimised = Path(folder) / "optimised.onnx"
        options.optimized_model_filepath = str(optimised)
        file = write_onnx(network, images, Path(folder))
        session = onnxruntime.InferenceSession(file, options)
        nodes = onnx.load(optimised, load_external_data=False).graph.node
    return session, Counter(node.op_type for node in nodes)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="nommer_tiny")
    parser.add_argument("--peer", default="swin_tiny_patch4_window7_224")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=9)
    told = parser.parse_args()
    torch.set_num_threads(1)
    networks, images = Networks("cpu"), torch.randn(told.batch, 3, told.size, told.size)
    ours, peer = (
        networks.inference(Case(name, "onnxruntime", "inference", "32", told.size, told.batch))
        for name in (told.model, told.peer)
    )
    found = {
        name: session_of(split_attention(copy.deepcopy(ours)), images, classes)
        for name, classes in FORMS.items()
    }
    found["fused"] = session_of(ours, images, {})
    found[told.peer] = session_of(peer, images, {})
    runs = {
        name: partial(session.run, None, {session.get_inputs()[0].name: images.numpy()})
        for name, (session, _) in found.items()
    }
    seconds = in_turns({name: partial(seconds_of, run) for name, run in runs.items()}, told.rounds)
    print("| form | operators | transpositions | ms | as exported 1 (quartiles) |")
    print("|---|---|---|---|---|")
    for name, (_, nodes) in found.items():
        cells = [name, nodes.total(), nodes["Transpose"]]
        cells += [f"{1000 * statistics.median(seconds[name]):.0f}"]
        cells += [ratio(seconds[name], seconds["as exported"], digits=3)]
        print(f"| {' | '.join(map(str, cells))} |")


if __name__ == "__main__":
    main()
