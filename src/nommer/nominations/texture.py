"""Texture under every token: the energy of gradients, and how much of it is fine."""

import numpy as np
from scipy.fft import dctn

NUM_BINS = 128
"""Bins filled while images stream by, and drawn together into quarters at the end."""

FLAT = NUM_BINS
"""The bin of cells without any variation, which have no frequencies."""

SMALLEST_CELL = 4
"""Side in pixels of the smallest square whose frequencies are looked at."""

_DECADES = (-6.0, 0.0)
"""Logarithms (base 10) of the energies that the bins tell apart."""

_NO_VARIATION = 1e-7
"""Energy under which a cell is flat: less than a step of 1/255 in one of its pixels."""


def grey(image: np.ndarray) -> np.ndarray:
    """Brightness (H, W), 0 to 1, of an RGB image (3, H, W) of values 0 to 1 (ITU-R 601)."""
    return np.tensordot(np.array([0.299, 0.587, 0.114]), image, 1)


def gradient_energy(brightness: np.ndarray, stride: int, grid: tuple[int, int]) -> np.ndarray:
    """Return the mean squared gradient per pixel (central differences) of every token's cell.

    Args:
        brightness: (H, W), 0 to 1.
        stride: side of a cell in pixels.
        grid: rows and columns; what a cell has outside the image is like the nearest pixel inside.
    """
    slopes = [
        np.gradient(brightness, axis=axis) for axis, side in enumerate(brightness.shape) if side > 1
    ]
    return _cells(
        sum((slope**2 for slope in slopes), np.zeros_like(brightness)), stride, grid
    ).mean((2, 3))


def fine_share(brightness: np.ndarray, stride: int, grid: tuple[int, int]) -> np.ndarray:
    """Return the share, 0 to 1, of the upper half of frequencies in every cell's variation.

    The DCT of a cell of n x n pixels has frequencies (u, v) from 0 to n - 1: the mean (0, 0) does
    not count, the upper half is u + v >= n. A cell smaller than 4 x 4 pixels takes the numbers of
    the 4 x 4 pixels it lies in. NaN in a cell without variation.
    """
    side = max(stride, SMALLEST_CELL)
    many = side // stride
    rows, columns = (-(-count // many) for count in grid)
    energy = dctn(_cells(brightness, side, (rows, columns)), axes=(2, 3), norm="ortho") ** 2
    energy[..., 0, 0] = 0
    upper = np.add.outer(np.arange(side), np.arange(side)) >= side
    whole = energy.sum((2, 3))
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = np.where(whole > _NO_VARIATION, (energy * upper).sum((2, 3)) / whole, np.nan)
    return shares.repeat(many, 0).repeat(many, 1)[: grid[0], : grid[1]]


def _cells(values: np.ndarray, side: int, grid: tuple[int, int]) -> np.ndarray:
    """(rows, columns, side, side) of (H, W), repeated at the edges up to whole cells."""
    rows, columns = grid
    over = [
        (0, max(0, count * side - size)) for count, size in zip(grid, values.shape, strict=True)
    ]
    padded = np.pad(values, over, mode="edge")[: rows * side, : columns * side]
    return padded.reshape(rows, side, columns, side).swapaxes(1, 2)


def energy_bins(energy: np.ndarray) -> np.ndarray:
    """The bin of each energy, 0 to 127, by its logarithm."""
    low, high = _DECADES
    with np.errstate(divide="ignore"):
        place = (np.log10(energy) - low) / (high - low) * NUM_BINS
    return np.clip(place, 0, NUM_BINS - 1).astype(np.int64)


def energy_edge(bin_: int) -> float:
    """The energy at the lower end of a bin."""
    low, high = _DECADES
    return float(10 ** (low + (high - low) * bin_ / NUM_BINS))


def share_bins(shares: np.ndarray) -> np.ndarray:
    """Return the bin, 0 to 127, of each share by its square root; `FLAT` for NaN.

    By the root, small ones are told apart.
    """
    place = np.clip(np.sqrt(np.nan_to_num(shares)) * NUM_BINS, 0, NUM_BINS - 1).astype(np.int64)
    return np.where(np.isnan(shares), FLAT, place)


def share_edge(bin_: int) -> float:
    """The share at the lower end of a bin."""
    return (bin_ / NUM_BINS) ** 2
