"""Make the picture of nominations without and with a loss that keeps the contexts in balance.

python docs/images/make_balance.py docs/images/balance.jpg
"""

import sys

import matplotlib as mpl
import torch.nn.functional as F
from make_readme import EXAMPLES, EXPLAINED, middle
from matplotlib.patches import Patch
from PIL import Image
from torch import Tensor

import nommer
from nommer.nominations.render import CONTEXT_COLOURS, overlay

mpl.use("Agg")
from matplotlib import pyplot as plt

PHOTOGRAPHS = ("palace.jpg", "coffee.jpg", "dahlia.jpg")
MODELS = {"alone": "nommer_nano64.tiny_imagenet_200", "in balance": EXPLAINED}


def nominated(model: str, image: Image.Image) -> dict[str, Tensor]:
    """Return the context of every token of each block."""
    network = nommer.load(model)
    with nommer.NominationTrace(network, keep_maps=True) as trace:
        network.predict(image)
    return {block: trace.maps(block)[0] for block in trace.blocks}


def main() -> None:
    """Draw and save."""
    figure, axes = plt.subplots(len(PHOTOGRAPHS), 7, figsize=(12, 5.6), layout="constrained")
    for row, name in zip(axes, PHOTOGRAPHS, strict=True):
        with Image.open(EXAMPLES / name) as opened:
            image = middle(opened.convert("RGB"))
        panels = [("photograph", image)]
        for word, model in MODELS.items():
            for block, contexts in nominated(model, image).items():
                map_ = overlay(image, F.one_hot(contexts.long(), 3).float())
                panels.append((f"{word}\n{block}", map_))
        for axis, (title, picture) in zip(row, panels, strict=True):
            axis.imshow(picture)
            axis.set_axis_off()
            if name == PHOTOGRAPHS[0]:
                axis.set_title(title, fontsize=9)
    handles = [Patch(color=colour, label=name) for name, colour in CONTEXT_COLOURS.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(sys.argv[1], dpi=100, pil_kwargs={"quality": 85})


if __name__ == "__main__":
    main()
