"""Pictures of nominations: every block has its place, and each map shows what it says."""

import numpy as np
import pytest
import torch
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from PIL import Image
from torch.nn.functional import one_hot

from nommer.backbone.contexts import CONTEXTS
from nommer.nominations.cells import BlockCells
from nommer.nominations.render import CONTEXT_COLOURS, Regions, nomination_figure, overlay
from nommer.nominations.trace import entropy
from tests.colours import MACHADO, seen


def drawn(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(int)


def figure_of(count, *, size=(48, 40), grid=(10, 12), regions=None):
    blocks = [f"stage {1 + index // 6} block {1 + index % 6}" for index in range(count)]
    generator = torch.Generator().manual_seed(0)
    probabilities = {
        block: torch.rand(*grid, 3, generator=generator).softmax(-1) for block in blocks
    }
    nominated = {
        block: of_block.argmax(-1).to(torch.uint8) for block, of_block in probabilities.items()
    }
    spans = {block: (float(grid[0]), float(grid[1])) for block in blocks}
    image = Image.new("RGB", size, (128, 128, 128))
    parts = regions and regions(blocks)
    return nomination_figure(
        image, nominated, probabilities, title="image", spans=spans, regions=parts
    )


def two_parts(blocks):
    shares = {
        "a": dict(zip(CONTEXTS, (1.0, 0.0, 0.0), strict=True)),
        "b": dict(zip(CONTEXTS, (0.2, 0.3, 0.5), strict=True)),
    }
    return Regions(
        Image.new("RGB", (48, 40)),
        dict.fromkeys(blocks, shares),
        {"a": (255, 0, 0), "b": (0, 0, 255)},
    )


@pytest.mark.parametrize(
    ("count", "regions"), [(1, None), (2, None), (12, None), (2, two_parts), (5, two_parts)]
)
def test_every_block_has_its_row_and_no_column_is_empty(count, regions):
    figure = figure_of(count, regions=regions)
    pixels = drawn(figure)
    shown = [axes for axes in figure.axes if axes.get_visible()]
    columns = 4 if regions else 3
    assert len(shown) == columns * count + (3 if regions else 2)
    named = [axes.get_ylabel().split("\n")[0] for axes in shown if axes.get_ylabel()]
    assert sorted(named) == [
        f"stage {1 + index // 6} block {1 + index % 6}" for index in range(count)
    ]
    titles = [
        axes.get_title() for axes in shown if axes.get_title() not in ("", "image", "predicted")
    ]
    of_columns = ["nominated", "probability", "entropy", *(["in parts"] if regions else [])]
    assert sorted(titles) == sorted(of_columns * (1 if count < 5 else 2))
    boxes = [axes.get_window_extent() for axes in shown]
    assert all(box.x0 >= 0 and box.x1 <= pixels.shape[1] for box in boxes)
    for index, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:index])
    empty = (pixels == 255).all((0, 2)).astype(int)
    widest = max(map(len, "".join(map(str, empty)).split("0")))
    assert widest < 0.12 * pixels.shape[1]
    assert pixels.shape[0] < 3000


def test_entropy_is_0_where_certain_and_1_where_open():
    probabilities = torch.tensor([[1.0, 0, 0], [1 / 3, 1 / 3, 1 / 3], [0.5, 0.5, 0], [0, 0.2, 0.8]])
    expected = [0, 1, np.log(2) / np.log(3), -(0.2 * np.log(0.2) + 0.8 * np.log(0.8)) / np.log(3)]
    assert entropy(probabilities, CONTEXTS).tolist() == pytest.approx(expected)
    two = torch.tensor([[0.5, 0.5, 0], [1.0, 0, 0]])
    assert entropy(two, CONTEXTS[:2]).tolist() == pytest.approx([1, 0]), (
        "of two contexts as much as of three"
    )


def test_a_context_whose_probability_vanishes_is_still_one_of_three():
    probabilities = torch.tensor([0.5, 0.5, 0.0]).expand(2, 2, 3)
    cells = BlockCells(np.zeros((2, 2), int), probabilities.numpy(), 4, CONTEXTS)
    assert cells.values()[:, -1] == pytest.approx(np.log(2) / np.log(3))
    nominated = {"stage 1 block 1": torch.zeros(2, 2, dtype=torch.uint8)}
    for contexts, mean in ((CONTEXTS, "mean 0.63"), (CONTEXTS[:2], "mean 1.00")):
        figure = nomination_figure(
            Image.new("RGB", (256, 256)),
            nominated,
            {"stage 1 block 1": probabilities},
            title="",
            spans={"stage 1 block 1": (2.0, 2.0)},
            contexts=contexts,
        )
        (axes,) = [axes for axes in figure.axes if axes.get_title() == "entropy"]
        assert axes.get_xlabel() == mean
        assert [text.get_text() for text in figure.legends[0].get_texts()] == list(contexts), (
            "no others"
        )
        under = next(axes for axes in figure.axes if axes.get_title() == "nominated").get_xlabel()
        assert ("0% global" in under) == ("global" in contexts)


def test_the_entropy_map_is_dark_where_certain_and_bright_where_open():
    certain, unsure = torch.tensor([1.0, 0, 0]), torch.full((3,), 1 / 3)
    probabilities = torch.stack([certain, unsure]).expand(2, 2, 3)
    image = Image.new("RGB", (256, 256), (128, 128, 128))
    nominated = {"stage 1 block 1": torch.zeros(2, 2, dtype=torch.uint8)}
    spans = {"stage 1 block 1": (2.0, 2.0)}
    figure = nomination_figure(
        image, nominated, {"stage 1 block 1": probabilities}, title="", spans=spans
    )
    (axes,) = [axes for axes in figure.axes if axes.get_title() == "entropy"]
    shown = np.asarray(axes.images[0].get_array()).astype(float)
    for columns, value in ((slice(0, 128), 0.0), (slice(128, None), 1.0)):
        expected = 0.4 * 128 + 0.6 * 255 * np.array(colormaps["cividis"](value)[:3])
        assert np.abs(shown[:, columns] - expected).max() <= 1
    assert axes.get_xlabel() == "mean 0.50"


def test_cells_lie_where_their_tokens_do_also_where_the_last_are_cut():
    nominated = torch.tensor([[0, 1, 2]])
    shown = np.asarray(
        overlay(Image.new("RGB", (10, 4)), one_hot(nominated, 3), (1.0, 2.5))
    ).astype(float)
    for column in range(10):  # 4 pixels a token, of which the image holds two and a half
        expected = 0.6 * 255 * np.array(to_rgb(CONTEXT_COLOURS[CONTEXTS[column // 4]]))
        assert np.abs(shown[:, column] - expected).max() <= 1


def seen_by_the_colour_blind(colour, kind):
    """An sRGB colour as somebody without one kind of cone sees it."""
    return 1.055 * seen(colour, MACHADO[kind]) ** (1 / 2.4) - 0.055


@pytest.mark.parametrize("kind", MACHADO)
def test_the_colour_blind_can_tell_the_colours_apart(kind):
    colours = [
        seen_by_the_colour_blind(to_rgb(colour), kind) for colour in CONTEXT_COLOURS.values()
    ]
    for index, colour in enumerate(colours):
        for other in colours[:index]:
            assert np.abs(colour - other).max() > 0.14, "a seventh of a channel's range"
