"""Labels swapped on purpose: how many of them `train --folds` finds, and by which ranking.

    python benchmarks/wrong_labels.py --data TINY --out DIR --seeds 0 1

20 classes of Tiny ImageNet by their 50 validation images each, which the network of the zoo did not
learn from; 5 % of the labels are swapped for another class at random. `nommer train --folds 5` on
them, with the zoo's backbone frozen. Told is the share of the swapped labels among the first 5 % of
every ranking, for each seed (of the swap, the folds and the training).
"""

import argparse
import json
import random
import tarfile
from pathlib import Path

import numpy as np

import nommer

CLASSES, SHARE = 20, 0.05


def write_swapped(data: Path, out: Path, seed: int) -> set[str]:
    """Write class folders with swapped labels; return the names of the files that are swapped."""
    wnids = (data / "wnids.txt").read_text().split()[:: 200 // CLASSES]
    with tarfile.open(data / "val.tar.gz") as archive:
        prefix = "tiny-imagenet-200/val"
        lines = archive.extractfile(f"{prefix}/val_annotations.txt").read().decode().splitlines()
        label = {file: wnid for file, wnid, *_ in map(str.split, lines) if wnid in wnids}
        chance = random.Random(seed)  # noqa: S311 - no secret
        swapped = set(chance.sample(sorted(label), round(SHARE * len(label))))
        for member in archive:
            name = Path(member.name).name
            if name not in label:
                continue
            others = [wnid for wnid in wnids if wnid != label[name]]
            given = chance.choice(others) if name in swapped else label[name]
            (out / given).mkdir(parents=True, exist_ok=True)
            (out / given / name).write_bytes(archive.extractfile(member).read())
    return swapped


def rankings(run: Path) -> dict[str, list[str]]:
    """Return the files by every ranking of the out-of-fold answers, the most doubted first."""
    from cleanlab.filter import find_label_issues  # noqa: PLC0415
    from cleanlab.rank import get_label_quality_scores  # noqa: PLC0415

    told = json.loads((run / "out_of_fold.json").read_text())
    rows, names = told["images"], told["classes"]
    files = np.array([Path(row["file"]).name for row in rows])
    given = np.array([names.index(row["class"]) for row in rows])
    chances = np.array([row["probabilities"] for row in rows])
    chances /= chances.sum(1, keepdims=True)
    own = get_label_quality_scores(given, chances, method="self_confidence")
    margin = get_label_quality_scores(given, chances, method="normalized_margin")
    adjusted = get_label_quality_scores(
        given, chances, method="self_confidence", adjust_pred_probs=True
    )
    wrong = find_label_issues(given, chances, n_jobs=1, filter_by="low_self_confidence")
    scores = {
        "least sure answer (1 - maximum softmax)": chances.max(1),
        "loss of the label, which is its self-confidence (as it is)": own,
        "normalised margin": margin,
        "self-confidence, adjusted by class": adjusted,
        "estimated wrong first, then loss of the label": own - 2 * wrong,
    }
    order = {
        name: files[np.argsort(score, kind="stable")].tolist() for name, score in scores.items()
    }
    print(f"  to look at, by estimate: {int(wrong.sum())} of {len(files)}")
    return order


def main() -> None:
    """Swap, train in folds, and count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--epochs", type=int, default=5)
    given = parser.parse_args()
    for seed in given.seeds:
        data, run = given.out / f"data-{seed}", given.out / f"run-{seed}"
        swapped = write_swapped(given.data, data, seed)
        result = nommer.train(
            data,
            out=run,
            folds=5,
            model="nommer_nano64",
            pretrained="nommer_nano64.tiny_imagenet_200",
            freeze="backbone",
            reinit_head=True,
            epochs=given.epochs,
            batch_size=32,
            lr=0.003,
            seed=seed,
            workers=0,
            device="cpu",
        )
        top1 = next(row for row in result.numbers if row["number"] == "top1")
        print(f"seed {seed}: out-of-fold top-1 {top1['mean']:.1%} (spread {top1['spread']:.1%})")
        first = len(result.doubts) * SHARE
        for name, files in rankings(run).items():
            found = len(swapped & set(files[: round(first)]))
            print(f"  {name}: {found} of {len(swapped)} ({found / len(swapped):.0%})", flush=True)


if __name__ == "__main__":
    main()
