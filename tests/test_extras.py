"""Optional packages are missed in one sentence."""

import json

import pytest

from nommer.errors import InputError
from nommer.extras import require


def test_an_installed_package_is_imported():
    assert require("json", "data", "a feature") is json


def test_a_missing_package_is_one_sentence_with_the_command():
    with pytest.raises(
        InputError, match=r"^serve: needs the package no_such; pip install 'nommer\[serve\]'$"
    ):
        require("no_such.part", "serve", "serve")


def test_an_error_inside_the_package_is_not_called_missing(tmp_path, monkeypatch):
    (tmp_path / "broken_package.py").write_text("import not_there_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="not_there_at_all"):
        require("broken_package", "serve", "serve")
