"""Fixtures for the tests of the network."""

import pytest
import torch

from tests.networks import (  # noqa: F401  fixtures
    create,
    draw,
    enliven_weights,
    float64,
    literal_reference,
    record,
)


@pytest.fixture(scope="package", autouse=True)
def _one_thread():
    """Networks this small gain nothing from more, and tests that run side by side lose much."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)
