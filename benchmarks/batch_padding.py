"""Measure how far a detector's answers depend on padding.

Each image is answered alone, and in a batch with one of twice its sides.

    python benchmarks/batch_padding.py runs/dsb2018 DSB2018/images --images 20

`predict`, `evaluate` and validation never batch: this is about batches of one's own
(`model.network(images)`). Answers above --threshold are matched at IoU 0.5; the table has their
scores' and boxes' largest and median differences.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torchvision.ops import box_iou

import nommer
from nommer.data.image_paths import find_images
from nommer.data.images import decode


def answers(
    network: torch.nn.Module, images: list[torch.Tensor], threshold: float
) -> dict[str, torch.Tensor]:
    """Return the objects of the first image."""
    with torch.inference_mode():
        return network.detect(images, threshold=threshold, most=100)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--images", type=int, default=20, dest="count")
    parser.add_argument("--threshold", type=float, default=0.5)
    arguments = parser.parse_args()
    model = nommer.load(arguments.model).eval()
    scores, moves, alone_only, batch_only, matched = [], [], 0, 0, 0
    for path in list(find_images([str(arguments.images)]))[: arguments.count]:
        image = model.preprocessing(decode(path))
        larger = torch.zeros(3, 2 * image.shape[1], 2 * image.shape[2])
        alone = answers(model.network, [image], arguments.threshold)
        batch = answers(model.network, [image, larger], arguments.threshold)
        overlap = box_iou(alone["boxes"], batch["boxes"])
        if overlap.numel():
            best, partner = overlap.max(1)
            pairs = [(i, int(partner[i])) for i in range(len(best)) if best[i] >= 0.5]
            scores += [abs(float(alone["scores"][i] - batch["scores"][j])) for i, j in pairs]
            moves += [float((alone["boxes"][i] - batch["boxes"][j]).abs().max()) for i, j in pairs]
            matched += len(pairs)
            alone_only += len(best) - len(pairs)
            batch_only += len(batch["boxes"]) - len({j for _, j in pairs})
        else:
            alone_only, batch_only = (
                alone_only + len(alone["boxes"]),
                batch_only + len(batch["boxes"]),
            )
    print(
        "| answers in both | alone only | in the batch only | score, median (largest) | box, "
        "pixels, median (largest) |"
    )
    print("|---|---|---|---|---|")
    score = f"{np.median(scores):.4f} ({max(scores):.3f})" if scores else "-"
    move = f"{np.median(moves):.2f} ({max(moves):.1f})" if moves else "-"
    print(f"| {matched} | {alone_only} | {batch_only} | {score} | {move} |")


if __name__ == "__main__":
    main()
