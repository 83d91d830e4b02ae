"""The lines of docs/export.md that run a whole file, run."""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
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


def written_pixels(image, folder):
    """The arguments PIXELS WIDTH HEIGHT of an image, whose RGB values lie row by row in a file."""
    (folder / "pixels").write_bytes(image.tobytes())
    return ["pixels", *(str(side) for side in image.size)]


def test_javascript(strongest, tmp_path, noisy):
    modules = os.environ.get("NOMMER_NODE_MODULES", "")
    if not shutil.which("node") or not (Path(modules or "-") / "onnxruntime-web").is_dir():
        pytest.skip("needs node, and NOMMER_NODE_MODULES: a node_modules with onnxruntime-web")
    given = written_pixels(noisy((60, 200, 60)), tmp_path)
    (tmp_path / "run.mjs").write_text(lines_of("javascript"))
    (tmp_path / "node_modules").symlink_to(modules)
    command = ["node", "run.mjs", str(strongest), *given]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert json.loads(done.stdout) == [1]


def test_cpp(strongest, tmp_path, noisy):
    headers = Path(os.environ.get("NOMMER_ORT_HEADERS", "/usr/include/onnxruntime"))
    if not shutil.which("g++") or not (headers / "onnxruntime_cxx_api.h").is_file():
        pytest.skip("needs g++, and NOMMER_ORT_HEADERS: the headers of Debian's libonnxruntime-dev")
    library = tmp_path / "libonnxruntime.so.1"  # as programs look for what the package brings
    folder = Path(find_spec("onnxruntime").origin).parent
    library.symlink_to(next(folder.glob("capi/libonnxruntime.so.*")))
    (tmp_path / "run.cpp").write_text(lines_of("cpp"))
    compiler = ["g++", "-std=c++17", "-Wall", "-Werror", "-isystem", str(headers), "run.cpp"]
    linked = [str(library), f"-Wl,-rpath,{tmp_path}", "-o", "run"]
    subprocess.run([*compiler, *linked], check=True, cwd=tmp_path)
    given = written_pixels(noisy((60, 200, 60)), tmp_path)
    command = ["./run", str(strongest), *given]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.split() == ["1"]
