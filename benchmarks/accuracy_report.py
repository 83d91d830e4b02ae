"""The table and the plots of `accuracy.py`."""

import statistics
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from runs import spread

TAUGHT = ", taught"
"""Behind the name of a network that had a teacher."""


def as_table(rows: list[dict]) -> str:
    """Return the rows as Markdown, the best first."""
    taught = {row["name"].removesuffix(TAUGHT): row for row in rows if is_taught(row)}
    lines = [
        "| network | parameters | GMACs | images/s, inference | images/s, training | top-1 | last "
        "epoch | top-5 |" + (" top-1 with the teacher |" if taught else "")
    ]
    lines.append("|" + "---|" * (9 if taught else 8))
    plain = [row for row in rows if not is_taught(row)]
    for row in sorted(plain, key=lambda row: -statistics.mean(tops(row))):
        seeds = list(row["seeds"].values())
        best, last = spread([s["top1"] for s in seeds]), spread([s["curve"][-1] for s in seeds])
        top5 = spread([seed["top5"] for seed in seeds]) if seeds[0]["top5"] is not None else "n/a"
        costs = f"{row['parameters'] / 1e6:.2f} M | {row['giga_macs']:.2f}"
        speeds = [
            f"{row[name]:,.0f}" if name in row else ""
            for name in ("inferred_per_second", "trained_per_second")
        ]
        line = (
            f"| {row['name']} ({len(seeds)}) | {costs} | {' | '.join(speeds)} | {best} | {last} | "
            f"{top5} |"
        )
        if taught:
            other = tops(taught[row["name"]]) if row["name"] in taught else []
            line += f" {spread(other)} ({len(other)}) |" if other else "  |"
        lines.append(line)
    return "\n".join(lines) + "\n"


def is_taught(row: dict) -> bool:
    """True for a network that had a teacher."""
    return row["name"].endswith(TAUGHT)


def tops(row: dict) -> list[float]:
    """Return the top-1 of every seed."""
    return [seed["top1"] for seed in row["seeds"].values()]


def describe(rows: list[dict]) -> str:
    """Return the origin of the numbers of the table."""
    row = rows[0]
    steps = round(row["steps"] / row["epochs"])
    packages = ", ".join(
        f"{name} {row['environment']['packages'][name]}" for name in ("nommer", "torch", "timm")
    )
    size = row["image_size"]
    return (
        f"{size} x {size}, {row['epochs']} epochs of {steps} steps of {row['batch_size']} images, "
        f"{row['precision']}, "
        f"{machines(rows)}, {packages}; in brackets the number of seeds; top-1 and top-5 of the "
        "best epoch; speed "
        f"{'on ' + row['measured_on'] if 'measured_on' in row else 'not measured'}."
    )


def machines(rows: list[dict]) -> str:
    """Name the machines that the runs were trained on."""
    return " and ".join(
        dict.fromkeys(seed["machine"] for row in rows for seed in row["seeds"].values())
    )


def draw(rows: list[dict], out: Path) -> None:
    """Draw accuracy against multiply-accumulates, against time of inference, and over the time of
    training.

    NomMers are stars and whole lines, other networks squares and broken lines; bars are standard
    deviations over seeds.
    """
    figure = Figure(figsize=(16, 5.4), layout="constrained")
    panels = left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1, 1.2))
    macs = {row["name"]: row["giga_macs"] for row in rows}
    milliseconds = {row["name"]: 1000 / row["inferred_per_second"] for row in rows}
    draw_points(left, macs, rows, "GMACs per image")
    draw_points(middle, milliseconds, rows, "inference, ms per image")
    draw_curves(right, rows)
    for panel in panels:
        panel.grid(visible=True, alpha=0.3)
    trained = f"{rows[0]['precision']} on {machines(rows)}"
    figure.suptitle(
        f"trained in {trained}; times are those of {rows[0]['measured_on']}", fontsize=10
    )
    figure.savefig(out, dpi=110)


def is_ours(row: dict) -> bool:
    """True for a NomMer."""
    return "timm:" not in row["arguments"]


def marked(number: int, row: dict) -> dict:
    """Return the colour and the marker of a network."""
    ours = is_ours(row)
    return {
        "color": f"C{number % 10}",
        "marker": "*" if ours else "s",
        "markersize": 15 if ours else 6,
    }


def draw_points(panel: Axes, costs: dict[str, float], rows: list[dict], label: str) -> None:
    """Draw the top-1 of each network over what it costs, with its name."""
    places: dict[str, tuple[float, float]] = {}
    for number, row in enumerate(rows):
        values, cost = [100 * top for top in tops(row)], costs[row["name"]]
        best = statistics.mean(values)
        deviation = statistics.stdev(values) if len(values) > 1 else None
        panel.errorbar(cost, best, yerr=deviation, capsize=4, **marked(number, row))
        places[row["name"]] = (cost, best)
    panel.set(xlabel=label, ylabel="top-1 of the best epoch, %")
    panel.margins(y=0.1)
    panel.set_xlim(0, 1.45 * max(costs.values()))  # names stand to the right of their points
    write_names(panel, places)


def draw_curves(panel: Axes, rows: list[dict]) -> None:
    """Draw the top-1 of each network over the time of its training."""
    for number, row in enumerate(rows):
        seeds, ours = row["seeds"].values(), is_ours(row)
        curve = [
            100 * statistics.mean(values)
            for values in zip(*(seed["curve"] for seed in seeds), strict=False)
        ]
        epoch = row["steps"] * row["batch_size"] / row["epochs"] / row["trained_per_second"] / 60
        minutes = [epoch * (number + 1) for number in range(len(curve))]
        line = {
            "linestyle": "-" if ours else "--",
            "linewidth": 2.5 if ours else 1.2,
            "markevery": [-1],
        }
        panel.plot(minutes, curve, label=row["name"], **line, **marked(number, row))
    panel.set(xlabel="minutes of training, validation left out", ylabel="top-1, %", xlim=(0, None))
    panel.legend(loc="lower right")


def write_names(panel: Axes, places: dict[str, tuple[float, float]]) -> None:
    """Write a name beside each point, higher than it where it would lie on the name of another."""
    width, (low, high) = panel.get_xlim()[1], panel.get_ylim()
    written: list[tuple[float, float]] = []
    for name, (x, y) in sorted(places.items(), key=lambda item: item[1][1]):
        height, gap = y, 0.045 * (high - low)
        while any(
            abs(x - left) < 0.35 * width and abs(height - above) < gap for left, above in written
        ):
            height += gap / 4
        written.append((x, height))
        color, weight = (
            f"C{list(places).index(name) % 10}",
            "bold" if name.startswith("nommer") else "normal",
        )
        line = {"arrowstyle": "-", "color": color, "alpha": 0.4}
        where = {"xy": (x, y), "xytext": (x + 0.035 * width, height), "va": "center"}
        panel.annotate(name, **where, color=color, fontsize=9, fontweight=weight, arrowprops=line)
