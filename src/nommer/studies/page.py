"""The explorer saved with images in it, as one file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nommer.errors import InputError
from nommer.explorer import saved_page
from nommer.files import write_text
from nommer.models.recogniser import Recogniser, open_source
from nommer.nominations.attribution import method_of
from nommer.nominations.page import saved_values
from nommer.nominations.trace import nominates
from nommer.predictions import Failure
from nommer.predictions.picture import as_uri
from nommer.progress import track

MOST_IMAGES = 50
"""Of a page."""

_SIDE = 1024
"""Pixels to which the longer side of a larger image is shrunk in the page."""


def check_page(images: int) -> None:
    """Refuse a page of more images than a browser holds well.

    Raises:
        InputError: there are more.
    """
    if images > MOST_IMAGES:
        raise InputError(
            f"--page: holds at most {MOST_IMAGES} images, and {images} were named; name fewer"
        )


def write_page(model: Recogniser, paths: Sequence[Path], out: Path, *, name: str) -> None:
    """Write a page of what a model answers to images, and how; those that fail are left out."""
    images = []
    for path in track(paths, total=len(paths), what="writing the page"):
        image = open_source(path, model.preprocessing.reading)
        if isinstance(image, Failure):
            continue
        result = saved_values(model, image, path.name)
        if "error" not in result:
            images.append({"name": path.name, "src": as_uri(image, _SIDE), "result": result})
    told: dict[str, Any] = {
        "name": name,
        "task": model.task,
        "class_names": list(model.class_names),
        "options": [],
        "explains": nominates(model),
        "attribution": method_of(model),
    }
    write_text(out, saved_page({"models": [told], "images": images}))
