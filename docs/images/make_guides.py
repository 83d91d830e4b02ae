"""Make the pictures of docs/guides from what their commands write.

Run the commands of the pages first (`runs/` and `data/` of the working folder; that of
understand.md with `--out runs/why5`), then

python docs/images/make_guides.py docs/images/guides
"""

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import onnxruntime
from make_readme import EXAMPLES, answered
from PIL import Image
from PIL.ImageOps import contain

import nommer

mpl.use("Agg")
from matplotlib import pyplot as plt

GAP = 12
COLOURS = ((236, 236, 232), (38, 65, 94), (244, 162, 89))


def beside(pictures: list[Image.Image], height: int) -> Image.Image:
    """Return pictures in a row, at one height."""
    fitted = [contain(one.convert("RGB"), (4 * height, height)) for one in pictures]
    width = sum(one.width for one in fitted) + GAP * (len(fitted) - 1)
    row, left = Image.new("RGB", (width, height), "white"), 0
    for one in fitted:
        row.paste(one, (left, 0))
        left += one.width + GAP
    return row


def coloured(labels: np.ndarray) -> Image.Image:
    """Return classes of pixels in colours."""
    return Image.fromarray(np.array(COLOURS, np.uint8)[labels]).resize((160, 160), 0)


def segmented() -> Image.Image:
    """Return two validation images of the shapes: image, truth, answer."""
    model, rows = nommer.load("runs/shapes"), []
    for name in ("000.png", "001.png"):
        image = Image.open(f"data/shapes/images/val/{name}")
        truth = np.asarray(Image.open(f"data/shapes/masks/val/{name}"))
        answer = np.asarray(model.predict(image)[0].labels)
        parts = [image.resize((160, 160), 0), coloured(truth), coloured(answer)]
        rows.append(beside(parts, 160))
    sheet = Image.new("RGB", (rows[0].width * 2 + 3 * GAP, rows[0].height), "white")
    for index, row in enumerate(rows):
        sheet.paste(row, (index * (row.width + 3 * GAP), 0))
    return sheet


def bars(target: Path) -> None:
    """Draw two starts of the same training, two seeds each; numbers of docs/results.md."""
    found = {
        "streets (CamVid), mIoU": ([26.8, 22.5], [35.5, 32.8]),
        "blood cells (BCCD), AP": ([44.1, 43.8], [50.7, 50.8]),
    }
    colours = ("#9fb3c8", "#c2571a")
    figure, axes = plt.subplots(figsize=(7, 2.6), layout="constrained")
    for row, starts in enumerate(found.values()):
        for offset, values, colour in zip((0.2, -0.2), starts, colours, strict=True):
            axes.barh(row + offset, np.mean(values), 0.36, color=colour)
            axes.plot(values, [row + offset] * 2, "o", color="#1a2e44", markersize=4)
            axes.text(max(values) + 0.8, row + offset, f"{np.mean(values):.1f} %", va="center")
    axes.set_yticks(range(len(found)), list(found))
    axes.set_xlim(0, 60)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(
        ["from nothing", "from trained weights"],
        loc="lower center",
        bbox_to_anchor=(0.4, 1),
        ncols=2,
        frameon=False,
    )
    for handle, colour in zip(axes.get_legend().legend_handles, colours, strict=True):
        handle.set(color=colour, linestyle="-", linewidth=6, marker="")
    figure.savefig(target, dpi=130)


def probabilities(target: Path) -> None:
    """Draw probabilities of all classes for the examples, in PyTorch and in the exported file."""
    model = nommer.load("nommer_nano64.tiny_imagenet_200")
    session = onnxruntime.InferenceSession("runs/exported/model.onnx")
    figure, axes = plt.subplots(figsize=(4.6, 3.4), layout="constrained")
    axes.axline((1e-5, 1e-5), (1, 1), color="#9fb3c8", linewidth=1)
    for name in ("palace.jpg", "dahlia.jpg", "cells.jpg", "nuclei.png"):
        with Image.open(EXAMPLES / name) as image:
            pixels = np.asarray(image.convert("RGB"))[None]
        theirs = session.run(["probabilities"], {"images": pixels})[0][0]
        ours = np.asarray(model.predict(EXAMPLES / name)[0].probabilities)
        axes.scatter(ours, theirs, s=7, label=name.partition(".")[0])
    axes.set(xscale="log", yscale="log", xlabel="PyTorch", ylabel="model.onnx")
    axes.set(title="probability of 200 classes", xlim=(1e-5, 1), ylim=(1e-5, 1))
    axes.legend(frameon=False, loc="upper left")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(target, dpi=130)


def main() -> None:
    """Make them all; `serve.png` is a photograph of the server's page /docs."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    default = "nommer_nano64.tiny_imagenet_200"
    cells = answered("nommer_nano.bccd", "cells.jpg")
    nuclei = answered("nommer_nano.dsb2018", "nuclei.png").resize(
        (512, 512), Image.Resampling.LANCZOS
    )
    palace, dahlia = answered(default, "palace.jpg"), answered(default, "dahlia.jpg")
    explained = Image.open("runs/why5/palace.png").convert("RGB")
    entropy = explained.crop((642, 414, 924, 696))  # of stage 1
    beside([cells, nuclei, entropy], 300).save(folder / "home.jpg", quality=85)
    beside([palace, dahlia], 400).save(folder / "classify.jpg", quality=85)
    cells.save(folder / "detect.jpg", quality=88)
    every = answered("nommer_nano.bccd", "cells.jpg", threshold=0.05)
    beside([every, cells], 330).save(folder / "trust.jpg", quality=85)
    segmented().save(folder / "segment.png", optimize=True)
    explained.quantize(192).save(folder / "understand.png", optimize=True)
    bars(folder / "fine_tune.png")
    probabilities(folder / "export.png")


if __name__ == "__main__":
    main()
