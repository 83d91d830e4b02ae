"""Measure how many images per second one core loads.

Nommer's input is compared with torchvision's and timm's, on the same files.

    python benchmarks/input_throughput.py DATA --size 64 --out RESULTS.json --plot RATES.png

All go through the same images in turns, each turn in another order; numbers are medians of the
turns. torchvision's is what `ImageFolder` does (`default_loader` and its classic transforms), with
the same transforms as nommer's; timm's is its own `create_transform` behind the same loader.
"Pillow" only opens, decodes and converts to RGB.
"""

import argparse
import json
import random
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from matplotlib.figure import Figure
from timm.data import create_transform
from torchvision import transforms
from torchvision.datasets.folder import default_loader

from nommer.data.classification import ClassificationData
from nommer.data.formats.classification import read_classification
from nommer.data.module import Loading
from nommer.data.transforms import Preprocessing
from nommer.figures import save_figure
from nommer.settings.augmentation import Augmentation

COLOURS = {"nommer": "#0072b2", "nommer --cache ram": "#56b4e9"}


def torchvision_training(augmentation, preprocessing):
    """Return the default random changes, as torchvision names them."""
    strength = augmentation.color_jitter
    return transforms.Compose(
        [
            transforms.RandomResizedCrop(
                preprocessing.image_size,
                augmentation.scale,
                augmentation.ratio,
                transforms.InterpolationMode.BICUBIC,
            ),
            transforms.RandomHorizontalFlip(augmentation.hflip),
            transforms.ColorJitter(strength, strength, strength),
            transforms.ToTensor(),
            transforms.Normalize(preprocessing.mean, preprocessing.std),
        ]
    )


def torchvision_evaluation(preprocessing):
    """Resize, crop, normalise."""
    side = int(preprocessing.image_size / preprocessing.crop_pct)
    return transforms.Compose(
        [
            transforms.Resize(side, transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(preprocessing.image_size),
            transforms.ToTensor(),
            transforms.Normalize(preprocessing.mean, preprocessing.std),
        ]
    )


def behind_loader(paths, transform):
    """As `ImageFolder` loads one image."""
    return lambda index: transform(default_loader(paths[index]))


def in_batches(dataset, *, training):
    """As workers ask for images: a batch at a time, in training each with a seed."""

    def load(indices):
        for start in range(0, len(indices), 64):
            part = indices[start : start + 64]
            dataset.__getitems__([(index, index) for index in part] if training else part)

    return load


def one_by_one(load):
    return lambda indices: [load(index) for index in indices]


def variants(samples, preprocessing, folder):
    """Pipelines that are compared, by purpose and name: each loads the images of some indices."""
    augmentation, paths = Augmentation(), [str(sample.path) for sample in samples]
    options = {"preprocessing": preprocessing, "augmentation": augmentation}
    plain = ClassificationData(
        samples, samples, loading=Loading(batch_size=64, workers=0), **options
    )
    loading = Loading(batch_size=64, workers=0, cache="ram", cache_folder=folder)
    cached = ClassificationData(samples, samples, loading=loading, **options)
    cached.prepare_data()
    cached.setup("fit")
    timms = {"mean": preprocessing.mean, "std": preprocessing.std, "interpolation": "bicubic"}
    size = preprocessing.image_size
    training = create_transform(
        size, is_training=True, scale=augmentation.scale, color_jitter=0.2, **timms
    )
    evaluating = create_transform(size, is_training=False, crop_pct=preprocessing.crop_pct, **timms)
    return {
        "decoding": {
            "Pillow": one_by_one(lambda index: default_loader(paths[index])),
            "nommer": one_by_one(plain.val.decode),
            "nommer --cache ram": one_by_one(cached.val.decoded),
        },
        "evaluation": {
            "torchvision": one_by_one(behind_loader(paths, torchvision_evaluation(preprocessing))),
            "timm": one_by_one(behind_loader(paths, evaluating)),
            "nommer": in_batches(plain.val, training=False),
            "nommer --cache ram": in_batches(cached.val, training=False),
        },
        "training": {
            "torchvision": one_by_one(
                behind_loader(paths, torchvision_training(augmentation, preprocessing))
            ),
            "timm": one_by_one(behind_loader(paths, training)),
            "nommer": in_batches(plain.train, training=True),
            "nommer --cache ram": in_batches(cached.train, training=True),
        },
    }


def measure(kinds, number, rounds):
    """Return images per second of every variant, in every round."""
    found = {purpose: {name: [] for name in loads} for purpose, loads in kinds.items()}
    turns = [(purpose, name) for purpose, loads in kinds.items() for name in loads]
    for turn in range(rounds + 1):  # the first warms up
        chance = random.Random(turn)  # noqa: S311 - no secret
        chance.shuffle(turns)
        indices = chance.sample(range(number), number)
        for purpose, name in turns:
            begun = time.perf_counter()
            kinds[purpose][name](indices)
            if turn:
                found[purpose][name].append(number / (time.perf_counter() - begun))
    return found


def plot(found, path, title):
    """Draw a bar per variant, in a panel per purpose.

    The median of the turns, and the slowest and fastest.
    """
    figure = Figure(figsize=(12, 2.6), layout="constrained")
    figure.suptitle(title, fontsize=10)
    for axes, (purpose, numbers) in zip(figure.subplots(1, len(found)), found.items(), strict=True):
        middle = [median(values) for values in numbers.values()]
        ends = [
            (mid - min(values), max(values) - mid)
            for mid, values in zip(middle, numbers.values(), strict=True)
        ]
        colours = [COLOURS.get(name, "#999999") for name in numbers]
        bars = axes.barh(
            list(numbers), middle, xerr=list(zip(*ends, strict=True)), color=colours, capsize=3
        )
        axes.bar_label(bars, [f"{value:,.0f}" for value in middle], padding=4, fontsize=8)
        axes.set_xlim(0, 1.25 * max(max(values) for values in numbers.values()))
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.locator_params(axis="x", nbins=4)
        axes.invert_yaxis()
        axes.set_xlabel("images per second and core")
        axes.set_title(purpose, fontsize=10)
    save_figure(figure, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument(
        "--size", type=int, default=64, help="side of the network's input in pixels"
    )
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, help="JSON file of all numbers")
    parser.add_argument("--plot", type=Path, help="PNG file of the rates")
    settings = parser.parse_args()
    torch.set_num_threads(1)
    samples = read_classification(settings.data).samples()
    samples = samples[:: max(1, len(samples) // settings.images)][: settings.images]
    with TemporaryDirectory() as folder:
        kinds = variants(samples, Preprocessing(image_size=settings.size), Path(folder))
        found = measure(kinds, len(samples), settings.rounds)
    print(
        f"| images per second and core, {settings.size} pixels | median | of the first "
        "|\n|---|---|---|"
    )
    for purpose, numbers in found.items():
        first = next(iter(numbers.values()))
        for name, values in numbers.items():
            ratios = [value / other for value, other in zip(values, first, strict=True)]
            print(f"| {purpose}, {name} | {median(values):,.0f} | {median(ratios):.2f} |")
    if settings.plot:
        plot(
            found,
            settings.plot,
            f"{len(samples)} images for {settings.size} x {settings.size} pixels",
        )
    if settings.out:
        settings.out.write_text(
            json.dumps({"images": len(samples), "size": settings.size, "rates": found}, indent=1)
        )


if __name__ == "__main__":
    main()
