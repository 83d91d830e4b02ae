"""Train on exactly 200 images from scratch, from weights and with a teacher, and judge.

    python benchmarks/teacher_weights.py data/lite0
    python benchmarks/two_hundred.py CAMVID data/lite0 runs/two_hundred --seeds 0 1

The images are tiles of 64 x 64 pixels of CamVid's frames, of ten classes (the kind that covers at
least 0.35 of a tile, and most): 20 of each from the training frames, of which `train` holds back
every fifth, and up to 60 of each from the test frames, other drives. No network here has seen
them. CAMVID is the folder in which train/, trainannot/, test/ and testannot/ lie; its images are
for research only. OUT/table.md gets the table.
"""

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

import nommer
from nommer import zoo

KINDS = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car")
KINDS += ("pedestrian", "bicyclist")
"""CamVid's classes by value; no tile is of poles, which are thin."""
SIDE, STEP, SHARE = 64, 32, 0.35
IMAGES = {"train": 20, "test": 60}
EPOCHS, BATCH = 12, 16


def tiles(camvid: Path, split: str) -> Iterator[tuple[str, float, Path, tuple[int, int]]]:
    """Give kind, share, frame and place (x, y) of every tile that one kind covers well."""
    for mask in sorted((camvid / f"{split}annot").glob("*.png")):
        labels = np.array(Image.open(mask))
        frame = next((camvid / split).glob(f"{mask.stem}.*"))
        for y in range(0, labels.shape[0] - SIDE + 1, STEP):
            for x in range(0, labels.shape[1] - SIDE + 1, STEP):
                within = labels[y : y + SIDE, x : x + SIDE].ravel()
                shares = np.bincount(within, minlength=12) / within.size
                kind = int(shares.argmax())
                if kind < len(KINDS) and KINDS[kind] != "pole" and shares[kind] >= SHARE:
                    yield KINDS[kind], shares[kind], frame, (x, y)


def write_tiles(camvid: Path, out: Path) -> None:
    """Write `out`/SPLIT/KIND/*.png: tiles of frames far apart first, the clearest of each."""
    for split, most in IMAGES.items():
        found = defaultdict(lambda: defaultdict(list))
        for kind, share, frame, place in tiles(camvid, split):
            found[kind][frame].append((-share, place))
        for kind, frames in found.items():
            rounds = defaultdict(list)  # the clearest tile of every frame, the next ones, ...
            for frame, of_frame in frames.items():
                for number, (_, place) in enumerate(sorted(of_frame)):
                    rounds[number].append((frame, place))
            chosen = []
            for _, more in sorted(rounds.items()):
                left = min(most - len(chosen), len(more))
                chosen += [more[i] for i in np.linspace(0, len(more) - 1, left).astype(int)]
            folder = out / split / kind
            folder.mkdir(parents=True)
            for frame, (x, y) in chosen:
                tile = Image.open(frame).convert("RGB").crop((x, y, x + SIDE, y + SIDE))
                tile.save(folder / f"{frame.stem}-{x}-{y}.png")


def cases_of(lite0: Path) -> dict[str, dict]:
    """Return the options of `nommer.train`, by what the network starts from and learns from."""
    teaches = {
        "teacher": "timm:efficientnet_lite0",
        "distillation": {"weights": str(lite0 / "model.safetensors"), "image_size": 128},
    }
    zoos = {"model": "nommer_nano64", "pretrained": zoo.default_entry().name}
    lite = {"model": "timm:efficientnet_lite0", "pretrained": str(lite0 / "model.safetensors")}
    published = {"network": {"noise": (1.0, 1.0), "balance": 0.0}}
    return {
        "nothing (nommer_mini64)": {},
        "the zoo's default entry (nommer_nano64)": zoos,
        "weights of ImageNet (efficientnet_lite0)": lite,
        "the same, tiles enlarged to 128 x 128": lite | {"image_size": 128},
        "nothing, with the teacher": teaches,
        "the zoo's default entry, with the teacher": zoos | teaches,
        "nothing, contexts chosen late": {
            "network": {"choose_from": 0.5, "balance": 1.0, "decided": 0.5}
        },
        "nothing, contexts nominated as published": published,
        "nothing, with the teacher, contexts nominated as published": teaches | published,
    }


def train(case: str, options: dict, seed: int, told: argparse.Namespace) -> dict:
    """Train and judge, unless that is done; return the numbers."""
    out = told.out / f"{case.replace(' ', '_')}-{seed}"
    numbers = out.with_suffix(".json")
    if not numbers.is_file():
        begun = time.process_time()
        where = {"data": str(told.out / "data" / "train"), "out": out, "overwrite": out.exists()}
        how = {"epochs": EPOCHS, "batch_size": BATCH, "seed": seed, "precision": told.precision}
        nommer.train(**where, **how, workers=0, cache="ram", device="cpu", **options)
        seconds = time.process_time() - begun
        test = str(told.out / "data" / "test")
        nommer.evaluate(out, data=test, out=out / "test", device="cpu", workers=0)
        judged = json.loads((out / "test" / "result.json").read_text())
        numbers.write_text(json.dumps({"seconds": round(seconds), "test": judged}))
    return json.loads(numbers.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("camvid", type=Path)
    parser.add_argument("lite0", type=Path, help="the folder that teacher_weights.py wrote")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--cases", type=int, nargs="+", help="by number, from 0; by default all")
    parser.add_argument("--precision", default="bf16")
    told = parser.parse_args()
    if not (told.out / "data").is_dir():
        write_tiles(told.camvid, told.out / "data")
    lines, cases = defaultdict(list), list(cases_of(told.lite0).items())
    for seed in told.seeds:
        for number in told.cases or range(len(cases)):
            case, options = cases[number]
            lines[case].append(train(case, options, seed, told))
    table = "| starts from | seconds | test top-1 | mean over classes |\n|---|---|---|---|\n"
    for case, found in lines.items():
        cells = [", ".join(str(one["seconds"]) for one in found)]
        for name in ("top1", "mean_class_accuracy"):
            cells.append(", ".join(f"{100 * one['test'][name]:.1f}" for one in found) + " %")
        table += f"| {case} | {' | '.join(cells)} |\n"
    (told.out / "table.md").write_text(table)
    print(table, end="")


if __name__ == "__main__":
    main()
