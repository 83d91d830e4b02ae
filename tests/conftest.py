"""Fixtures that several folders of tests share."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def parity():
    """The published implementation's numbers and the functions that make their inputs; skips where they are absent."""
    folder = SHARED / "parity"
    if not folder.is_dir():
        pytest.skip("the parity files (../shared/parity) are not beside this checkout")
    spec = importlib.util.spec_from_file_location("parity", folder / "parity.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    loaded = {"folder": folder, "eval": np.load(folder / "nommer_tiny_eval.npz"), "train": np.load(folder / "nommer_tiny_train.npz")}
    return SimpleNamespace(**vars(module) | loaded)
