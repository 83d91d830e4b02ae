"""Fixtures of the tests of faster networks."""

from tests.networks import (  # noqa: F401  fixtures
    create,
    draw,
    enliven_weights,
    float64,
    literal_reference,
)
