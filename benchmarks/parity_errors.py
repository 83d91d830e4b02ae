"""Measure how far this network is from the published implementation's numbers.

python benchmarks/parity_errors.py ../shared/parity

The folder holds those numbers and `parity.py`, which makes their inputs; limits as in the tests of
parity.
"""

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from nommer.backbone.checkpoint import from_published, published_config, to_published
from nommer.backbone.network import NomMer
from nommer.backbone.nominator import Nomination

CONSTANTS = ("dct_conv_8x8.weight", "idct_conv.0.weight", "relative_position_index")


def main() -> None:
    folder = Path(sys.argv[1])
    spec = importlib.util.spec_from_file_location("parity", folder / "parity.py")
    parity = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(parity)
    keys = [
        pair
        for pair in json.loads((folder / "nommer_tiny_keys.json").read_text())
        if not pair[0].endswith(CONSTANTS)
    ]
    published = {
        key: torch.from_numpy(np.asarray(parity.published_tensor(key, tuple(shape))))
        for key, shape in keys
    }
    config = replace(published_config(published), drop_path_rate=0.0)
    model = NomMer(config).eval()
    model.load_state_dict(from_published(published))
    images = torch.from_numpy(parity.images())
    rows = evaluate(model, images, np.load(folder / "nommer_tiny_eval.npz"))
    fresh = NomMer(config).double().train()
    fresh.load_state_dict(from_published(published))
    rows += train(fresh, images.double(), np.load(folder / "nommer_tiny_train.npz"), parity)
    print("| number | largest difference | limit |\n|---|---|---|")
    for row in rows:
        print("| {} | {:.1e} | {} |".format(*row))


@torch.no_grad()
def evaluate(model: NomMer, images: torch.Tensor, expected: dict) -> list[tuple]:
    """Logits in both precisions, and nomination counts."""
    single = np.abs(model(images).double().numpy() - expected["logits"]).max()
    counts = []
    for module in model.modules():
        if isinstance(module, Nomination):
            module.register_forward_hook(
                lambda _module, _inputs, weights: counts.append(weights.sum((0, 1, 2)).numpy())
            )
    double = np.abs(model.double()(images.double()).numpy() - expected["logits"]).max()
    wrong = np.abs(np.stack(counts) - expected["nominated"]).max()
    return [
        ("logits, float64, absolute", double, "1e-6"),
        ("logits, float32, absolute", single, "1e-5"),
        ("nominations, tokens counted differently", wrong, "0"),
    ]


def train(model: NomMer, images: torch.Tensor, expected: dict, parity: object) -> list[tuple]:
    """Loss and gradients in training mode with the published noise, float64."""
    for block, module in enumerate(
        module for module in model.modules() if isinstance(module, Nomination)
    ):
        module.noise = lambda logits, block=block: torch.from_numpy(
            parity.gumbel_noise(block, tuple(logits.shape))
        )
    loss = (model(images) * torch.from_numpy(parity.loss_weights())).sum()
    loss.backward()
    gradients = to_published({name: parameter.grad for name, parameter in model.named_parameters()})
    norms = zip(expected["keys"], expected["grad_norm"], strict=True)
    worst = max(abs(gradients[key].norm().item() / norm - 1) for key, norm in norms)
    return [
        ("training loss, absolute", abs(loss.item() - float(expected["loss"])), "1e-6"),
        ("gradient norms, relative", worst, "1e-3"),
    ]


if __name__ == "__main__":
    main()
