"""Pictures of a run: curves, confusion, calibration, batches and predictions."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image
from torch import Tensor

from nommer.backbone.contexts import CONTEXTS
from nommer.figures import save_figure
from nommer.nominations.render import CONTEXT_COLOURS

_MOST_LABELLED = 40
"""Up to this many classes the confusion matrix shows their names."""

_MOST_CURVES = 20
"""Up to this many classes get a precision-recall curve of their own."""


def plot_curves(
    history: Sequence[Mapping[str, Any]], curves: Mapping[str, str], path: Path
) -> None:
    """Draw loss, the validation's numbers that `curves` names, and learning rate.

    `curves` maps names on the plot to names in the history.
    """
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    loss, scores, rate = figure.subplots(1, 3)
    epochs = [row["epoch"] for row in history]
    for axes, title, lines in (
        (loss, "loss", {"training": "train_loss", "validation": "val_loss"}),
        (scores, "validation", {label: f"val_{name}" for label, name in curves.items()}),
        (rate, "learning rate", {"at the end of the epoch": "lr"}),
    ):
        for label, key in lines.items():
            values = [row.get(key) for row in history]
            if any(value is not None for value in values):
                axes.plot(epochs, values, label=label, marker="." if len(epochs) < 30 else "")
        axes.set(title=title, xlabel="epoch")
        axes.grid(visible=True, alpha=0.3)
        axes.legend()
    save_figure(figure, path)


def plot_nominations(
    history: Sequence[Mapping[str, Any]], path: Path, *, contexts: Sequence[str] = CONTEXTS
) -> None:
    """Draw the share of each context, per nominator block over the epochs.

    On the validation images, of the contexts that the network has.
    """
    blocks = list(dict.fromkeys(row["block"] for row in history))
    figure = Figure(figsize=(3.6 * max(2, len(blocks)), 3.4))
    for axes, block in zip(
        figure.subplots(1, len(blocks), squeeze=False, sharey=True)[0], blocks, strict=True
    ):
        rows = [row for row in history if row["block"] == block]
        epochs = [row["epoch"] for row in rows]
        stacked = [[float(row[context]) for row in rows] for context in contexts]
        if len(epochs) == 1:
            epochs, stacked = [epochs[0] - 0.5, epochs[0] + 0.5], [values * 2 for values in stacked]
        axes.stackplot(
            epochs, stacked, labels=contexts, colors=[CONTEXT_COLOURS[c] for c in contexts]
        )
        axes.set(title=block, xlabel="epoch", ylim=(0, 1), xlim=(epochs[0], epochs[-1]))
    figure.axes[0].set_ylabel("share of tokens")
    figure.axes[-1].legend(loc="upper left", bbox_to_anchor=(1.02, 1), title="nominated context")
    save_figure(figure, path)


def plot_confusion(
    confusion: Tensor, names: Sequence[str], path: Path, *, in_percent: bool = False
) -> None:
    """Rows true, columns predicted.

    Colour is the share of the row, the numbers are counts, or shares in per cent.
    """
    counts = confusion.numpy()
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = 4 + 0.3 * min(len(names), _MOST_LABELLED)
    figure = Figure(figsize=(side + 1, side))
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="true", title="confusion matrix")
    if len(names) <= _MOST_LABELLED:
        axes.set_xticks(range(len(names)), names, rotation=90 if max(map(len, names)) > 3 else 0)
        axes.set_yticks(range(len(names)), names)
        _write_counts(axes, np.round(100 * shares).astype(int) if in_percent else counts, shares)
    figure.colorbar(image, ax=axes, label="share of the true class", fraction=0.046)
    save_figure(figure, path)


def _write_counts(axes: Axes, counts: np.ndarray, shares: np.ndarray) -> None:
    for row, column in zip(*counts.nonzero(), strict=True):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(
            column,
            row,
            str(counts[row, column]),
            ha="center",
            va="center",
            color=colour,
            fontsize=8,
        )


def plot_calibration(
    answers: Mapping[str, tuple[Tensor, Tensor]],
    path: Path,
    *,
    bins: int = 15,
    unit: str = "images",
) -> None:
    """Reliability diagram: share of right answers against their probability, in equal bins.

    Calibrated answers lie on the diagonal.

    Args:
        answers: by name, probabilities (n,) and whether each is right, (n,) bool.
        path: of the picture.
        bins: how many.
        unit: name of the n.
    """
    figure = Figure(figsize=(4.6, 5.4))
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], color="grey", linestyle="--", label="as likely as it says")
    centres, shift = (np.arange(bins) + 0.5) / bins, 0.9 / bins / len(answers)
    for number, (name, (probability, right)) in enumerate(answers.items()):
        confidence = probability.double().numpy()
        which = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
        counts = np.bincount(which, minlength=bins)
        share = np.bincount(which, weights=right.numpy(), minlength=bins) / np.maximum(counts, 1)
        places = centres + shift * (number - (len(answers) - 1) / 2)
        upper.bar(places[counts > 0], share[counts > 0], width=shift, label=name)
        lower.bar(places, counts, width=shift)
    upper.set(ylabel="share of right answers", ylim=(0, 1), title="calibration")
    upper.legend()
    lower.set(xlabel="probability of the answer", ylabel=unit, xlim=(0, 1))
    save_figure(figure, path)


def plot_risk_coverage(risk: np.ndarray, area: float, path: Path, *, unit: str) -> None:
    """Draw the share of mistakes among the surest answers, over how many these are.

    Args:
        risk: (n,) among the surest 1, 2, ..., n.
        area: its mean.
        path: of the picture.
        unit: what is answered, in the plural.
    """
    figure = Figure(figsize=(5.2, 3.8), layout="constrained")
    axes = figure.subplots()
    axes.plot(np.arange(1, len(risk) + 1) / len(risk), risk, label=f"area (AURC) {area:.3f}")
    axes.axhline(risk[-1], color="grey", linestyle="--", linewidth=1, label="by chance")
    axes.set(xlabel=f"share of {unit} answered, the surest first", ylabel="share of mistakes")
    axes.set(xlim=(0, 1), ylim=(0, None), title="risk over coverage")
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    save_figure(figure, path)


def plot_grid(
    pictures: Sequence[tuple[Image.Image, str, bool]], path: Path, *, columns: int = 8
) -> None:
    """Pictures with a caption each; the caption of a mistake (third entry False) is red."""
    rows = -(-len(pictures) // columns)
    figure, axes = _sheet(rows, columns, cell=(1.7, 2.0))
    for index, (picture, caption, correct) in enumerate(pictures):
        colour = "black" if correct else "#c00000"
        centre = (1.7 * (index % columns + 0.5), 2.0 * (index // columns) + 1.2)
        _place(axes, picture, caption, centre, (1.5, 1.5), fontsize=8, color=colour)
    save_figure(figure, path)


def _sheet(rows: int, columns: int, *, cell: tuple[float, float]) -> tuple[Figure, Axes]:
    """A figure with one pair of axes in inches, downwards.

    Axes for each picture take many times as long to draw.
    """
    width, height = columns * cell[0], rows * cell[1]
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    axes.axis("off")
    return figure, axes


def _place(
    axes: Axes,
    picture: Image.Image,
    caption: str,
    centre: tuple[float, float],
    most: tuple[float, float],
    **text: Any,
) -> None:
    """Draw a picture around `centre`, at most as large as `most`, and its caption above."""
    scale = min(most[0] / picture.width, most[1] / picture.height) / 2
    (x, y), across, down = centre, scale * picture.width, scale * picture.height
    axes.imshow(picture, extent=(x - across, x + across, y + down, y - down))
    axes.text(x, y - down - 0.06, caption, ha="center", va="bottom", **text)


def plot_bars(
    values: Mapping[str, float | None],
    colours: Sequence[tuple[int, int, int]],
    mean: float,
    path: Path,
) -> None:
    """IoU per class as bars in the classes' colours, with the mean as a line.

    N/a where a class does not occur.
    """
    figure = Figure(figsize=(6.5, 1.2 + 0.28 * len(values)), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(
        list(values), [value or 0.0 for value in values.values()], edgecolor="grey", linewidth=0.5
    )
    for bar, colour in zip(bars, colours, strict=True):
        bar.set_facecolor(_as_rgb(colour))
    axes.bar_label(
        bars, ["n/a" if value is None else f"{value:.1%}" for value in values.values()], padding=3
    )
    axes.axvline(
        mean, color="grey", linestyle="--", linewidth=1, zorder=0, label=f"mean {mean:.1%}"
    )
    axes.set(xlim=(0, 1.12), xlabel="intersection over union", title="IoU per class")
    axes.invert_yaxis()
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12 - 0.6 / len(values)), frameon=False)
    save_figure(figure, path)


def shortened(caption: str, most: int = 46) -> str:
    """A caption that fits over its picture: of a longer one, the middle is left out."""
    return (
        caption
        if len(caption) <= most
        else f"{caption[: most // 3]}…{caption[1 - most + most // 3 :]}"
    )


def plot_rows(
    rows: Sequence[Sequence[tuple[Image.Image, str]]],
    path: Path,
    *,
    legend: Mapping[str, tuple[int, int, int]] | None = None,
) -> None:
    """Rows of pictures with a caption each, and under them what the colours of masks mean."""
    columns = max((len(row) for row in rows), default=1)
    figure, axes = _sheet(max(1, len(rows)), columns, cell=(3.6, 3.0))
    for number, row in enumerate(rows):
        for column, (picture, caption) in enumerate(row):
            centre = (3.6 * (column + 0.5), 3.0 * number + 1.65)
            _place(axes, picture.convert("RGB"), shortened(caption), centre, (3.4, 2.6), fontsize=9)
    if legend:
        patches = [
            Patch(facecolor=_as_rgb(colour), edgecolor="grey", label=name)
            for name, colour in list(legend.items())[:_MOST_LABELLED]
        ]
        columns = min(6, len(patches))
        figure.legend(
            handles=patches, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=columns, fontsize=9
        )
    save_figure(figure, path)


def plot_precision_recall(
    precision: np.ndarray, names: Sequence[str], path: Path, *, title: str = "boxes at IoU 0.5"
) -> None:
    """Draw precision over recall of each class and their mean.

    (101, classes), with -1 where a class does not occur.
    """
    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    axes = figure.subplots()
    recall = np.linspace(0, 1, len(precision))
    occurring = [label for label in range(len(names)) if precision[:, label].max() > -1]
    for label in occurring[:_MOST_CURVES]:
        axes.plot(recall, precision[:, label], linewidth=1, label=names[label])
    if occurring:
        mean = precision[:, occurring].mean(1)
        axes.plot(recall, mean, color="black", linewidth=2, label="mean of the classes")
        axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1))
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02), title=title)
    axes.grid(visible=True, alpha=0.3)
    save_figure(figure, path)


def _as_rgb(colour: tuple[int, int, int]) -> tuple[float, float, float]:
    """Return a colour of 0 to 255 as matplotlib takes it."""
    red, green, blue = colour
    return red / 255, green / 255, blue / 255
