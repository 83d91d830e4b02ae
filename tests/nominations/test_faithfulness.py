"""Faithfulness: nominations changed in cells, cells deleted and inserted."""

import numpy as np
import pytest
import torch
from torch import nn

from nommer import Classifier
from nommer.data.transforms import Preprocessing
from nommer.nominations.faithfulness import (
    GRID,
    STEPS,
    area,
    attributions,
    cells_on_grid,
    context_maps,
    on_cells,
    probabilities,
    removal_curve,
    sensitivity,
)
from nommer.nominations.intervention import intervene
from nommer.nominations.trace import nominator_blocks


@pytest.fixture
def images():
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


class OneCell(nn.Module):
    """A network that looks at the brightness of one cell of 4 x 4 pixels alone."""

    num_classes = 2

    def __init__(self, row, column):
        super().__init__()
        self.row, self.column = row, column

    def forward(self, images):
        rows, columns = (slice(4 * at, 4 * at + 4) for at in (self.row, self.column))
        score = images[:, :, rows, columns].mean((1, 2, 3))
        return torch.stack([score * 10, torch.zeros_like(score)], 1)


@pytest.fixture
def one_cell():
    return Classifier(
        OneCell(2, 5), class_names=("bright", "dark"), preprocessing=Preprocessing(image_size=32)
    ).eval()


def test_sensitivity_is_what_an_intervention_in_each_cell_does(tiny_classifier, images):
    model, found = tiny_classifier(), None
    found = sensitivity(model, images[0], 1)
    before = probabilities(model, images[:1])[0, 1]
    for row, column in ((0, 0), (3, 6), (7, 7)):
        region = torch.zeros(GRID, GRID, dtype=torch.bool)
        region[row, column] = True
        with intervene(model, "second", region=region):
            after = probabilities(model, images[:1])[0, 1]
        assert found[row, column].item() == pytest.approx((before - after).item(), abs=1e-6)
    assert found.abs().max() > 0
    assert torch.equal(probabilities(model, images[:1])[0, 1], before), "the model is as it was"


@pytest.mark.parametrize("count", [1, 4, 7, 8, 9, 13, 16, 31])
def test_every_cell_changes_some_token_and_every_token_is_changed_evenly(count):
    cells = cells_on_grid(count, 16).view(GRID, GRID, count, 16)
    assert cells.any((2, 3)).all()
    times = cells.sum((0, 1))
    assert (times == times[0]).all() if count >= GRID else times.max() - times.min() <= 1
    assert (times == 1).all() == (count >= GRID), (
        "tokens are shared only where there are fewer of them"
    )
    for cell in range(GRID):
        tokens = cells[cell, 0].any(1).nonzero().flatten().tolist()
        if count >= GRID:
            assert tokens == [
                token for token in range(count) if int((token + 0.5) / count * GRID) == cell
            ]
        else:
            assert tokens == [int((cell + 0.5) / GRID * count)]


def test_all_blocks_are_changed_also_where_they_have_fewer_tokens_than_cells(
    tiny_classifier, images
):
    model, image = tiny_classifier(), images[0, :, :16, :16]  # 8 x 8 and 4 x 4 tokens
    found = sensitivity(model, image, 1)
    before = probabilities(model, image[None])[0, 1]
    for row, column in ((0, 0), (3, 6)):
        fine, coarse = torch.zeros(8, 8, dtype=torch.bool), torch.zeros(4, 4, dtype=torch.bool)
        fine[row, column], coarse[row // 2, column // 2] = True, True
        first = intervene(model, "second", blocks=["stage 1 block 1"], region=fine)
        with first, intervene(model, "second", blocks=["stage 2 block 1"], region=coarse):
            after = probabilities(model, image[None])[0, 1]
        assert found[row, column].item() == pytest.approx((before - after).item(), abs=1e-6)


def test_forcing_what_is_nominated_hangs_on_nothing(tiny_classifier, images):
    model = tiny_classifier()
    for nomination in nominator_blocks(model).values():
        nomination.register_forward_pre_hook(
            lambda _module, inputs: (
                torch.zeros_like(inputs[0]).index_fill(-1, torch.tensor([2]), 1.0),
            )
        )
    found = sensitivity(model, images[0], 0, kind="global")
    assert found.abs().max() < 1e-6
    share, likely = context_maps(model, images)
    assert torch.equal(share, torch.ones(3, GRID, GRID))
    assert torch.allclose(likely, torch.tensor([0.0, 0.0, 1.0]).softmax(0)[2])
    assert context_maps(model, images, "window")[0].max() == 0


def test_curves_begin_and_end_where_they_must(tiny_classifier, images):
    model, answers, maps = tiny_classifier(), torch.tensor([0, 1, 2]), torch.rand(3, GRID, GRID)
    whole = probabilities(model, images)[torch.arange(3), answers]
    blank = probabilities(model, torch.zeros_like(images))[torch.arange(3), answers]
    deleted = removal_curve(model, images, answers, maps, insert=False)
    inserted = removal_curve(model, images, answers, maps, insert=True)
    assert deleted.shape == inserted.shape == (3, STEPS + 1)
    assert torch.allclose(deleted[:, 0], whole)
    assert torch.allclose(deleted[:, -1], blank)
    assert torch.allclose(inserted[:, -1], whole)


def test_a_map_of_what_matters_has_the_smaller_deletion_and_the_larger_insertion(one_cell):
    images, answers = torch.zeros(2, 3, 32, 32), torch.zeros(2, dtype=torch.int64)
    images[:, :, 8:12, 20:24] = 1.0
    right, wrong = torch.zeros(2, GRID, GRID), torch.zeros(2, GRID, GRID)
    right[:, 2, 5], wrong[:, 2, 5] = 1.0, -1.0
    for insert, sign in ((False, 1), (True, -1)):
        of_right, of_wrong, of_none = (
            area(removal_curve(one_cell, images, answers, maps, insert=insert)).mean() * sign
            for maps in (right, wrong, torch.zeros(2, GRID, GRID))
        )
        assert of_right < of_none < of_wrong
    curve = removal_curve(one_cell, images, answers, right, insert=False)
    assert curve[0, 0] > 0.99
    assert torch.allclose(curve[:, 1:], torch.tensor(0.5)), "after the first step the cell is gone"


def test_standard_attributions_find_the_cell(one_cell):
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    found = attributions(one_cell, images, torch.zeros(2, dtype=torch.int64))
    assert set(found) == {"integrated gradients", "gradient"}
    for maps in found.values():
        assert maps.flatten(1).argmax(1).tolist() == [2 * GRID + 5] * 2
        assert np.count_nonzero(maps) == 2
    expected = (
        images[:, :, 8:12, 20:24].abs().sum(1).mean((1, 2)) * 10 / 48
    )  # a linear score: weight times value
    assert torch.allclose(found["integrated gradients"][:, 2, 5], expected, rtol=1e-4)


def test_attributions_of_a_nommer_reach_the_image(tiny_classifier, images):
    model = tiny_classifier()
    found = attributions(model, images, torch.tensor([0, 1, 2]))
    assert all(maps.min() >= 0 and maps.max() > 0 for maps in found.values())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_maps_are_averaged_over_cells():
    maps = torch.arange(256.0).view(1, 16, 16)
    assert on_cells(maps)[0, 0, 0] == (0 + 1 + 16 + 17) / 4
    assert on_cells(torch.rand(2, 7, 9)).shape == (2, GRID, GRID)


def test_random_order_is_the_same_for_the_same_seed(tiny_classifier, images):
    model, answers, maps = tiny_classifier(), torch.tensor([0, 1, 2]), torch.zeros(3, GRID, GRID)
    first, again, other = (
        removal_curve(model, images, answers, maps, insert=False, seed=s) for s in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_area_of_a_straight_line():
    assert area(torch.linspace(1, 0, STEPS + 1)[None]).item() == pytest.approx(0.5)
