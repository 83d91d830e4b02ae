"""Everything that `nommer predict` is told."""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

import yaml

from nommer.errors import InputError, check_minimum, check_share, shortened
from nommer.settings.choices import AsForm, Channels, Precision
from nommer.settings.inference import Inference
from nommer.settings.schema import Settings, Takes, given, is_held, required

BEST = "best"
"""Word for the thresholds that were found on validation images."""


@dataclass(frozen=True)
class PredictSettings(Settings):
    """Settings of a prediction.

    Raises:
        InputError: a value of another type, or out of range; the message names it.
    """

    model: Takes[Path, str] = required()
    """Run folder, model folder, exported model.onnx, published checkpoint, or name of the zoo, such
    as nommer_nano. Left out it is the best model of the zoo that is installed."""
    images: Takes[tuple[str, ...], str | Path | Sequence[str | Path]] = given(())
    """Files, folders (searched deeply) and glob patterns; videos, and cameras by number or device
    path. - reads one per line from standard input."""
    _: KW_ONLY
    top: int | None = None
    """Classes to name per image, most probable first, for classification. By default 5."""
    out: Takes[Path | None, str] = given(None)
    """Folder for result.json, predictions.csv and annotated images.
    Of videos, cameras and watched folders it holds answers.jsonl and annotated videos. Of a
    segmenter also the labels of all pixels as PNG, of a detector the objects as COCO and YOLO write
    them. By default a new one in the run folder."""
    batch_size: int | None = None
    """Images per step, for classification. By default 32; the others take one at a time."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    pictures: bool = True
    """Write the annotated images, or videos, too."""
    overwrite: bool = False
    """Delete earlier results in --out."""
    inference: Takes[Inference, Mapping[str, Any]] = given(Inference())
    """The way of a segmenter or detector over an image: whole or in windows; of a segmenter also
    scales, mirrored."""
    threshold: Takes[
        float | dict[str, float] | str | None, float | Mapping[str, float] | str | Path | None
    ] = given(None)
    """Least score of an answer, 0 to 1: of a detector, or of a class where an image may have
    several. A number, best, or a YAML file with one per class by name. By default best, the one of
    the best F1 on validation images, per class; of a model that tells none 0.05 of a detector, 0.5
    of classes."""
    refuse: bool = True
    """Answer none of these where an image is unlike those that a classifier learned, if known."""
    most: int | None = None
    """Answers of a detector per image. By default 100."""
    precision: Precision = "auto"
    """Number format of the computation. auto is the run's own, and for other models bf16 on a GPU
    that can and 32 elsewhere."""

    stride: int | None = None
    """Answer every n-th frame of a video or camera. By default every frame."""
    frames: int | None = None
    """Frames of a video or camera to answer. By default all of them."""
    track: bool = False
    """Number the objects that a detector finds in a video, each the same from frame to frame."""
    watch: bool = False
    """Watch the folders named, and answer new images until Ctrl-C."""
    resume: bool = False
    """Go on with the videos or watched folders of --out where they were stopped."""

    as_data: Takes[Path | None, str] = given(None)
    """New folder for the images with the answers as labels: data that check accepts and train
    takes."""
    as_form: AsForm = "auto"
    """Form of --as-data; auto is coco for objects, folders for classes, table where an image may
    have several, masks for pixels."""
    confidences: bool = False
    """Write scores behind YOLO's lines; confidences in data.yaml tells check and train so."""
    allow_urls: bool = False
    """Fetch images that are named by https addresses, each of up to 64 MiB."""

    def check(self) -> None:
        """Refuse values out of range."""
        for name in ("top", "batch_size", "most", "stride", "frames"):
            check_minimum(name.replace("_", "-"), getattr(self, name), 1)
        if self.as_data is None and (self.as_form != "auto" or self.confidences):
            name = "--as-form" if self.as_form != "auto" else "--confidences"
            raise InputError(f"{name}: says how answers are written as data; give --as-data FOLDER")
        if self.resume and (self.overwrite or self.out is None or self.as_data is not None):
            also = "--overwrite" if self.overwrite else "--as-data"
            why = f"goes on with a folder, so not with {also}" if self.out else "needs --out"
            raise InputError(f"--resume: {why}")
        asked = self.threshold
        if isinstance(asked, str) and asked != BEST:
            asked = thresholds_in(Path(asked))
            object.__setattr__(self, "threshold", asked)
        check_thresholds("--threshold", asked)


@dataclass(frozen=True)
class PredictCall(PredictSettings):
    """Arguments of `nommer.predict`: those of the command line, and images in memory."""

    images: Any = ()
    """Files, folders (searched deeply) and glob patterns; videos, and cameras by number or device
    path; or bytes, open files, PIL images, arrays, tensors; one, a list or an iterator."""
    channels: Channels = "rgb"
    """Order of the colours of arrays and tensors; OpenCV's is bgr."""
    stream: bool = False
    """Return at once, and answer one image or frame at a time while the result is iterated."""


def check_thresholds(name: str, asked: object) -> None:
    """Refuse least scores that are not from 0 to 1: one number, or numbers by class.

    Raises:
        InputError: the option or argument, the class, and what was found.
    """
    scores = asked.items() if isinstance(asked, Mapping) else [("", asked)]
    for label, score in scores:
        if isinstance(score, int | float):
            check_share(f"{name} of {shortened(label)}" if label else name, score)


def thresholds_in(file: Path) -> dict[str, float]:
    """Read a threshold for every class, by its name.

    Raises:
        InputError: no such file, or it holds something else.
    """
    expected = "give a number from 0 to 1, best, or a YAML file of lines such as cat: 0.4"
    try:
        told = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        why = "there is no such file" if isinstance(error, FileNotFoundError) else "is no YAML"
        raise InputError(f"--threshold {file}: {why}; {expected}") from error
    if not isinstance(told, dict) or not all(
        isinstance(value, int | float) and not isinstance(value, bool) and is_held(value)
        for value in told.values()
    ):
        raise InputError(f"--threshold {file}: holds no number per class; {expected}")
    return {str(name): float(value) for name, value in told.items()}
