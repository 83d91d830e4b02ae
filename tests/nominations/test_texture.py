"""Contrast and fineness of an image in the cells of tokens."""

import numpy as np
import pytest
from scipy.fft import dctn

from nommer.nominations.texture import (
    FLAT,
    NUM_BINS,
    energy_bins,
    energy_edge,
    fine_share,
    gradient_energy,
    grey,
    share_bins,
    share_edge,
)


def test_a_ramp_has_the_energy_of_its_slope():
    ramp = np.tile(np.arange(16) * 0.01, (8, 1))
    assert gradient_energy(ramp, 4, (2, 4)) == pytest.approx(np.full((2, 4), 0.0001))
    assert gradient_energy(ramp[:1], 4, (1, 4)) == pytest.approx(np.full((1, 4), 0.0001)), (
        "an image one pixel high"
    )


def test_a_cell_at_the_edge_repeats_the_pixels_inside():
    image = np.random.default_rng(0).random((7, 9))
    energies = gradient_energy(image, 4, (2, 3))
    squared = sum(slope**2 for slope in np.gradient(image))
    assert energies[0, 0] == pytest.approx(squared[:4, :4].mean())
    rows, columns = np.minimum(np.arange(4, 8), 6), np.minimum(np.arange(8, 12), 8)
    assert energies[1, 2] == pytest.approx(squared[np.ix_(rows, columns)].mean())


@pytest.mark.parametrize("stride", [1, 2, 4, 8])
def test_the_share_of_fine_frequencies_is_that_of_each_cells_dct(stride):
    image = np.random.default_rng(1).random((16, 24))
    shares = fine_share(image, stride, (16 // stride, 24 // stride))
    side = max(stride, 4)
    for row, column in np.ndindex(*shares.shape):
        top, left = row * stride // side * side, column * stride // side * side
        energy = dctn(image[top : top + side, left : left + side], norm="ortho") ** 2
        energy[0, 0] = 0
        fine = sum(energy[u, v] for u in range(side) for v in range(side) if u + v >= side)
        assert shares[row, column] == pytest.approx(fine / energy.sum())


def test_a_checkerboard_is_fine_a_ramp_is_coarse_and_grey_is_neither():
    rows, columns = np.mgrid[:8, :8]
    assert fine_share((rows + columns) % 2 * 1.0, 4, (2, 2)).min() > 0.8
    assert fine_share(columns / 8, 4, (2, 2)).max() < 0.05
    assert np.isnan(fine_share(np.full((8, 8), 0.5), 4, (2, 2))).all()


def test_bins_rise_and_their_edges_fit():
    energies = np.array([0.0, 1e-9, 1e-4, 1e-3, 0.5, 7.0])
    bins = energy_bins(energies).tolist()
    assert (np.diff(bins) >= 0).all()
    assert (bins[0], bins[-1]) == (0, NUM_BINS - 1)
    assert energy_edge(bins[3]) <= 1e-3 < energy_edge(bins[3] + 1)
    bins = share_bins(np.array([0.0, 0.2, 1.0, np.nan])).tolist()
    assert (bins[0], bins[2], bins[3]) == (0, NUM_BINS - 1, FLAT)
    assert share_edge(bins[1]) <= 0.2 < share_edge(bins[1] + 1)


def test_brightness_of_white_and_black():
    assert grey(np.ones((3, 2, 2))) == pytest.approx(np.ones((2, 2)))
    assert grey(np.zeros((3, 2, 2))).max() == 0
