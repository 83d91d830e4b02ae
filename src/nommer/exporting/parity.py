"""The comparison of an exported model with the one that it was made from, on real images."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from nommer.errors import InputError
from nommer.models.recogniser import Recogniser
from nommer.tasks.exporting import ParityReport, Prepared
from nommer.tasks.image_size import ImageSize
from nommer.tasks.registry import task_of


def parity_images(model: Recogniser, paths: Sequence[Path]) -> Prepared:
    """Return the images of `prepare_some` on which a model is compared.

    Raises:
        InputError: none of those looked at can be read.
    """
    task = task_of(model).exporting
    return task.together(list(prepare_some(model, paths, task.parity_images).values()))


def prepare_some(model: Recogniser, paths: Sequence[Path], wanted: int) -> dict[Path, Tensor]:
    """Return so many of the images in `paths`, evenly chosen, as the exported model takes them.

    Or all, each (3, height, width).

    Of a segmenter their middle; of a detector each at its own size. Where some cannot be read,
    others take their place.

    Raises:
        InputError: none of those looked at can be read.
    """
    chosen = set(evenly(len(paths), wanted))
    rest = [path for index, path in enumerate(paths) if index not in chosen]
    looked_at = [paths[index] for index in sorted(chosen)] + [
        rest[index] for index in evenly(len(rest), wanted)
    ]
    prepared = ((path, model.prepare(path)) for path in looked_at)
    images = dict(
        islice(((path, image) for path, image in prepared if isinstance(image, Tensor)), wanted)
    )
    if not images:
        raise InputError(
            "none of the images looked at can be read; give --data with images to compare on"
        )
    return task_of(model).exporting.fit(model, images)


def evenly(count: int, wanted: int) -> list[int]:
    """Return so many indices of `count` things, at even distances from the first on, or all."""
    chosen = min(wanted, count)
    return [number * count // chosen for number in range(chosen)]


@torch.inference_mode()
def compare(
    reference: Recogniser, exported: Recogniser, images: Prepared, size: ImageSize
) -> ParityReport:
    """Run both on the same prepared images, in batches of several sizes.

    The images are resized where any size will do.

    Raises:
        InputError: a detector that finds nothing in them, of which nothing could be compared.
    """
    return task_of(reference).exporting.compare(reference, exported, images, size)
