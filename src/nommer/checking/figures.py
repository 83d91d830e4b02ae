"""Pictures of the page of `nommer check`: bars of classes."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

_MOST_BARS = 40
"""Up to this many classes have a bar each."""
_COLOURS = {"train": "#4477aa", "val": "#ee6677", "test": "#228833"}


def class_figure(names: Sequence[str], counts: Mapping[str, np.ndarray], unit: str) -> Figure:
    """A bar for each class and split; of many classes, the sorted counts as a line."""
    if len(names) > _MOST_BARS:
        figure = Figure(figsize=(7, 3), layout="constrained")
        axes = figure.subplots()
        for split, values in counts.items():
            axes.plot(np.sort(values)[::-1], label=split, color=_COLOURS[split])
        axes.set(xlabel="classes, the most frequent first", ylabel=unit)
        axes.set_ylim(bottom=0)
    else:
        figure = Figure(
            figsize=(7, 1 + 0.22 * len(names) * max(1, len(counts) * 0.6)), layout="constrained"
        )
        axes = figure.subplots()
        height = 0.8 / len(counts)
        for number, (split, values) in enumerate(counts.items()):
            axes.barh(
                np.arange(len(names)) + number * height,
                values,
                height,
                label=split,
                color=_COLOURS[split],
            )
        axes.set_yticks(
            np.arange(len(names)) + 0.4 - height / 2, [_shortened(name) for name in names]
        )
        axes.invert_yaxis()
        axes.set_xlabel(unit)
    axes.legend()
    return figure


def _shortened(name: str, most: int = 30) -> str:
    return name if len(name) <= most else f"{name[: most - 3]}..."
