"""A candidate for an exported model: it takes its place only if it passes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def candidate_in(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the exported model in a folder, and the path of the candidate for its place.

    It takes the model's place at the end, and goes where anything is raised.
    """
    file, candidate = folder / "model.onnx", folder / ".candidate.onnx"
    try:
        yield file, candidate
        candidate.replace(file)
    finally:
        candidate.unlink(missing_ok=True)
