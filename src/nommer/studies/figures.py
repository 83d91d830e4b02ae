"""Figures of a study, narrow for phones: shares with intervals, agreement, epochs, effects."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image
from torch import Tensor

from nommer.backbone.contexts import CONTEXTS
from nommer.nominations.patterns import FLAT_GROUP, QUARTERS
from nommer.nominations.render import CONTEXT_COLOURS

if TYPE_CHECKING:
    from nommer.studies.pattern import Rows

WIDTH = 5.8
"""Of figures, in inches."""

MOST_GROUPS = 20
"""Groups that are drawn, those with the most tokens or pixels."""

_MARKERS = {"convolution": "s", "window": "o", "global": "D"}


def shares_figure(
    rows: "Rows", unit: str, *, group: str = "group", contexts: Sequence[str] = CONTEXTS
) -> Figure:
    """Draw a panel per block: a line per group, with shares, intervals and probabilities.

    Args:
        rows: of one facet.
        unit: what is counted, "tokens" or "pixels".
        group: column whose values are the lines.
        contexts: that the network has.
    """
    blocks = list(dict.fromkeys(row["block"] for row in rows)) if group != "block" else [""]
    groups = shown_groups(rows, unit, group)
    columns = min(2, len(blocks))
    down = -(-len(blocks) // columns)
    figure = Figure(figsize=(WIDTH, down * (0.9 + 0.28 * len(groups)) + 0.5), layout="constrained")
    panels = figure.subplots(down, columns, squeeze=False, sharey=True, sharex=True).flatten()
    for axes, block in zip(panels, blocks, strict=False):
        of_block = {row[group]: row for row in rows if block in ("", row["block"])}
        _show_shares(axes, [of_block.get(name) for name in groups], contexts)
        axes.set_title(block, fontsize=10)
        axes.set_yticks(range(len(groups)), groups, fontsize=9)
        axes.set_ylim(len(groups) - 0.5, -0.5)
    for axes in panels[len(blocks) :]:
        axes.axis("off")
    figure.supxlabel(f"share of the {unit} (filled), mean probability (hollow)", fontsize=9)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(contexts), fontsize=9)
    return figure


def shown_groups(rows: "Rows", unit: str, group: str = "group") -> list[str]:
    """The groups that are drawn, in their order."""
    counts: dict[str, int] = {}
    for row in rows:
        counts[row[group]] = counts.get(row[group], 0) + row[unit]
    largest = sorted(counts, key=lambda name: -counts[name])[:MOST_GROUPS]
    rising = (*QUARTERS, FLAT_GROUP)  # of which the first block may lack one that others have
    return [
        name for name in (rising if counts.keys() <= set(rising) else counts) if name in largest
    ]


def _show_shares(
    axes: Axes, rows: Sequence[Mapping[str, Any] | None], contexts: Sequence[str]
) -> None:
    for offset, context in zip(np.linspace(-0.18, 0.18, len(contexts)), contexts, strict=True):
        known = [(place + offset, row) for place, row in enumerate(rows) if row is not None]
        values = np.array([row[context] for _, row in known])
        ends = [[row[f"{context}_{end}"] for _, row in known] for end in ("low", "high")]
        low, high = (
            np.where([e is None for e in end], values, np.array(end, float)) for end in ends
        )
        axes.errorbar(
            values,
            [place for place, _ in known],
            xerr=np.clip([values - low, high - values], 0, None),
            fmt=_MARKERS[context],
            color=CONTEXT_COLOURS[context],
            markersize=4,
            linewidth=1.2,
            label=context,
        )
        axes.plot(
            [row[f"probability_{context}"] for _, row in known],
            [place for place, _ in known],
            linestyle="none",
            marker=_MARKERS[context],
            markerfacecolor="none",
            markeredgecolor=CONTEXT_COLOURS[context],
            markersize=4,
        )
    axes.set(xlim=(-0.02, 1.02), xticks=[0, 0.5, 1])
    axes.grid(visible=True, axis="x", alpha=0.3)
    for line in range(1, len(rows)):
        axes.axhline(line - 0.5, color="grey", linewidth=0.4, alpha=0.5)


def epochs_figure(rows: "Rows", contexts: Sequence[str] = CONTEXTS) -> Figure:
    """Shares of the contexts that the network has over the epochs, a panel per block."""
    blocks = list(dict.fromkeys(row["block"] for row in rows))
    columns = min(2, len(blocks))
    down = -(-len(blocks) // columns)
    figure = Figure(figsize=(WIDTH, 2.4 * down + 0.4), layout="constrained")
    panels = figure.subplots(down, columns, squeeze=False, sharey=True, sharex=True).flatten()
    for axes, block in zip(panels, blocks, strict=False):
        of_block = [row for row in rows if row["block"] == block]
        for context in contexts:
            axes.plot(
                [row["epoch"] for row in of_block],
                [row[context] for row in of_block],
                color=CONTEXT_COLOURS[context],
                marker=_MARKERS[context],
                markersize=3,
                label=context,
            )
        axes.set_title(block, fontsize=10)
        axes.set(ylim=(-0.02, 1.02))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(visible=True, alpha=0.3)
    for axes in panels[len(blocks) :]:
        axes.axis("off")
    figure.supxlabel("epoch", fontsize=9)
    figure.supylabel("share of the tokens", fontsize=9)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(contexts), fontsize=9)
    return figure


def matrix_figure(
    names: Sequence[str],
    values: np.ndarray,
    *,
    columns: Sequence[str],
    label: str,
    limit: float | None = None,
) -> Figure:
    """Draw numbers as coloured cells with their value, 0 in the middle, NaN as empty cells.

    Args:
        names: of the rows.
        values: (rows, columns).
        columns: their names.
        label: what the colours are.
        limit: size of the numbers at either end of the colours, by default the largest.
    """
    figure = Figure(figsize=(WIDTH, 1.3 + 0.42 * len(names)), layout="constrained")
    axes = figure.subplots()
    limit = limit or (float(np.nanmax(np.abs(values))) if np.isfinite(values).any() else 0.0) or 1.0
    shown = axes.imshow(values, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto")
    axes.set_xticks(
        range(len(columns)), columns, fontsize=9, rotation=30 if len(columns) > 4 else 0
    )
    axes.set_yticks(range(len(names)), names, fontsize=9)
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            dark = abs(value) > 0.6 * limit
            axes.text(
                column,
                row,
                f"{value:+.3f}",
                ha="center",
                va="center",
                fontsize=8,
                color="white" if dark else "black",
            )
    figure.colorbar(shown, ax=axes, label=label)
    return figure


def curves_figure(rows: "Rows") -> Figure:
    """Draw deletion and insertion: the mean probability of the answers over the share of cells."""
    figure = Figure(figsize=(WIDTH, 3.9), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    orders = list(dict.fromkeys(row["order"] for row in rows))
    for axes, (way, done) in zip(
        panels, (("deletion", "deleted"), ("insertion", "inserted")), strict=True
    ):
        for number, order in enumerate(orders):
            of_order = [row for row in rows if (row["order"], row["way"]) == (order, way)]
            axes.plot(
                [row["share_of_cells"] for row in of_order],
                [row["probability"] for row in of_order],
                color=f"C{number}",
                linestyle=("-", "--", ":", "-.")[number % 4],
                label=order,
            )
        axes.set_title(way, fontsize=10)
        axes.set(xlabel=f"share of cells {done}", ylim=(0, 1))
        axes.grid(visible=True, alpha=0.3)
    panels[0].set_ylabel("probability of the answer")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=9)
    return figure


def sensitivity_figure(pictures: Sequence[tuple[Image.Image, Tensor, str]]) -> Figure:
    """Draw images under their sensitivity: (image, (cells, cells) drop of probability, caption)."""
    columns = min(3, len(pictures))
    rows = -(-len(pictures) // columns)
    side = 1.55 if len(pictures) > 1 else 4.0
    figure = Figure(figsize=(1.2 + side * columns, 0.2 + (side + 0.3) * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    limit = max(float(map_.abs().max()) for _, map_, _ in pictures) or 1.0
    shown: Any = None
    for axes in panels:
        axes.axis("off")
    for axes, (image, map_, caption) in zip(panels, pictures, strict=False):
        axes.imshow(image.convert("L"), cmap="gray", extent=(0, 1, 0, 1))
        shown = axes.imshow(
            map_.numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit, alpha=0.6, extent=(0, 1, 0, 1)
        )
        axes.set_title(caption, fontsize=8)
    figure.colorbar(shown, ax=list(panels), label="less probable by", shrink=0.7)
    return figure
