"""The notebooks of the docs: what they hold, and one of them run with tiny settings."""

import json
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).parents[2] / "docs" / "notebooks"
TINY = {
    "classification": 'MODEL, EPOCHS, HELD_BACK = "nommer_micro", 1, 1700',
    "multi_label": 'MODEL, EPOCHS, IMAGES = "nommer_nano64", 1, 16',
    "segmentation": 'MODEL, EPOCHS, IMAGES = "nommer_micro", 1, 8',
    "detection": 'MODEL, EPOCHS, IMAGES = "nommer_micro", 1, 4',
}


@pytest.mark.parametrize("name", sorted(TINY))
def test_notebook_holds_small_outputs(name):
    path = NOTEBOOKS / f"{name}.ipynb"
    cells = json.loads(path.read_text("utf-8"))["cells"]
    assert path.stat().st_size < 200_000
    assert any(output for cell in cells for output in cell.get("outputs", ()))
    for cell in cells:
        assert all(output["output_type"] != "error" for output in cell.get("outputs", ()))
    (parameters,) = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", ())]
    assert "".join(parameters["source"]).split("=")[0] == TINY[name].split("=")[0]


@pytest.mark.slow
@pytest.mark.long
def test_notebook_runs(monkeypatch, tmp_path):
    nbclient = pytest.importorskip("nbclient", reason="runs where nommer[docs] is installed")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel", reason="runs where nommer[docs] is installed")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(NOTEBOOKS.parents[1] / "src"))
    notebook = nbformat.read(NOTEBOOKS / "segmentation.ipynb", as_version=4)
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", ()):
            cell.source = TINY["segmentation"]
    client = nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3")
    client.execute(cwd=str(NOTEBOOKS))
    assert "mIoU" in str([cell.get("outputs") for cell in notebook.cells])
