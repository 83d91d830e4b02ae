"""The lines of docs/export.md that run a whole file, run."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "export.md"


def lines_of(language):
    """The block of the page in a language."""
    return re.search(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)[1]


def test_python(strongest, tmp_path, noisy):
    noisy((60, 200, 60)).save(tmp_path / "a.png")
    (tmp_path / "run.py").write_text(lines_of("python"))
    command = [sys.executable, str(tmp_path / "run.py"), str(strongest), str(tmp_path / "a.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == ["green"]


def test_javascript(strongest, tmp_path, noisy):
    modules = os.environ.get("NOMMER_NODE_MODULES", "")
    if not shutil.which("node") or not (Path(modules or "-") / "onnxruntime-web").is_dir():
        pytest.skip("needs node, and NOMMER_NODE_MODULES: a node_modules with onnxruntime-web")
    image = noisy((60, 200, 60))
    (tmp_path / "pixels").write_bytes(image.tobytes())
    (tmp_path / "run.mjs").write_text(lines_of("javascript"))
    (tmp_path / "node_modules").symlink_to(modules)
    sides = [str(side) for side in image.size]
    command = ["node", "run.mjs", str(strongest), "pixels", *sides]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert json.loads(done.stdout) == [1]
