"""Compare two runs, to the last bit."""

import csv
from pathlib import Path

import torch
from safetensors.torch import load_file


def rows(path: Path) -> list[dict[str, str]]:
    """Return a table without the time that it took."""
    with path.open(newline="") as stream:
        return [
            {name: value for name, value in row.items() if name != "seconds"}
            for row in csv.DictReader(stream)
        ]


def same(one: object, other: object) -> bool:
    """Return whether nested structures of tensors and plain values are equal to the last bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def differences(one: Path, other: Path) -> list[str]:
    """Return in what two finished runs differ: nothing, if all is well."""
    found = [
        name
        for name in ("metrics.csv", "nominations.csv")
        if rows(one / name) != rows(other / name)
    ]
    found += [
        name
        for name in ("curves.png", "result.json")
        if (one / name).read_bytes() != (other / name).read_bytes()
    ]
    for name in ("last", "best"):
        left, right = (
            torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)
            for run in (one, other)
        )
        parts = ("epoch", "global_step", "state_dict", "optimizer_states")
        found += [f"{part} of {name}.ckpt" for part in parts if not same(left[part], right[part])]
    weights = [load_file(run / "model" / "model.safetensors") for run in (one, other)]
    return found if same(*weights) else [*found, "model.safetensors"]
