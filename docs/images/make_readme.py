"""Make the README's picture: examples with the answers of the zoo, and maps of nominations.

python docs/images/make_readme.py docs/images/readme.jpg
"""

import sys
from pathlib import Path

import matplotlib as mpl
import torch.nn.functional as F
from matplotlib.patches import Patch
from PIL import Image
from torch import Tensor

import nommer
from nommer.nominations.render import CONTEXT_COLOURS, overlay

mpl.use("Agg")
from matplotlib import pyplot as plt

EXAMPLES = Path("docs/images/examples")
EXPLAINED = "nommer_nano64.tiny_imagenet_200_balanced"
BLOCKS = ("stage 1 block 1", "stage 2 block 1")


def answered(model: str, name: str, **options: float) -> Image.Image:
    """Return a picture of the examples with the answers of a model."""
    (answer,) = nommer.load(model).predict(EXAMPLES / name, **options)
    with Image.open(EXAMPLES / name) as image:
        return answer.plot(image.convert("RGB"))


def middle(image: Image.Image) -> Image.Image:
    """Return the middle square."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def explained(name: str) -> tuple[Image.Image, str, dict[str, Tensor]]:
    """Return a photograph, the answer, and the context of every token of each block."""
    model = nommer.load(EXPLAINED)
    with Image.open(EXAMPLES / name) as opened:
        image = middle(opened.convert("RGB"))
    with nommer.NominationTrace(model, keep_maps=True) as trace:
        (answer,) = model.predict(image)
    first = answer.top(1)[0]
    told = f"{first[0]} {first[1]:.0%}"
    maps = {block: trace.maps(block)[0] for block in BLOCKS}
    return image, told, maps


def main() -> None:
    """Draw and save."""
    image, told, maps = explained("coffee.jpg")
    panels = [(image, told)]
    panels += [
        (overlay(image, F.one_hot(contexts.long(), 3).float()), f"nominated, {block}")
        for block, contexts in maps.items()
    ]
    panels += [
        (middle(answered("nommer_nano.bccd", "cells.jpg")), "blood cells"),
        (middle(answered("nommer_nano.dsb2018", "nuclei.png")), "nuclei"),
    ]
    figure, axes = plt.subplots(1, len(panels), figsize=(12, 3.1), layout="constrained")
    for axis, (picture, title) in zip(axes, panels, strict=True):
        axis.imshow(picture)
        axis.set_title(title, fontsize=11)
        axis.set_axis_off()
    handles = [Patch(color=colour, label=name) for name, colour in CONTEXT_COLOURS.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=10)
    figure.savefig(sys.argv[1], dpi=110, pil_kwargs={"quality": 88})


if __name__ == "__main__":
    main()
