"""The inputs of the verbs: models on devices, lists of images."""

import sys
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

from nommer.acceleration.fuse import fuse
from nommer.data.formats.classification import is_classification_alone
from nommer.data.formats.labelled import read_split
from nommer.data.formats.source import Source
from nommer.data.image_paths import find_images, is_image_name
from nommer.data.remote import local
from nommer.data.sources import ImageSource, here, is_web_image, read_once, sources_of
from nommer.data.videos import is_video_name
from nommer.distributed.devices import torch_device
from nommer.errors import InputError
from nommer.models.onnx_files import SUFFIX, WHOLE, open_described
from nommer.models.storage import Model, load
from nommer.models.whole import WholeFile
from nommer.models.whole_recogniser import WholeRecogniser
from nommer.progress import notice
from nommer.runs.folder import RunFolder
from nommer.settings.predict import PredictCall
from nommer.settings.train import OWN_DATA
from nommer.streams.sources import Group, Streams, groups_of, is_of_stream
from nommer.tasks.registry import task_for
from nommer.zoo import CARD, DESCRIPTION, default_entry, find_entry


def images_to_compare(run: RunFolder, data: Path | None) -> list[Path]:
    """Return the images of the data asked for, or else those that the run wrote down."""
    if data is None and run.split.is_file():
        listed = read_split(local(data_of_run(run)), run.split)
        return sorted(path for paths in listed.values() for path in paths)
    root = data or data_of_run(run)
    source = Source(root)
    try:  # data with masks hold those too, which are images but none to answer
        return [sample.path for sample in task_for(source).data.read(source).samples()]
    except InputError:
        if is_classification_alone(source):  # an archive, or a table
            raise
    return list(find_images([str(source.root)]))


def data_of_run(run: RunFolder) -> Path:
    """The data that a run was trained on.

    Raises:
        InputError: not a run folder.
    """
    settings = run.settings()
    if settings is None:
        raise InputError(
            f"{run.path}: is no run folder, so it does not say what data to use; give --data"
        )
    if settings.data == OWN_DATA:
        raise InputError(
            f"{run.path}: was trained on datasets given from Python, which no folder holds; give "
            "--data"
        )
    return settings.data


def load_to(model: Path | str, device: str) -> Model:
    """The model at `model`, fused for inference, on one device."""
    return fuse(load(model), inplace=True).to(torch_device(device))


def load_to_answer(model: Path | str, device: str) -> Model:
    """Return the model at `model` as `load_to` does, or a whole file, which answers by itself."""
    path = Path(model)
    if path.suffix == SUFFIX and path.is_file():
        session, told = open_described(path)
        if told.get(WHOLE):
            return WholeRecogniser(WholeFile(path, session, told))
    return load_to(model, device)


def or_of_zoo(model: Path | str, images: Sequence[str]) -> tuple[Path | str, Sequence[str]]:
    """The model and the images to answer.

    Where only images are given, the best model of the zoo that is here.

    Raises:
        InputError: only images, and no trained model comes with this installation.
    """
    images = [images] if isinstance(images, str | Path) else list(images)
    alone = not images and not is_model(Path(model))
    if not (alone or str(model) == "-" or _is_to_answer(Path(model))):
        return model, images
    entry = default_entry()
    if entry is None:
        raise InputError(
            "no model is given and none comes with this installation: name one, as in nommer "
            f"predict MODEL {model}"
        )
    told = entry.description()
    known, refuses = len(told["class_names"]), "familiarity" in told.get("decisions", {})
    notice(
        f"no model is given, so it is {entry.name} of the zoo: whatever an image shows, it answers "
        f"one of its {known} classes{' or none of these' if refuses else ''}, on its own "
        f"validation images rightly for {entry.score:.0%}; its limits: "
        f"{entry.folder}/{CARD}"
    )
    return entry.name, [str(model), *images]


def is_model(path: Path) -> bool:
    """Tell if a path is, by its looks, a model and no images.

    A folder or a file of one, or a name of the zoo.
    """
    if path.is_dir():
        return any((path / name).exists() for name in ("config.yaml", DESCRIPTION, "model"))
    return not _is_to_answer(path) if path.is_file() else find_entry(path) is not None


def _is_to_answer(path: Path) -> bool:
    return is_image_name(path) or is_video_name(path)


def read_list(images: Sequence[str]) -> list[str]:
    """The images asked for, with those from standard input in the place of "-".

    In the place of an address, other than that of one image of the web, the copy on this machine.
    """
    named: list[str] = []
    for image in [images] if isinstance(images, str | Path) else images:
        named += (
            [line.rstrip("\r\n") for line in sys.stdin or () if line.strip()]
            if image == "-"
            else [str(image)]
        )
    if not named:
        raise InputError("no images given; name files, folders or patterns")
    return [name if is_web_image(name) else here(name) for name in named]


def images_to_answer(
    call: PredictCall,
) -> tuple[Path | str, Iterable[ImageSource] | Streams]:
    """The model and the images of a prediction: a list of those in files, else an iterator.

    Or where there is a video, a camera or a folder to be watched, or answers are wanted one by one,
    what they come from.

    Raises:
        InputError: no images, or what is none.
    """
    given, named_by = call.images, str | Path | int
    alone = [given] if isinstance(given, named_by) else given
    if not (isinstance(alone, list | tuple) and all(isinstance(i, named_by) for i in alone)):
        sources = sources_of(given, channels=call.channels, allow_urls=call.allow_urls)
        if call.resume:
            raise InputError("resume: images in memory have no names to tell which were answered")
        once = map(read_once, sources)
        return call.model, Streams([Group("images", "images", once)]) if call.stream else once
    model, named = or_of_zoo(call.model, [str(one) for one in alone])
    named = read_list(named)
    if call.watch or call.stream or any(map(is_of_stream, named)):
        return model, Streams(groups_of(named, call))
    found: list[ImageSource] = []
    for on_the_web, names in groupby(named, is_web_image):
        some = list(names)
        if on_the_web:
            found += sources_of(some, allow_urls=call.allow_urls)
        else:
            found += find_images(some)
    return model, found
