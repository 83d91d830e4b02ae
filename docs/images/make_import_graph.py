"""Draw which room of the package imports which.

    python docs/images/make_import_graph.py docs/images/imports.png

Rooms are the folders and modules right below `nommer`. They stand in the layers that import-linter
holds (`pyproject.toml`): an arrow may only point down. An arrow that longer ways imply is not drawn
(the transitive reduction), nor are those to the two lowest layers, small tools that every room may
use. Counts of rooms, arrows and lines are printed.
"""

import sys
import tomllib
from collections import Counter
from pathlib import Path

import grimp
import networkx as nx
from matplotlib.axes import Axes
from matplotlib.figure import Figure

ROOT = Path(__file__).parents[2]
PACKAGE = "nommer"


def read_layers() -> list[list[str]]:
    """Return the rooms of each layer, from the top, as the import contract lists them."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = config["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    return [[name.strip().partition(".")[2] for name in layer.split("|")] for layer in layers]


def room_of(module: str) -> str:
    """Return the folder or module right below the package that `module` belongs to."""
    return module.split(".")[1] if "." in module else ""


def find_arrows() -> Counter[tuple[str, str]]:
    """Return how many imports lead from one room to another."""
    graph = grimp.build_graph(PACKAGE)
    arrows: Counter[tuple[str, str]] = Counter()
    for importer in graph.modules:
        for imported in graph.find_modules_directly_imported_by(importer):
            ends = room_of(importer), room_of(imported)
            if all(ends) and ends[0] != ends[1]:
                arrows[ends] += 1
    return arrows


def count_lines(room: str) -> int:
    """Return the lines of Python in a room."""
    place = ROOT / "src" / PACKAGE / room
    files = place.rglob("*.py") if place.is_dir() else [place.with_suffix(".py")]
    return sum(file.read_text(encoding="utf-8").count("\n") for file in files)


def draw(axes: Axes, layers: list[list[str]], arrows: list[tuple[str, str]]) -> None:
    """Draw rooms in their layers, and the arrows between them."""
    places = {
        room: ((column + 0.5) / len(layer), -row)
        for row, layer in enumerate(layers)
        for column, room in enumerate(layer)
    }
    for start, end in arrows:
        far = places[start][1] - places[end][1] > 1
        style = {"arrowstyle": "-|>", "color": "tab:blue", "shrinkA": 16, "shrinkB": 16}
        style["connectionstyle"] = f"arc3,rad={0.25 if far else 0}"
        axes.annotate("", places[end], places[start], arrowprops=style)
    for room, (x, y) in places.items():
        text = f"{room}\n{count_lines(room):,} lines"
        box = {"boxstyle": "round,pad=0.4", "facecolor": "white", "edgecolor": "black"}
        axes.text(x, y, text, ha="center", va="center", fontsize=9, bbox=box)
    axes.set(xlim=(0, 1), ylim=(-len(layers) + 0.5, 0.5))
    axes.axis("off")


def main() -> None:
    """Draw the picture named on the command line."""
    layers, arrows = read_layers(), find_arrows()
    rooms = [room for layer in layers for room in layer]
    tools = {room for layer in layers[-2:] for room in layer}
    graph = nx.DiGraph(arrow for arrow in arrows if set(arrow) <= set(rooms) - tools)
    drawn = list(nx.transitive_reduction(graph).edges)  # fails where rooms import in a circle
    figure = Figure(figsize=(10, 10), layout="constrained")
    draw(figure.subplots(), layers, drawn)
    figure.savefig(sys.argv[1], dpi=80)
    lines = sum(count_lines(room) for room in rooms)
    sys.stdout.write(
        f"{len(rooms)} rooms, {len(arrows)} arrows ({len(drawn)} drawn), {lines:,} lines\n"
    )


if __name__ == "__main__":
    main()
