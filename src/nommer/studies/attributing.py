"""Explaining images with networks that nominate nothing, or were exported: attribution alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from nommer.figures import save_figure
from nommer.models.recogniser import Recogniser, open_source
from nommer.nominations.attribution import Attribution, attribute
from nommer.nominations.explanation import ExplanationSummary
from nommer.nominations.render import visible
from nommer.predictions import Failure
from nommer.predictions.failure import NOT_FINITE
from nommer.progress import track
from nommer.tasks.names import unique_names


def attribute_files(
    model: Recogniser, paths: Sequence[Path], folder: Path
) -> tuple[list[ExplanationSummary | Failure], list[dict[str, Any]]]:
    """Draw the attribution of every image, and return summaries and plain values."""
    results: list[ExplanationSummary | Failure] = []
    written = []
    named = zip(unique_names(paths), paths, strict=True)
    for name, path in track(named, total=len(paths), what="explaining"):
        image = open_source(path, model.preprocessing.reading)
        if isinstance(image, Failure):
            failed = image
        elif (answer := model.answer(model.view(image), str(path))) is None:
            failed = Failure(str(path), NOT_FINITE)
        else:
            summary, told = _attributed(model, image, answer.sure(), folder / f"{name}.png")
            results.append(summary)
            written.append(told)
            continue
        results.append(failed)
        written.append(failed.to_dict())
    return results, written


def _attributed(
    model: Recogniser, image: Image.Image, answer: Any, out: Path
) -> tuple[ExplanationSummary, dict[str, Any]]:
    found = attribute(model, image, answer)
    title = answer.title(Path(answer.source).name)
    save_figure(attribution_figure(image, found, title=title), out)
    told = answer.to_dict() | {"attribution": found.to_dict()}
    return ExplanationSummary(answer.summary(), {}, {}), told


def attribution_figure(image: Image.Image, found: Attribution, *, title: str) -> Figure:
    """Draw the image beside its attribution."""
    box = tuple(round(end) for end in found.frame.box)
    seen = visible(image.crop((box[0], box[1], box[2], box[3])))
    figure = Figure(figsize=(7.4, 3.9), layout="constrained")
    panels = figure.subplots(1, 2)
    most = max(float(np.abs(found.values).max()), 1e-12)
    for panel, name in zip(panels, ("image", "attribution"), strict=True):
        panel.set(xticks=[], yticks=[])
        panel.set_title(name, fontsize=10)
    panels[0].imshow(seen)
    panels[1].imshow(seen.convert("L"), cmap="gray", vmin=0, vmax=255)
    extent = (-0.5, seen.width - 0.5, seen.height - 0.5, -0.5)
    drawn = panels[1].imshow(
        found.values, cmap="PuOr_r", vmin=-most, vmax=most, alpha=0.6, extent=extent
    )
    bar = figure.colorbar(drawn, ax=panels[1], ticks=[-most, 0, most], shrink=0.85)
    bar.ax.set_yticklabels(["against", "0", "for"], fontsize=9)
    figure.supxlabel(
        f"{found.method} of {found.target}\nnothing nominates in this network", fontsize=9
    )
    figure.suptitle(title, fontsize=11)
    return figure
