"""Fixtures of the tests of pruning: those of models too."""

from tests.models.conftest import tiny_detector, tiny_rcnn  # noqa: F401
