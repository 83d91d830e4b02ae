"""The command answers at once: nothing heavy is imported before it is needed.

Modules are counted, not seconds.
"""

import subprocess
import sys

import pytest

HEAVY = ("torch", "torchvision", "timm", "lightning", "numpy", "scipy", "matplotlib", "sklearn")
HEAVY += ("PIL", "torchmetrics", "onnx", "onnxruntime", "pandas", "tensorboard", "jinja2", "rich")

SHOW = f"""
import sys
packages = {{name.partition(".")[0] for name in sys.modules}}
sys.stderr.write(" ".join(sorted(packages & set({HEAVY!r}))))
"""


def loaded_by(code):
    """Return what of the heavy packages is imported after some code, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{SHOW}"], capture_output=True, text=True, check=True
    )
    return done.stderr.split("\n")[-1]


@pytest.mark.parametrize(
    "module", ["nommer", "nommer.api", "nommer.cli", "nommer.cli.parser", "nommer.settings.train"]
)
def test_importing_loads_nothing_heavy(module):
    assert loaded_by(f"import {module}") == ""


def test_all_settings_load_nothing_heavy():
    code = """
import importlib, pkgutil, nommer.settings
for module in pkgutil.iter_modules(nommer.settings.__path__):
    importlib.import_module(f"nommer.settings.{module.name}")
"""
    assert loaded_by(code) == ""


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("--version", 0),
        ("--help", 0),
        ("train --help", 0),
        ("train --help-all", 0),
        ("benchmark --help", 0),
        ("trian", 2),
        ("train --data x --epoch 3", 2),
        ("train --data x --epochs many", 2),
        ("train --data x --model resnet50", 2),
        ("train --data x --config imagenet1k_nommer_tiny --print_config", 0),
        ("predict", 2),
    ],
)
def test_help_and_errors_load_nothing_heavy(arguments, code):
    run = f"""
import nommer.cli
try:
    found = nommer.cli.main({arguments.split()!r})
except SystemExit as end:
    found = end.code
assert found == {code}, found
"""
    assert loaded_by(run) == ""


def test_every_name_is_there_without_being_imported():
    code = """
import nommer
from nommer.cli.commands import COMMANDS
assert set(nommer.__all__) <= set(dir(nommer)), set(nommer.__all__) - set(dir(nommer))
for verb in COMMANDS:
    assert callable(getattr(nommer, verb)) and verb in nommer.__all__
"""
    assert loaded_by(code) == ""


def test_every_name_can_be_imported():
    import nommer  # noqa: PLC0415

    for name in nommer.__all__:
        assert getattr(nommer, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        nommer.trian  # noqa: B018
