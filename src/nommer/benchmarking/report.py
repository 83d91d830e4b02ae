"""Tables of what `nommer benchmark` found, in Markdown, and time per image against pixels."""

import math
from collections.abc import Mapping
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, NullLocator

from nommer.benchmarking.cases import Case
from nommer.benchmarking.results import BenchmarkResult, Measurement
from nommer.figures import save_figure

COLUMNS = (
    "model",
    "backend",
    "batch",
    "images/s",
    "ms per call (quartiles)",
    "ms per image",
    "against the peer (quartiles)",
    "peak memory, MiB",
    "share of matrix peak",
)

SHORT_COLUMNS = ("model", "backend", "batch", "images/s", "ms per image", "ratio", "MiB", "share")
"""Of these, what the screen has room for."""

_LONGEST = 40

_STYLES = {
    "eager": "-",
    "fused": "--",
    "compiled": "-.",
    "fused-compiled": ":",
    "blocks": (0, (3, 1, 1, 1, 1, 1)),
    "fused-blocks": (0, (5, 1)),
    "onnxruntime": (0, (1, 3)),
}


def to_markdown(result: BenchmarkResult, facts: Mapping[str, Any]) -> str:
    """The tables with everything that is needed to measure them again."""
    packages, settings = facts["packages"], facts["settings"]
    lines = [
        "# Benchmark",
        "",
        f"{result.device}, {facts['torch_threads']} threads, torch {packages['torch']}, timm "
        f"{packages['timm']}, "
        f"{facts['started']}",
        "",
        f"`{facts['command']}`",
        "",
        f"Medians and quartiles of up to {settings['rounds']} rounds (about "
        f"{settings['seconds']:g} s a row), in which "
        "the rows of a batch size take turns; a call is a batch, or a training step with AdamW. "
        f"Ratios are speed against {result.reference or 'no peer'} in the same backend (fused "
        "against its plain form), "
        "round by round. Peak memory: weights, the optimiser's state and what a call adds. The "
        "share is the network's "
        "multiply-accumulates (three times in training) against the fastest matrix product of the "
        "same run.",
        "",
        *_peaks(result),
        *_costs(result),
    ]
    of_table = attrgetter("case.mode", "case.precision", "case.size")
    for (mode, precision, size), rows in groupby(result.measurements, of_table):
        lines += [f"## {mode}, precision {precision}, {size} x {size}", "", *_table(COLUMNS)]
        lines += [_line(cells(row)) for row in rows] + [""]
    return "\n".join([*lines, *_growth(result)])


def cells(row: Measurement) -> list[str]:
    """One measurement as the cells of a table."""
    case = row.case
    known = [case.model, case.backend, str(case.batch)]
    if row.seconds is None:
        return [*known, row.failure or "", *[""] * (len(COLUMNS) - 4)]
    return [
        *known,
        f"{row.images_per_second:.1f}"
        if (row.images_per_second or 0) < 100
        else f"{row.images_per_second:.0f}",
        f"{_ms(row.seconds.median)} ({_ms(row.seconds.low)} to {_ms(row.seconds.high)})",
        _ms(row.seconds.median / case.batch),
        ""
        if row.ratio is None
        else f"{row.ratio.median:.2f} ({row.ratio.low:.2f} to {row.ratio.high:.2f})",
        "" if row.memory is None else f"{row.memory / 2**20:.0f}",
        "" if row.share is None else f"{row.share:.2f}",
    ]


def short_cells(row: Measurement) -> list[str]:
    """One measurement for the screen, medians alone."""
    model, backend, batch, speed, _, per_image, ratio, *rest = cells(row)
    speed = f"{speed[:_LONGEST]}…" if len(speed) > _LONGEST else speed  # why there is none
    return [model, backend, batch, speed, per_image, ratio.partition(" ")[0], *rest]


def _ms(seconds: float) -> str:
    milliseconds = 1000 * seconds
    return f"{milliseconds:.{max(0, 2 - int(math.log10(max(milliseconds, 1e-3))))}f}"


def _peaks(result: BenchmarkResult) -> list[str]:
    rows = [_line([name, f"{peak / 1e12:.3g}"]) for name, peak in result.peaks.items()]
    return [*_table(("precision", "matrix product, TFLOP/s")), *rows, ""]


def _costs(result: BenchmarkResult) -> list[str]:
    sizes = list(
        dict.fromkeys(
            key for costs in result.costs.values() for key in costs if key != "parameters"
        )
    )
    titles = [f"GMACs at {key.removeprefix('gmacs_')}" for key in sizes]
    rows = [
        _line(
            [
                name,
                f"{costs['parameters'] / 1e6:.1f}",
                *(f"{costs[key]:.3g}" if key in costs else "" for key in sizes),
            ]
        )
        for name, costs in result.costs.items()
    ]
    return [*_table(("model", "parameters, M", *titles)), *rows, ""]


def _growth(result: BenchmarkResult) -> list[str]:
    """Time per image in times of that at the smallest size, where there are several sizes."""
    curves = {name: curve for name, curve in time_by_size(result).items() if len(curve) > 1}
    if not curves:
        return []
    sizes = sorted({size for curve in curves.values() for size in curve})
    case = result.measurements[0].case
    of = f"{case.mode}, precision {case.precision}, batch {case.batch}"
    heading = f"## Time per image, in times of that at {sizes[0]} ({of})"
    lines = [heading, "", *_table(("model", "backend", *map(str, sizes)))]
    for (model, backend), curve in curves.items():
        first = curve[min(curve)]
        lines.append(
            _line(
                [
                    model,
                    backend,
                    *(f"{curve[size] / first:.1f}" if size in curve else "" for size in sizes),
                ]
            )
        )
    pixels = " / ".join(f"{(size / sizes[0]) ** 2:.1f}" for size in sizes)
    return [*lines, "", f"Pixels grow by {pixels}. See time_by_pixels.png.", ""]


def time_by_size(result: BenchmarkResult) -> dict[tuple[str, str], dict[int, float]]:
    """Return seconds per image by size, per model and backend.

    Of the first mode, precision and batch that were measured.
    """
    found: dict[tuple[str, str], dict[int, float]] = {}
    first: Case | None = result.measurements[0].case if result.measurements else None
    for row in result.measurements:
        case = row.case
        same = first and (case.mode, case.precision, case.batch) == (
            first.mode,
            first.precision,
            first.batch,
        )
        if same and row.seconds:
            found.setdefault((case.model, case.backend), {})[case.size] = (
                row.seconds.median / case.batch
            )
    return found


def save_plot(result: BenchmarkResult, path: Path) -> None:
    """Time per image against the side of the image; nothing where only one size was measured."""
    curves = {name: curve for name, curve in time_by_size(result).items() if len(curve) > 1}
    if not curves:
        return
    case = result.measurements[0].case
    figure = Figure(figsize=(8, 5))
    axes = figure.subplots()
    models = list(dict.fromkeys(model for model, _ in curves))
    for (model, backend), curve in curves.items():
        colour = f"C{models.index(model) % 10}"
        milliseconds = [1000 * seconds for seconds in curve.values()]
        style: Any = _STYLES.get(backend, "-")
        axes.plot(
            list(curve),
            milliseconds,
            linestyle=style,
            marker="o",
            color=colour,
            label=f"{model}, {backend}",
        )
    sizes = sorted({size for curve in curves.values() for size in curve})
    slowest = max(curve[min(curve)] for curve in curves.values()) * 1000
    axes.plot(
        sizes,
        [slowest * (size / sizes[0]) ** 2 for size in sizes],
        color="0.7",
        zorder=0,
        label="as the pixels grow",
    )
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="side of the image, pixels",
        ylabel="milliseconds per image",
    )
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    for which in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        which(LogFormatter(minor_thresholds=(2, 0.5)))
    axes.grid(alpha=0.3, which="both")
    axes.set_title(
        f"{case.mode}, precision {case.precision}, batch {case.batch}\n{result.device}", fontsize=10
    )
    axes.legend(fontsize=8)
    save_figure(figure, path)


def _table(columns: tuple[str, ...]) -> list[str]:
    return [_line(list(columns)), "|" + "---|" * len(columns)]


def _line(values: list[str]) -> str:
    return f"| {' | '.join(values)} |"
