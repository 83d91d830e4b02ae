"""Run the notebooks of the docs in place, and keep of their outputs what is to be read.

python tools/run_notebooks.py [NAME ...]      # `make notebooks` runs them all

Warnings, progress and a second form of each picture are left out, so that files stay small.
"""

import sys
from pathlib import Path
from typing import Any

import nbclient
import nbformat

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "notebooks"


def main() -> None:
    """Run those that are named, or all."""
    for name in sys.argv[1:] or sorted(path.stem for path in FOLDER.glob("*.ipynb")):
        path = FOLDER / f"{name}.ipynb"
        notebook = nbformat.read(path, as_version=4)
        client = nbclient.NotebookClient(
            notebook, timeout=3600, kernel_name="python3", record_timing=False
        )
        client.execute(cwd=str(FOLDER))
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs = [tidy(one) for one in cell.outputs if is_kept(one)]
        notebook.metadata.pop("language_info", None)
        nbformat.write(notebook, path)
        print(f"{path}: {path.stat().st_size:,} bytes")


def is_kept(output: Any) -> bool:
    """Tell outputs from warnings and from the progress of reading."""
    text = output.get("data", {}).get("text/plain", output.get("text", "-"))
    progress = text.startswith("reading images") or not text.strip()
    return output.get("name") != "stderr" and not progress


def tidy(output: Any) -> Any:
    """Return an output in one form: a picture as JPEG, an answer as HTML, all else as text."""
    data = output.get("data", {})
    if "image/jpeg" in data:
        data.pop("image/png", None)
    if "data:image/" not in data.get("text/html", ""):
        data.pop("text/html", None)
    return output


if __name__ == "__main__":
    main()
