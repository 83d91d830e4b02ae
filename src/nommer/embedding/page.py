"""A page to look through vectors: a map of all, and the nearest neighbours of some."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from PIL import Image, ImageOps

from nommer.data.images import ImageError, decode
from nommer.embedding.neighbours import Neighbours, names_of, on_a_map
from nommer.embedding.vectors import Place, Vectors, whole_pixels
from nommer.report import Page
from nommer.settings.pixel_range import Reading

_SIDE = 112
"""Of the pictures of a row, in pixels."""

_ROWS = 24
"""Vectors whose neighbours are shown."""

_FEW_COLOURS, _MOST_COLOURS = 10, 20
"""Classes up to which one set of colours is told apart well, and another one at all."""


def write_page(
    known: Vectors,
    asked: Vectors,
    found: Neighbours,
    numbers: Mapping[str, Any],
    path: Path,
    *,
    method: str,
    reading: Reading,
) -> None:
    """Write the page, one file that needs no network."""
    page = Page("Vectors", summary=f"{len(known.places):,} vectors of {numbers['width']} numbers.")
    page.table(["", "value"], [[k, v] for k, v in numbers.items()], caption="What was computed.")
    page.section("Map", f"Each dot is a vector; near ones are alike ({method}).")
    page.figure(_map(known, method), caption="All vectors.", alt="a dot for every vector")
    page.section(
        "Nearest neighbours",
        "First what is asked about, then its neighbours by falling cosine; labels are of the data.",
    )
    for row in _spread(len(asked.places)):
        pairs = list(zip(found.indices[row].tolist(), found.cosines[row].tolist(), strict=True))
        if not pairs:
            continue
        places = [asked.places[row], *(known.places[index] for index, _ in pairs)]
        told = ", ".join(f"{_name(known.places[index])} {cosine:.3f}" for index, cosine in pairs)
        caption = f"{_name(asked.places[row])}: {told}"
        page.picture(_strip(places, reading), caption=caption, alt=caption)
    page.save(path)


def _spread(count: int) -> list[int]:
    """Return some of so many, evenly."""
    return sorted(set(np.linspace(0, count - 1, min(count, _ROWS)).round().astype(int).tolist()))


def _name(place: Place) -> str:
    return f"{Path(place.source).name} ({place.label})" if place.label else Path(place.source).name


def _strip(places: list[Place], reading: Reading) -> Image.Image:
    """Pictures of places in a row, the first with a frame."""
    strip = Image.new("RGB", (len(places) * (_SIDE + 6), _SIDE + 6), "white")
    for number, place in enumerate(places):
        try:
            image = decode(place.source, reading)
        except ImageError:
            continue
        shown = image.crop(whole_pixels(place.box, image.size)) if place.box else image
        shown = ImageOps.contain(shown, (_SIDE, _SIDE), Image.Resampling.BILINEAR)
        framed = ImageOps.expand(shown, 3, "black" if number == 0 else "white")
        strip.paste(framed, (number * (_SIDE + 6), 0))
    return strip


def _map(vectors: Vectors, method: str) -> Figure:
    places, labels = on_a_map(vectors, method), [place.label for place in vectors.places]
    figure = Figure(figsize=(7, 5.5), layout="constrained")
    axes = figure.add_subplot()
    names = names_of(vectors)
    coloured = names if len(names) <= _MOST_COLOURS else [""]
    palette = colormaps["tab20" if len(coloured) > _FEW_COLOURS else "tab10"]
    for name, colour in zip(coloured, palette(np.arange(len(coloured))), strict=True):
        inside = np.array([len(coloured) == 1 or label == name for label in labels], bool)
        x, y = places[inside].T
        axes.scatter(x, y, s=9, label=name or None, alpha=0.8, color=colour)
    if len(coloured) > 1:
        axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.set_xticks([])
    axes.set_yticks([])
    return figure
