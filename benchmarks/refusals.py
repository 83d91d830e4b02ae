"""Compare scores that tell images of other worlds from those that a classifier knows.

    python benchmarks/refusals.py nommer_nano64.tiny_imagenet_200 TINY/val/images \
        CAMVID/val BCCD/JPEGImages DSB2018/images digits

The first folder holds images that show a class of the model; half of them (at random) are what a
score is fitted on where it is fitted, the other half is judged. Every other folder shows none of
the classes; "digits" are scikit-learn's. AUROC is the chance that an image of the model's own world
gets the higher score; FPR95 the share of the others that is let through where 95 % of the own ones
are.

Sources: Hendrycks and Gimpel 2017 (softmax), Liu et al. 2020 (energy), Sun et al. 2021 (ReAct) and
2022 (nearest neighbours), Djurisic et al. 2023 (ASH-S), Wang et al. 2022 (ViM), Lee et al. 2018 and
Ren et al. 2021 (Mahalanobis distance, here of all images together and not of each class).
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn.functional import normalize

import nommer
from nommer.acceleration.fuse import fuse
from nommer.data.image_paths import find_images
from nommer.models.familiarity import Familiarity, statistics

NEIGHBOURS, KEPT = 10, 0.1
"""Of nearest neighbours; share of activations that ASH keeps, and that ReAct cuts."""


@dataclass(frozen=True)
class Seen:
    """A model's answers to images."""

    logits: Tensor
    last: Tensor
    """The input of the classifier."""
    early: Tensor
    """Means of the features of stage 2."""
    third: Tensor
    pixels: Tensor

    def of(self, chosen: Tensor) -> "Seen":
        """Return what is made of some of them."""
        return Seen(*(getattr(self, field.name)[chosen] for field in fields(self)))


def look(model: nommer.Classifier, folder: str, most: int) -> Seen:
    """Show the model the images in a folder, `most` of them at even steps."""
    if folder == "digits":
        found = [Image.fromarray((d * 15.9).astype(np.uint8)).convert("RGB")
                 for d in load_digits().images]  # fmt: skip
    else:
        found = list(find_images([folder]))
    found = [found[i * len(found) // min(most, len(found))] for i in range(min(most, len(found)))]
    parts, network = [], model.network
    with torch.inference_mode():
        for start in range(0, len(found), 64):
            images = torch.stack([model.prepare(one) for one in found[start : start + 64]])
            _, early, third, tokens = network.stage_outputs(images)
            last = network.forward_head(network.norm(tokens), pre_logits=True)
            means = [early.mean((1, 2)), third.mean((1, 2))]
            parts.append((network.head(last), last, *means, statistics(images)))
    return Seen(*(torch.cat(one).double() for one in zip(*parts, strict=True)))


def scores_of(known: Seen, head: torch.nn.Linear) -> dict[str, Callable[[Seen], Tensor]]:
    """Return scores by their names, higher for what is known, fitted on some images."""
    weight, bias = head.weight.detach().double(), head.bias.detach().double()
    cut = known.last.flatten().quantile(1 - KEPT)

    def ash(seen: Seen) -> Tensor:
        least = seen.last.quantile(1 - KEPT, dim=1, keepdim=True)
        kept = seen.last * (seen.last >= least)
        return energy(kept * (seen.last.abs().sum(1) / kept.abs().sum(1)).exp()[:, None])

    def energy(features: Tensor) -> Tensor:
        return (features @ weight.T + bias).logsumexp(1)

    def neighbours(seen: Seen) -> Tensor:
        away = torch.cdist(normalize(seen.last), normalize(known.last))
        return -away.topk(NEIGHBOURS, largest=False).values[:, -1]

    origin = -torch.linalg.pinv(weight) @ bias
    _, axes = torch.linalg.eigh((known.last - origin).T @ (known.last - origin))
    rest = axes[:, : known.last.shape[1] // 2]

    def residual(seen: Seen) -> Tensor:
        return ((seen.last - origin) @ rest).norm(dim=1)

    alpha = known.logits.amax(1).mean() / residual(known).mean()
    fits: dict[str, Callable[[Seen], Tensor]] = {
        "Mahalanobis, last features": lambda seen: seen.last,
        "Mahalanobis, stage 3": lambda seen: seen.third,
        "Mahalanobis, stage 2": lambda seen: seen.early,
        "Mahalanobis, pixels (before)": lambda seen: seen.pixels,
        "Mahalanobis, pixels and stage 2 (as it is)": lambda seen: torch.cat(
            [seen.pixels, seen.early], 1
        ),
    }
    distances = {}
    for name, chosen in fits.items():
        fitted = Familiarity.fit(chosen(known), rate=0.05)
        distances[name] = lambda seen, of=chosen, by=fitted: -by.distances(of(seen))
    return {
        "maximum softmax": lambda seen: seen.logits.softmax(1).amax(1),
        "maximum logit": lambda seen: seen.logits.amax(1),
        "energy": lambda seen: seen.logits.logsumexp(1),
        "ReAct": lambda seen: energy(seen.last.clamp_max(cut)),
        "ASH": ash,
        "nearest neighbours, last features": neighbours,
        "ViM": lambda seen: seen.logits.logsumexp(1) - alpha * residual(seen),
        **distances,
    }


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("own")
    parser.add_argument("others", nargs="+")
    parser.add_argument("--most", type=int, default=4000, help="images of each folder")
    told = parser.parse_args()
    model = fuse(nommer.load(told.model)).eval()
    own = look(model, told.own, told.most)
    drawn = torch.randperm(len(own.logits), generator=torch.Generator().manual_seed(0))
    known, judged = (own.of(half) for half in (drawn[::2], drawn[1::2]))
    others = {folder: look(model, folder, told.most) for folder in told.others}
    names = [folder if folder == "digits" else Path(folder).parts[-2] for folder in others]
    counts = [f"{n}, {len(o.logits)}" for n, o in zip(names, others.values(), strict=True)]
    print(f"| AUROC, FPR95 | {' | '.join(counts)} |\n|---|{'---|' * len(counts)}")
    for name, score in scores_of(known, model.network.head).items():
        good, cells = score(judged), []
        for other in map(score, others.values()):
            truth = np.r_[np.ones(len(good)), np.zeros(len(other))]
            area = roc_auc_score(truth, torch.cat([good, other]).numpy())
            let_through = (other >= good.quantile(0.05)).double().mean().item()
            cells.append(f"{area:.3f}, {let_through:.2f}")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
