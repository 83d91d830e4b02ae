"""Compare scores that tell images of other worlds from those that a classifier knows.

    python benchmarks/refusals.py nommer_nano64.tiny_imagenet_200 TINY/val/images \
        CAMVID/val BCCD/JPEGImages DSB2018/images digits

The first folder holds images that show a class of the model; half of them (at random) are what the
statistics of pixels are taken from, the other half is judged. Every other folder shows none of the
classes; "digits" are scikit-learn's. AUROC is the chance that an image of the model's own world
gets the higher score; FPR95 the share of the others that is let through where 95 % of the own ones
are.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from torch import Tensor

import nommer
from nommer.acceleration.fuse import fuse
from nommer.data.image_paths import find_images
from nommer.models.familiarity import Familiarity, statistics

SCORES: dict[str, Callable[[Tensor], Tensor]] = {
    "max softmax": lambda logits: logits.softmax(1).amax(1),
    "max logit": lambda logits: logits.amax(1),
    "energy": lambda logits: logits.logsumexp(1),
}


def seen(model: nommer.Classifier, folder: str, most: int) -> tuple[Tensor, Tensor]:
    """Logits and statistics of pixels of the images in a folder, `most` of them at even steps."""
    if folder == "digits":
        found = [Image.fromarray((d * 15.9).astype(np.uint8)).convert("RGB")
                 for d in load_digits().images]  # fmt: skip
    else:
        found = list(find_images([folder]))
    found = [found[i * len(found) // min(most, len(found))] for i in range(min(most, len(found)))]
    logits, pixels = [], []
    with torch.inference_mode():
        for start in range(0, len(found), 64):
            images = torch.stack([model.prepare(one) for one in found[start : start + 64]])
            logits.append(model(images))
            pixels.append(statistics(images))
    return torch.cat(logits).double(), torch.cat(pixels)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("own")
    parser.add_argument("others", nargs="+")
    parser.add_argument("--most", type=int, default=4000, help="images of each folder")
    told = parser.parse_args()
    model = fuse(nommer.load(told.model)).eval()
    logits, pixels = seen(model, told.own, told.most)
    drawn = torch.randperm(len(logits), generator=torch.Generator().manual_seed(0))
    half = len(drawn) // 2
    known = Familiarity.fit(pixels[drawn[:half]], rate=0.05)
    own = {name: score(logits[drawn[half:]]) for name, score in SCORES.items()}
    own["pixels"] = -known.distances(pixels[drawn[half:]])
    print("| images | number | " + " | ".join(f"{n}: AUROC, FPR95" for n in own) + " |")
    print("|---|---|" + "---|" * len(own))
    for folder in told.others:
        logits, pixels = seen(model, folder, told.most)
        other = {name: score(logits) for name, score in SCORES.items()}
        other["pixels"] = -known.distances(pixels)
        cells = []
        for name, good in own.items():
            truth = np.r_[np.ones(len(good)), np.zeros(len(other[name]))]
            area = roc_auc_score(truth, torch.cat([good, other[name]]).numpy())
            let_through = (other[name] >= good.quantile(0.05)).double().mean().item()
            cells.append(f"{area:.3f}, {let_through:.2f}")
        name = folder if folder == "digits" else "/".join(Path(folder).parts[-2:])
        print(f"| {name} | {len(logits)} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
