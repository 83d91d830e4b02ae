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


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)
