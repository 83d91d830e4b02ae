"""What the verbs are given, as what they work with: models on devices, lists of images."""

import sys
from collections.abc import Sequence
from pathlib import Path

from nommer.data.images import find_images
from nommer.deploy.fuse import fuse
from nommer.engine.trainer import one_device, parse_device
from nommer.engine.workflows import find_workflow
from nommer.errors import InputError
from nommer.heads.storage import Model, load


def images_to_compare(root: Path) -> list[Path]:
    """The images in a folder of data, without masks; everything where it is not laid out as data."""
    try:
        workflow = find_workflow(root)
    except InputError:
        return list(find_images([str(root)]))
    return [sample.path for sample in workflow.read(root, classes=None).samples()]


def load_to(model: Path | str, device: str) -> Model:
    """The model at `model`, fused for inference, on one device."""
    accelerator, chosen = parse_device(one_device(device), 1)
    number = f":{chosen[0]}" if isinstance(chosen, list) else ""
    return fuse(load(model)).to(f"{accelerator}{number}")


def read_list(images: Sequence[str]) -> list[str]:
    """The images asked for, with those from standard input in the place of "-"."""
    named: list[str] = []
    for image in [images] if isinstance(images, str | Path) else images:
        named += [line.rstrip("\r\n") for line in sys.stdin if line.strip()] if image == "-" else [str(image)]
    if not named:
        raise InputError("no images given; name files, folders or patterns")
    return named
