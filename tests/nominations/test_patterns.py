"""The working pattern counts what is there.

Against literal loops, known masks, and models that cannot choose.
"""

import itertools

import numpy as np
import pytest
import torch
from sklearn.metrics import cohen_kappa_score

from nommer import NominationTrace
from nommer.backbone.contexts import CONTEXTS
from nommer.nominations.agreement import agreement, joint_table, neighbour_table, same_grid
from nommer.nominations.cells import BlockCells, cells_of, pixel_tokens
from nommer.nominations.patterns import QUARTERS, Facet, Pattern, quarters_of
from nommer.nominations.regions import OUTSIDE

BLOCKS = {"stage 1 block 1": 4, "stage 2 block 1": 8}


def random_cells(size, *, seed=0):
    """Made nominations on an image of (height, width)."""
    rng, cells = np.random.default_rng(seed), {}
    for block, stride in BLOCKS.items():
        grid = tuple(-(-side // stride) for side in size)
        probabilities = rng.dirichlet(np.ones(3), grid)
        cells[block] = BlockCells(probabilities.argmax(-1), probabilities, stride)
    return cells


def constant_cells(size, context):
    cells = random_cells(size)
    probabilities = np.full(3, 0.1)
    probabilities[context] = 0.8
    return {
        block: BlockCells(
            np.full_like(of.nominated, context),
            np.tile(probabilities, (*of.nominated.shape, 1)),
            of.stride,
        )
        for block, of in cells.items()
    }


def row_of(rows, **wanted):
    (found,) = [row for row in rows if all(row[name] == value for name, value in wanted.items())]
    return found


@pytest.mark.parametrize(
    ("size", "file_size"), [((32, 40), (32, 40)), ((33, 41), (50, 61)), ((30, 22), (17, 13))]
)
def test_groups_of_pixels_are_counted_as_in_the_literal_loop(size, file_size):
    pattern = Pattern(list(BLOCKS), [Facet("class", ("a", "b", "c"))])
    expected = {(block, group): np.zeros(4) for block, group in itertools.product(BLOCKS, range(3))}
    for seed in range(3):
        rng, cells = np.random.default_rng(seed), random_cells(size, seed=seed)
        labels = rng.integers(-1, 3, file_size)
        pattern.add(cells, rng.random(size), {"class": labels})
        for (block, of), (row, column) in itertools.product(cells.items(), np.ndindex(*file_size)):
            place = tuple(
                int((at + 0.5) * seen / count / of.stride)
                for at, seen, count in zip((row, column), size, file_size, strict=True)
            )
            if labels[row, column] != OUTSIDE:
                counted = expected[block, labels[row, column]]
                counted[0] += 1
                counted[1 + of.nominated[place]] += 1
    for (block, group), counted in expected.items():
        found = row_of(pattern.by("class"), block=block, group="abc"[group])
        assert found["pixels"] == counted[0]
        assert [found[context] for context in CONTEXTS] == pytest.approx(
            (counted[1:] / counted[0]).tolist()
        )


def test_objects_and_background_count_exactly_where_the_masks_are_known():
    mask = np.zeros((32, 48), bool)
    mask[8:24, 16:40] = True  # whole tokens of both blocks
    cells = {}
    for block, stride in BLOCKS.items():
        inside = mask[::stride, ::stride]
        cells[block] = BlockCells(np.where(inside, 2, 1), np.eye(3)[np.where(inside, 2, 1)], stride)
    pattern = Pattern(list(BLOCKS), [Facet("part", ("objects", "background"))])
    pattern.add(cells, np.random.default_rng(0).random((32, 48)), {"part": (~mask).astype(int)})
    for block in BLOCKS:
        objects = row_of(pattern.by("part"), block=block, group="objects")
        background = row_of(pattern.by("part"), block=block, group="background")
        assert (objects["pixels"], objects["global"], objects["window"]) == (16 * 24, 1, 0)
        assert (background["pixels"], background["global"], background["window"]) == (
            32 * 48 - 16 * 24,
            0,
            1,
        )
        overall = row_of(pattern.overall(), block=block)
        assert overall["global"] == pytest.approx(16 * 24 / (32 * 48))


def test_one_context_everywhere_is_all_of_every_table():
    pattern = Pattern(list(BLOCKS), [Facet("class", ("cat", "dog"), "tokens")])
    for number in range(4):
        brightness = np.random.default_rng(number).random((32, 40))
        pattern.add(constant_cells((32, 40), 2), brightness, {"class": np.array([[number % 2]])})
    for rows in (
        pattern.overall(),
        pattern.by("class"),
        pattern.by_gradient(),
        pattern.by_frequency(),
    ):
        assert rows
        for row in rows:
            assert (row["convolution"], row["window"], row["global"]) == (0, 0, 1)
            assert (row["global_low"], row["global_high"]) == (1, 1)
            assert row["probability_global"] == pytest.approx(0.8)
            assert row["margin"] == pytest.approx(0.7)
    for rows in (pattern.neighbours(), pattern.between()):
        for row in rows:
            assert (row["agreement"], row["by_chance"], row["kappa"]) == (1, 1, None)
    pairs = {row["block"]: row["pairs"] for row in pattern.neighbours()}
    assert pairs["stage 1 block 1"] == 4 * (8 * 9 + 7 * 10), (
        "each pair of 8 x 10 tokens once, in 4 images"
    )
    assert [row["pairs"] for row in pattern.between()] == [4 * 80]
    assert row_of(pattern.by("class"), block="stage 1 block 1", group="dog")["images"] == 2
    assert row_of(pattern.by("class"), block="stage 1 block 1", group="dog")["tokens"] == 160


def test_entropy_is_one_where_all_is_alike_and_nothing_where_all_is_certain():
    pattern = Pattern(["stage 1 block 1"], [])
    grid = (8, 8)
    for probabilities, entropy in ((np.full(3, 1 / 3), 1), (np.array([0.0, 1.0, 0.0]), 0)):
        pattern = Pattern(["stage 1 block 1"], [])
        cells = BlockCells(np.ones(grid, int), np.tile(probabilities, (*grid, 1)), 4)
        pattern.add({"stage 1 block 1": cells}, np.zeros((32, 32)), {})
        assert pattern.overall()[0]["entropy"] == pytest.approx(entropy, abs=1e-9)


def test_quarters_hold_a_quarter_each_and_flat_cells_stand_apart():
    pattern = Pattern(list(BLOCKS), [])
    for seed in range(4):
        brightness = np.random.default_rng(seed).random((64, 64)) * np.linspace(0.01, 1, 64)
        brightness[:16] = 0.5
        pattern.add(random_cells((64, 64), seed=seed), brightness, {})
    for rows in (pattern.by_gradient(), pattern.by_frequency()):
        counted = {row["group"]: row["tokens"] for row in rows if row["block"] == "stage 1 block 1"}
        assert sum(counted.values()) == 4 * 256
        assert all("images" not in row for row in rows), (
            "bins share images, so they cannot be counted"
        )
        lively = [counted[name] for name in QUARTERS if name in counted]
        assert max(lively) < 0.4 * 4 * 256
    flat = row_of(pattern.by_frequency(), block="stage 1 block 1", group="flat")
    assert flat["tokens"] == 4 * 4 * 16, "the upper quarter of every image"
    edges = [
        (row["from"], row["to"])
        for row in pattern.by_gradient()
        if row["block"] == "stage 1 block 1"
    ]
    assert all(end <= start * (1 + 1e-9) for (_, end), (start, _) in itertools.pairwise(edges))


def test_liveliness_is_told_from_smoothness():
    """Tokens over noise nominate another context than those over a smooth half.

    The quarters show it.
    """
    pattern, brightness = Pattern(["stage 1 block 1"], []), np.full((64, 64), 0.5)
    brightness[:, 32:] = np.random.default_rng(0).random((64, 32))
    nominated = np.zeros((16, 16), int)
    nominated[:, 8:] = 2
    pattern.add({"stage 1 block 1": BlockCells(nominated, np.eye(3)[nominated], 4)}, brightness, {})
    rows = pattern.by_gradient()
    assert rows[0]["convolution"] > 0.9
    assert rows[-1]["global"] == 1


def test_agreement_is_cohens():
    rng = np.random.default_rng(0)
    first, second = rng.choice(3, 200, p=[0.6, 0.3, 0.1]), rng.integers(0, 3, 200)
    second[:100] = first[:100]
    found = agreement(joint_table(first, second).ravel())
    assert found[0] == pytest.approx((first == second).mean())
    assert found[2] == pytest.approx(cohen_kappa_score(first, second))


def test_neighbours_are_those_beside_and_below():
    map_ = np.array([[0, 0, 1], [0, 2, 1]])
    table = neighbour_table(map_)
    assert table.sum() == 2 * 7
    assert np.array_equal(table, table.T)
    assert np.trace(table) == 2 * 3, "(0, 0) beside and below each other, (1, 1) below each other"


def test_a_checkerboard_disagrees_more_than_by_chance():
    board = np.indices((8, 8)).sum(0) % 2
    assert agreement(neighbour_table(board).ravel())[2] == pytest.approx(-1)


def test_blocks_are_compared_on_the_finer_grid():
    fine, coarse = np.arange(15).reshape(3, 5), np.array([[0, 1, 2], [3, 4, 5]])
    first, second = same_grid(coarse, fine)
    assert np.array_equal(second, fine)
    assert first.tolist() == [[0, 0, 1, 1, 2], [0, 0, 1, 1, 2], [3, 3, 4, 4, 5]]
    fine, coarse = (
        np.arange(4)[None],
        np.arange(2)[None],
    )  # of an image that is no higher than one token
    assert [grid.tolist() for grid in same_grid(fine, coarse)] == [[[0, 1, 2, 3]], [[0, 0, 1, 1]]]


def test_every_pixel_lies_in_a_token():
    tokens = pixel_tokens((5, 7), (10, 14), 4, (3, 4))
    assert tokens.shape == (5, 7)
    assert tokens[0, 0] == 0
    assert tokens[4, 6] == 2 * 4 + 3


def test_quarters_of_counts():
    assert quarters_of(np.array([1, 1, 1, 1])).tolist() == [0, 1, 2, 3]
    assert quarters_of(np.array([10, 0, 0, 0])).tolist()[0] == 2, (
        "all in one bin: its middle is the middle"
    )
    assert (np.diff(quarters_of(np.random.default_rng(0).integers(0, 9, 128))) >= 0).all()


def test_a_pattern_of_a_model_is_what_its_trace_counts(tiny_classifier):
    model, images = (
        tiny_classifier(),
        torch.rand(3, 3, 33, 41, generator=torch.Generator().manual_seed(0)),
    )
    with NominationTrace(model, keep_maps=True) as trace:
        model(images)
    strides = dict(zip(trace.blocks, model.network.config.reductions, strict=False))
    pattern = Pattern(trace.blocks, [])
    for index in range(3):
        pattern.add(cells_of(trace, index, (33, 41), strides), images[index].mean(0).numpy(), {})
    for row in pattern.overall():
        assert {name: row[name] for name in CONTEXTS} == pytest.approx(trace.shares()[row["block"]])
        means = trace.probabilities(row["block"]).double().mean((0, 1, 2)).tolist()
        assert [row[f"probability_{name}"] for name in CONTEXTS] == pytest.approx(means, abs=1e-6)
