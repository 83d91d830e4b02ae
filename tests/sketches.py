"""Pictures of runs as sketches: half the time of a small run goes into drawing.

Tests that are not about pictures may have sketches. One is made of what its figure tells, so that
runs with equal pictures have equal sketches, and others others.
"""

import hashlib
from contextlib import contextmanager

import numpy as np
from PIL import Image


def sketch(figure, path):
    """Instead of `nommer.figures.save_figure`: a picture of 8 x 4 pixels that are a checksum."""
    digest = hashlib.sha256()
    for part in told(figure):
        digest.update(part if isinstance(part, bytes) else str(part).encode())
    Image.frombytes("L", (8, 4), digest.digest()).save(path)


def told(figure):
    """Everything that was drawn, without what matplotlib adds around it."""
    yield figure.get_size_inches()
    yield from (text.get_text() for legend in figure.legends for text in legend.get_texts())
    for axes in figure.axes:
        yield from (axes.get_title(), axes.get_xlabel(), axes.get_ylabel())
        yield from (axes.get_xlim(), axes.get_ylim())
        for line in axes.lines:
            yield from (line.get_label(), line.get_color(), line.get_xydata().tobytes())
        for shape in axes.patches:
            yield from (shape.get_facecolor(), shape.get_extents().get_points().tobytes())
        for collection in axes.collections:
            yield from (collection.get_label(), collection.get_facecolor())
            yield from (path.vertices.tobytes() for path in collection.get_paths())
        for image in axes.images:
            yield from (image.get_extent(), np.ma.getdata(image.get_array()).tobytes())
        for text in axes.texts:
            yield from (text.get_position(), text.get_color(), text.get_text())
        legend = axes.get_legend()
        yield from (text.get_text() for text in (legend.get_texts() if legend else ()))


@contextmanager
def saved_by(save):
    """A context in which `save` writes the pictures of runs."""
    from nommer.tasks import plots  # noqa: PLC0415 - matplotlib takes a second

    before = plots.save_figure
    plots.save_figure = save
    try:
        yield
    finally:
        plots.save_figure = before


@contextmanager
def drawn():
    """A context in which the pictures of runs are drawn, also where tests have sketches."""
    from nommer.figures import save_figure  # noqa: PLC0415 - matplotlib takes a second

    with saved_by(save_figure):
        yield
