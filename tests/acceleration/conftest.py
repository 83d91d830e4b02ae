"""Fixtures of the tests of faster networks."""

from contextlib import contextmanager

import jaxtyping
import pytest

from tests.networks import (  # noqa: F401  fixtures
    create,
    draw,
    enliven_weights,
    float64,
    literal_reference,
)


@pytest.fixture(scope="session")
def unchecked_shapes():
    """A context in which shapes in signatures are not checked.

    Sides that are still open have no value to check.
    """

    @contextmanager
    def context():
        before = jaxtyping.config.jaxtyping_disable
        jaxtyping.config.update("jaxtyping_disable", True)
        try:
            yield
        finally:
            jaxtyping.config.update("jaxtyping_disable", before)

    return context
