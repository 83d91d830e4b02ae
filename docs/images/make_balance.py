"""Make a picture of the nominations of several models, such as without and with balance.

python docs/images/make_balance.py docs/images/balance.jpg
python docs/images/make_balance.py docs/images/aids.jpg --models alone=runs/a balanced=runs/b
"""

import argparse

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


def panels(file: str, models: dict[str, str]) -> list[tuple[str, Image.Image]]:
    """Return a photograph and its nominations in every block of the models, each with a title."""
    with Image.open(EXAMPLES / file) as opened:
        image = middle(opened.convert("RGB"))
    found = [("photograph", image)]
    for word, model in models.items():
        for block, contexts in nominated(model, image).items():
            map_ = overlay(image, F.one_hot(contexts.long(), 3).float())
            found.append((f"{word}\n{block}", map_))
    return found


def main() -> None:
    """Draw and save."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out")
    parser.add_argument("--models", nargs="+", default=[], help="NAME=MODEL")
    told = parser.parse_args()
    models = dict(one.split("=", 1) for one in told.models) or MODELS
    rows = [panels(name, models) for name in PHOTOGRAPHS]
    size = (1.72 * len(rows[0]), 5.6)
    figure, axes = plt.subplots(len(rows), len(rows[0]), figsize=size, layout="constrained")
    for row, found in zip(axes.tolist(), rows, strict=True):
        for axis, (title, picture) in zip(row, found, strict=True):
            axis.imshow(picture)
            axis.set_axis_off()
            if found is rows[0]:
                axis.set_title(title, fontsize=9)
    handles = [Patch(color=colour, label=name) for name, colour in CONTEXT_COLOURS.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(told.out, dpi=100, pil_kwargs={"quality": 85})


if __name__ == "__main__":
    main()
