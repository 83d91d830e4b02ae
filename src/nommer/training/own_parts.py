"""People's own parts of a training: callbacks, a transform, a loss, data sets, from Python."""

import inspect
import json
import os
import pickle
from contextlib import AbstractContextManager, nullcontext
from multiprocessing import get_start_method
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import to_pil_image

from nommer.data.archives import mounted
from nommer.data.formats.own_datasets import SPLITS, DatasetArchive, class_names_of
from nommer.data.module import ImageData
from nommer.data.transforms import Preprocessing
from nommer.distributed.launch import Launch
from nommer.errors import InputError
from nommer.files import write_json
from nommer.progress import notice
from nommer.runs.folder import RunFolder
from nommer.settings.own_parts import OwnParts
from nommer.settings.train import OWN_DATA
from nommer.tasks.task import Task

RECORD = "own_parts.json"
"""In a run folder, where own parts were given: their names and what they are."""


class OwnTransform:
    """A transform of torchvision's v2 or of albumentations, and then the model's preprocessing.

    Args:
        transform: of an RGB image of PIL; or, as albumentations has it, of `image=` an array.
        preprocessing: from an RGB image to the input of the network; a float tensor of that size
            is taken as it is.
    """

    def __init__(self, transform: Any, preprocessing: Preprocessing) -> None:
        self.transform, self.preprocessing = transform, preprocessing
        self.takes_arrays = type(transform).__module__.partition(".")[0] == "albumentations"

    def __call__(self, image: Image.Image) -> Tensor:
        """Change an RGB image at random, and prepare it."""
        if self.takes_arrays:
            changed = self.transform(image=np.asarray(image))["image"]
        else:
            changed = self.transform(image)
        if isinstance(changed, Tensor) and changed.is_floating_point():
            side = self.preprocessing.image_size
            if tuple(changed.shape) != (3, side, side):
                raise InputError(
                    f"transform: gave a tensor of {tuple(changed.shape)}; expected an image, or "
                    f"normalised floats of (3, {side}, {side})"
                )
            return changed
        if not isinstance(changed, Image.Image):
            changed = to_pil_image(changed)
        return self.preprocessing(changed)


def own_datasets(own: OwnParts) -> AbstractContextManager[None]:
    """Let own data sets be read as files while it lasts.

    Raises:
        InputError: they are none.
    """
    if own.datasets is None:
        return nullcontext()
    class_names_of(own.datasets)
    return mounted(OWN_DATA, DatasetArchive(OWN_DATA, own.datasets))


def check_workers(own: OwnParts, workers: int) -> None:
    """Refuse workers that are not forked, and so would not know of own data sets.

    Raises:
        InputError: workers that start anew, as on macOS and Windows.
    """
    if own.datasets is not None and workers and get_start_method() != "fork":
        raise InputError(
            f"--workers {workers}: processes of this system start anew and do not know the "
            "datasets; give workers=0"
        )


def check_own_parts(own: OwnParts, task: Task, launch: Launch) -> None:
    """Refuse what cannot be used.

    Raises:
        InputError: a part that the task has no place for, or that other processes cannot import.
    """
    crops = "augment" in task.options
    for name, given, possible in (
        ("transform", own.transform is not None, crops),
        ("loss", own.loss is not None, task.takes_loss),
    ):
        if given and not possible:
            raise InputError(
                f"nommer.train: {name} cannot be given for {task.name}; docs/extend.md shows a "
                "training script of one's own, in which everything can be"
            )
    if launch.launcher == "nommer":
        for part in (*own.callbacks, own.transform, own.loss, *_sets(own)):
            _check_handed_over(part)


class _HandingOver(pickle.Pickler):
    """Refuses all that other processes cannot import."""

    def reducer_override(self, value: Any) -> Any:
        """Leave to pickle all but classes and functions of the script itself."""
        named = isinstance(value, type | FunctionType)
        if named and value.__module__ == "__main__":
            raise InputError(
                f"nommer.train: {value.__name__} is defined in the script itself, which the "
                "processes of --devices cannot import; put it into a module, or start the script "
                "by torchrun"
            )
        return NotImplemented


def _check_handed_over(part: Any) -> None:
    """Refuse a part that the processes of --devices cannot be given.

    Raises:
        InputError: the part, and what of it cannot be pickled, or imported.
    """
    try:
        with Path(os.devnull).open("wb") as nowhere:
            _HandingOver(nowhere).dump(part)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise InputError(
            f"nommer.train: {type(part).__name__} cannot be given to the processes of --devices "
            f"({error}); use what can be pickled, or start the script by torchrun"
        ) from error


def _sets(own: OwnParts) -> list[Any]:
    return [own.datasets[split] for split in SPLITS if own.datasets and split in own.datasets]


def _module_of(part: Any) -> str:
    is_function = inspect.isfunction(part) or inspect.isclass(part)
    return str(getattr(part if is_function else type(part), "__module__", ""))


def use_transform(batches: ImageData[Any, Any], own: OwnParts, model: Any) -> None:
    """Let training images be changed by the own transform in the place of `augment`."""
    if own.transform is not None:
        batches.train.transform = OwnTransform(own.transform, model.preprocessing)


def record_own_parts(run: RunFolder, own: OwnParts, *, resume: bool) -> None:
    """Write down which own parts a run has, and say what going on cannot reproduce."""
    file = run.path / RECORD
    before = json.loads(file.read_text(encoding="utf-8")) if resume and file.is_file() else {}
    now = {name: _described(getattr(own, name)) for name in own.names if name != "datasets"}
    if own.datasets is not None:
        now["datasets"] = _described(_sets(own))
    if resume and (before or now):
        missing = sorted(before.keys() - now.keys())
        left = f"; not given now: {', '.join(missing)}" if missing else ""
        notice(
            f"the run has own parts ({', '.join(sorted(before.keys() | now.keys()))}), which "
            "--resume can neither compare nor reproduce but for their state in the checkpoint"
            f"{left}"
        )
    if now:
        write_json(file, before | now)


def _described(part: Any) -> Any:
    if isinstance(part, list | tuple):
        return [_described(one) for one in part]
    name = getattr(part, "__qualname__", type(part).__qualname__)
    return f"{_module_of(part)}.{name}"
