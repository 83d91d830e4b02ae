"""Ultralytics' way of `folder_speed.py`: its classifier, with the same network.

    python benchmarks/folder_ultralytics.py predict OUT PHOTOS THREADS
    python benchmarks/folder_ultralytics.py evaluate OUT PHOTOS THREADS

It runs in an environment that has Ultralytics. OUT gets ultralytics.json.
"""

import json
import os
import sys
from pathlib import Path

os.environ["YOLO_OFFLINE"] = "true"  # before it is imported
import torch
from ultralytics import YOLO

SETTINGS = {"imgsz": 224, "batch": 32, "device": "cpu", "verbose": False}
NETWORK = """nc: 1000
backbone:
  - [-1, 1, TorchVision, [512, resnet18, None, True, 2]]
head:
  - [-1, 1, Classify, [nc]]
"""
"""Its own yolo11-cls-resnet18, without the weights that it would fetch."""


def as_splits(photos: Path, out: Path) -> Path:
    """Return a folder in which the photographs are training and validation images, by links."""
    data = out / "ultralytics"
    data.mkdir(exist_ok=True)
    for name in ("train", "val"):
        if not (data / name).exists():
            (data / name).symlink_to(photos)
    return data


def main() -> None:
    """Read the command line, answer the images, and write the answers or the top-1 accuracy."""
    verb, out, photos, threads = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
    torch.set_num_threads(int(threads))
    description = out / "yolo11-cls-resnet18.yaml"
    description.write_text(NETWORK)
    model = YOLO(str(description), task="classify", verbose=False)
    if verb == "evaluate":
        data = str(as_splits(photos, out))
        found = model.val(data=data, split="val", workers=1, plots=False, project=out, **SETTINGS)
        answers = {"top1": found.top1}
    else:
        files = str(photos / "*" / "*.jpg")
        answers = [
            {
                "image": one.path,
                "classes": one.probs.top5,
                "probabilities": one.probs.top5conf.tolist(),
            }
            for one in model.predict(files, stream=True, save=False, **SETTINGS)
        ]
    (out / "ultralytics.json").write_text(json.dumps(answers))


if __name__ == "__main__":
    main()
