"""Real images that come with a dependency: scikit-learn's handwritten digits, as class folders."""

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

SCALE = 4
"""The 8 x 8 scans are enlarged to 32 x 32 pixels, the least that the network takes."""


def write_digits(folder: Path, *, held_back: int = 360, seed: int = 0) -> Path:
    """Write the 1,797 scanned digits as `folder/train/DIGIT/*.png` and `folder/val/DIGIT/*.png`.

    Source: `sklearn.datasets.load_digits`, the test part of the UCI "Optical recognition of
    handwritten digits" data (E. Alpaydin, C. Kaynak, 1998; CC BY 4.0). Pixel values 0-16 become
    0-255.

    Args:
        folder: where to write; made if need be.
        held_back: images of "val", stratified by class.
        seed: of that choice.
    """
    digits = load_digits()
    pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)
    _, val = train_test_split(
        np.arange(len(pixels)), test_size=held_back, stratify=digits.target, random_state=seed
    )
    held = set(val.tolist())
    for index, (image, label) in enumerate(zip(pixels, digits.target, strict=True)):
        target = folder / ("val" if index in held else "train") / str(label) / f"{index:04d}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        enlarged = Image.fromarray(image).resize((8 * SCALE, 8 * SCALE), Image.Resampling.BICUBIC)
        enlarged.save(target)
    return folder
