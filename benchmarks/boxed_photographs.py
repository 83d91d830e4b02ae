"""Tell what classifiers nominate in objects and beside them, by texture, and whether it matters.

    python benchmarks/boxed_photographs.py TINY --models nommer_nano64.tiny_imagenet_200 \\
        nommer_nano64.tiny_imagenet_200_balanced

TINY is the folder with val.tar.gz, whose annotations have a box of the object of every image.
`nommer explain` reads photographs in class folders, without boxes; this gives the tables that it
makes of boxed objects (`nommer.nominations.patterns`), and top-1 where one context is nominated
everywhere, and where each is drawn by its scores as in training, of the first images of every class
that the model knows (--of-class). Brackets are 95 % intervals over images, those of changes paired.
Before them stands how many tokens nominate what most tokens at their place do in all images, beside
what the most nominated context has: where the two differ, nominations follow the place in the
image.
"""

import argparse
import io
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

import nommer
from nommer.backbone.config import CONTEXTS
from nommer.intervals import mean_with_interval
from nommer.nominations.cells import block_strides, cells_of
from nommer.nominations.intervention import intervene
from nommer.nominations.patterns import QUARTERS, Facet, Pattern
from nommer.nominations.regions import PARTS, SIDED_DISTANCES, sided_distance_group
from nommer.nominations.texture import grey
from nommer.nominations.trace import NominationTrace

BATCH = 100
SHOWN = (QUARTERS[0], QUARTERS[-1], *PARTS, "inside, under 1", "outside, under 1")


@dataclass(frozen=True)
class Boxed:
    """An image with its class's WordNet id and the box of its object."""

    image: Image.Image
    wnid: str
    box: tuple[int, ...]
    """Left, top, right, bottom in pixels, ends inside."""

    def owner(self) -> np.ndarray:
        """Return 0 in the object and 1 beside it, (H, W)."""
        left, top, right, bottom = self.box
        found = np.ones(self.image.size[::-1], np.int32)
        found[top : bottom + 1, left : right + 1] = 0
        return found


def boxed_images(archive: Path, of_class: int) -> list[Boxed]:
    """Return the first images of each class in the order of the annotations."""
    with tarfile.open(archive) as opened:
        files = {
            Path(member.name).name: opened.extractfile(member).read()
            for member in opened
            if member.isfile()
        }
    seen: Counter[str] = Counter()
    found = []
    for row in files["val_annotations.txt"].decode().splitlines():
        name, wnid, *box = row.split()
        seen[wnid] += 1
        if seen[wnid] <= of_class:
            image = Image.open(io.BytesIO(files[name])).convert("RGB")
            found.append(Boxed(image, wnid, tuple(int(side) for side in box)))
    return found


def batches(model: Any, images: Sequence[Boxed]) -> Iterator[tuple[Sequence[Boxed], torch.Tensor]]:
    """Yield images with what the network is given."""
    for begin in range(0, len(images), BATCH):
        some = images[begin : begin + BATCH]
        yield some, torch.stack([model.preprocessing(one.image) for one in some])


@torch.inference_mode()
def right(model: Any, images: Sequence[Boxed]) -> np.ndarray:
    """Return 1 for every image that is answered rightly, else 0."""
    found = [
        model.class_ids[place] == one.wnid
        for some, given in batches(model, images)
        for one, place in zip(some, model.backbone(given).argmax(1).tolist(), strict=True)
    ]
    return np.array(found, float)


@torch.inference_mode()
def observe(model: Any, images: Sequence[Boxed]) -> Pattern:
    """Return the pattern of nominations by texture, part and distance from the box's border."""
    strides = block_strides(model.backbone)
    facets = (Facet("part", PARTS), Facet("distance", SIDED_DISTANCES))
    pattern = Pattern(list(strides), facets)
    for some, given in batches(model, images):
        with NominationTrace(model, keep_maps=True) as trace:
            model.backbone(given)
        for place, one in enumerate(some):
            size = (given.shape[-2], given.shape[-1])
            brightness = grey(model.preprocessing.denormalise(given[place]).numpy())
            owner = one.owner()
            groups = {
                "part": owner,
                "distance": sided_distance_group(owner, 1, min(strides.values())),
            }
            pattern.add(cells_of(trace, place, size, strides), brightness, groups)
    return pattern


@torch.inference_mode()
def tell_places(model: Any, images: Sequence[Boxed]) -> None:
    """Print how far the place of a token alone tells its nomination, per block."""
    counts: dict[str, torch.Tensor] = {}
    for _, given in batches(model, images):
        with NominationTrace(model, keep_maps=True) as trace:
            model.backbone(given)
        for block in trace.blocks:
            found = F.one_hot(trace.maps(block).long(), len(CONTEXTS)).sum(0)
            counts[block] = counts.get(block, 0) + found
    for block, at_place in counts.items():
        by_place = at_place.amax(-1).sum() / at_place.sum()
        overall = at_place.sum((0, 1)).amax() / at_place.sum()
        print(f"  {block}: {by_place:.1%} as most at their place, {overall:.1%} as most of all")


def share(row: dict[str, Any], name: str) -> str:
    """Write a share with its interval, in per cent."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return f"{row[name]:.1%} [{100 * low:.1f}, {100 * high:.1f}]"


def tell_pattern(model: str, pattern: Pattern) -> None:
    rows = [{"group": "all", **row} for row in pattern.overall()]
    for more in (pattern.by_gradient(), pattern.by("part"), pattern.by("distance")):
        rows += [row for row in more if row["group"] in SHOWN]
    for row in rows:
        cells = " | ".join(share(row, name) for name in CONTEXTS)
        print(f"| {model} | {row['block']} | {row['group']} | {cells} |")


def tell_forced(name: str, model: Any, images: Sequence[Boxed]) -> None:
    as_it_is = right(model, images)
    print(f"{name}: top-1 of {len(images)} images {as_it_is.mean():.1%}; forced")
    for context in (*CONTEXTS, "sampled"):
        with intervene(model, context):
            forced = right(model, images)
        mean, low, high = (100 * part for part in mean_with_interval(forced - as_it_is, seed=0))
        print(f"  {context}: {forced.mean():.1%}, {mean:+.1f} points [{low:.1f}, {high:.1f}]")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("--models", nargs="+", required=True)
    parser.add_argument("--of-class", type=int, default=5, help="images of each class")
    told = parser.parse_args(arguments)
    torch.set_num_threads(1)
    boxed = boxed_images(told.source / "val.tar.gz", told.of_class)
    for name in told.models:
        model = nommer.fuse(nommer.load(name))
        images = [one for one in boxed if one.wnid in model.class_ids]
        tell_forced(name, model, images)
        tell_places(model, images)
        print(f"\n| model | block | where | {' | '.join(CONTEXTS)} |\n|---|---|---|---|---|---|")
        tell_pattern(name, observe(model, images))
        print(flush=True)


if __name__ == "__main__":
    main()
