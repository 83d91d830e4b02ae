"""Tell where the time of an exported network goes in ONNX Runtime, beside a peer.

    python benchmarks/profile_onnx.py --models nommer_tiny,swin_tiny_patch4_window7_224 \\
        --batch 4 --threads 2

A NomMer is exported fused, as `nommer benchmark` does it. Times are of ONNX Runtime's own profiler,
per call; names are those of the operators after its optimisation.
"""

import argparse
import json
import tempfile
from collections import Counter
from pathlib import Path

import onnxruntime
import torch

from nommer.benchmarking.cases import Case
from nommer.benchmarking.models import Networks, write_onnx

CALLS = 10


def profiled(model: str, told: argparse.Namespace) -> tuple[Counter[str], Counter[str]]:
    """Milliseconds per call, and calls, of every kind of operator."""
    network = Networks("cpu").inference(
        Case(model, "onnxruntime", "inference", "32", told.size, told.batch)
    )
    images = torch.randn(told.batch, 3, told.size, told.size)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.enable_profiling = told.threads, True
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(write_onnx(network, images, Path(folder)), options)
        for _ in range(CALLS):
            session.run(None, {session.get_inputs()[0].name: images.numpy()})
        events = json.loads(Path(session.end_profiling()).read_text())
    nodes = [
        event
        for event in events
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")
    ]
    nodes = nodes[len(nodes) // CALLS :]  # the first call warms up
    times: Counter[str] = Counter()
    for node in nodes:
        times[node["args"]["op_name"]] += node["dur"] / 1000 / (CALLS - 1)
    return times, Counter(node["args"]["op_name"] for node in nodes[: len(nodes) // (CALLS - 1)])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default="nommer_tiny,swin_tiny_patch4_window7_224")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", type=int, default=14)
    told = parser.parse_args()
    for model in told.models.split(","):
        times, calls = profiled(model, told)
        whole = sum(times.values())
        print(f"| {model}: operator | calls | ms | share |\n|---|---|---|---|")
        for name, time in times.most_common(told.rows):
            print(f"| {name} | {calls[name]} | {time:.1f} | {time / whole:.1%} |")
        print(f"| all | {calls.total()} | {whole:.1f} | 100% |\n")


if __name__ == "__main__":
    main()
