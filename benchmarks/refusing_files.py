"""Compare what whole files refuse, as none of these, with what their model in PyTorch does.

    nommer export nommer_nano64.tiny_imagenet_200 --whole --data TINY --precision int8 --out int8
    python benchmarks/refusing_files.py nommer_nano64.tiny_imagenet_200 int8/model.onnx \
        --images TINY/val/images CAMVID/val BCCD/JPEGImages DSB2018/images digits

Per file and folder a line of a table: the share of the images that the model refuses, that the file
refuses, and about which both say the same, with the 95 % interval of the latter (Wilson). The limit
is the stored one. "digits" are scikit-learn's.
"""

import argparse
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.stats import binomtest
from sklearn.datasets import load_digits

import nommer
from nommer.data.image_paths import find_images
from nommer.data.images import decode
from nommer.exporting.parity import evenly
from nommer.models.whole import WholeFile

BATCH = 32


def images_of(folder: str, most: int, model: nommer.Classifier) -> Iterator[Image.Image]:
    """Yield the images in a folder, `most` of them at even steps."""
    if folder == "digits":
        found = load_digits().images
        for at in evenly(len(found), most):
            yield Image.fromarray((found[at] * 15.9).astype(np.uint8)).convert("RGB")
        return
    paths = list(find_images([folder]))
    for at in evenly(len(paths), most):
        yield decode(paths[at], model.preprocessing.reading)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--images", nargs="+", required=True, metavar="FOLDER")
    parser.add_argument("--most", type=int, default=1000, help="images of each folder")
    told = parser.parse_args()
    torch.set_num_threads(1)
    model = nommer.load(told.model)
    files = {path: WholeFile.open(path, threads=1) for path in told.files}
    print("| images | file | refused by the model | by the file | same | 95 % |")
    print("|---|---|---|---|---|---|")
    for folder in told.images:
        refused: dict[Path | None, list[bool]] = {None: [], **{path: [] for path in files}}
        shown = images_of(folder, told.most, model)
        while images := list(islice(shown, BATCH)):
            refused[None] += [one.none_of_these for one in model.predict(images)]
            for path, file in files.items():
                answers = (file.answer([("image", image)])[0] for image in images)
                refused[path] += [one.none_of_these for one in answers]
        own = np.array(refused.pop(None))
        for path, values in refused.items():
            its = np.array(values)
            same, count = int((its == own).sum()), len(own)
            low, high = binomtest(same, count).proportion_ci(method="wilson")
            precision = files[path].description.precision
            print(
                f"| {folder}, {count} | {precision} | {own.mean():.1%} | {its.mean():.1%} | "
                f"{same / count:.1%} | {low:.1%} to {high:.1%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
