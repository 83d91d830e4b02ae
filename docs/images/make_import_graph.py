"""Draw which room of the package imports which.

    python docs/images/make_import_graph.py docs/images/imports.png

Rooms are the folders and modules right below `nommer`. They stand in the layers that import-linter
holds (`pyproject.toml`): an arrow may only point down. An arrow that longer ways imply is not drawn
(the transitive reduction), nor are those to the layers below the settings, small tools that every
room may use. Counts of rooms, arrows and lines are printed.
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


def places_of(layers: list[list[str]]) -> dict[str, tuple[float, float]]:
    """Return where each room stands; those alone in their layer stand left and right in turn."""
    places = {}
    for row, layer in enumerate(layers):
        alone = 0.5 + (0.07 if row % 2 else -0.07) * (len(layer) == 1)
        for column, room in enumerate(layer):
            places[room] = (alone if len(layer) == 1 else (column + 0.5) / len(layer), -float(row))
    return places


def draw(
    axes: Axes, layers: list[list[str]], tools: list[str], arrows: list[tuple[str, str]]
) -> None:
    """Draw rooms in their layers with the arrows between them, and the tools in a line below."""
    places = places_of(layers)
    boxes = {}
    for room, (x, y) in places.items():
        text = f"{room}\n{count_lines(room):,} lines"
        box = {"boxstyle": "round,pad=0.4", "facecolor": "white", "edgecolor": "black"}
        found = axes.text(x, y, text, ha="center", va="center", fontsize=9, bbox=box, zorder=2)
        boxes[room] = found.get_bbox_patch()
    for start, end in arrows:
        (x, y), (to_x, to_y) = places[start], places[end]
        bend = 0 if y - to_y <= 1 else 0.12 if x + to_x < 1 else -0.12
        style = {"arrowstyle": "-|>", "color": "tab:blue", "alpha": 0.8}
        ends = {"patchA": boxes[start], "patchB": boxes[end], "shrinkA": 0, "shrinkB": 0}
        style |= ends | {"connectionstyle": f"arc3,rad={bend}"}
        axes.annotate("", places[end], places[start], arrowprops=style, zorder=1)
    lines = sum(map(count_lines, tools))
    below = f"tools that every room may use ({lines:,} lines): {', '.join(sorted(tools))}"
    axes.text(0.5, -len(layers), below, ha="center", va="center", fontsize=9, wrap=True)
    axes.set(xlim=(0, 1), ylim=(-len(layers) - 0.5, 0.5))
    axes.axis("off")


def main() -> None:
    """Draw the picture named on the command line."""
    layers, arrows = read_layers(), find_arrows()
    rooms = [room for layer in layers for room in layer]
    at = next(row for row, layer in enumerate(layers) if "settings" in layer)
    tools = [room for layer in layers[at + 1 :] for room in layer]
    graph = nx.DiGraph(arrow for arrow in arrows if set(arrow) <= set(rooms) - set(tools))
    drawn = list(nx.transitive_reduction(graph).edges)  # fails where rooms import in a circle
    figure = Figure(figsize=(10, 9), layout="constrained")
    draw(figure.subplots(), layers[: at + 1], tools, drawn)
    figure.savefig(sys.argv[1], dpi=80)
    lines = sum(count_lines(room) for room in rooms)
    sys.stdout.write(
        f"{len(rooms)} rooms, {len(arrows)} arrows ({len(drawn)} drawn), {lines:,} lines\n"
    )


if __name__ == "__main__":
    main()
