"""A whole ONNX file behind the server; loads no PyTorch."""

from collections.abc import Hashable, Sequence
from functools import partial
from typing import Any

from PIL import Image

from nommer.errors import InputError
from nommer.models.whole import WholeFile
from nommer.predictions import Failure
from nommer.predictions.occlusion import occlusion, target_of
from nommer.serving.answers import as_dict
from nommer.serving.model import Answer, Look, Options, Picture
from nommer.settings.pixel_range import Reading


class WholeModel:
    """A whole file as the server asks it; see `ServedModel`."""

    engine = "ONNX Runtime"
    explains = False
    attribution: str | None = "occlusion"

    def __init__(self, name: str, file: WholeFile) -> None:
        self.name, self.file = name, file
        self.task: str = self.file.description.task
        self.class_names = self.file.description.class_names

    @property
    def answer_options(self) -> frozenset[str]:
        """The options that do something."""
        return self.file.answer_options

    @property
    def reading(self) -> Reading:
        """The reading of image files as RGB."""
        return self.file.description.reading

    def check(self, options: Options) -> None:
        """Refuse options of other tasks, and what was left out when the file was written."""
        options.check_known(self.answer_options, self.task)
        self.file.check_limits(threshold=None, most=options.most)
        self.file.least(options.asked)

    def group(self, picture: Picture) -> Hashable:
        """Return the size, for images of different sizes are no tensor, and what is asked for."""
        options = picture.options
        asked = options.threshold, options.most, options.refuse, options.pixels
        return picture.image.size, asked

    def answer(self, pictures: Sequence[Picture]) -> list[Answer]:
        """Return the answers to pictures of one group."""
        named = [(picture.name, picture.image) for picture in pictures]
        options = pictures[0].options
        return self.file.answer(
            named,
            pixels=options.pixels,
            least=self.file.least(options.asked),
            most=options.most,
            refuse=options.refuse,
        )

    def explain(self, picture: Picture, look: Look) -> dict[str, Any]:
        """Return the answer and its attribution, by hiding parts of the image."""
        if not look.attribution or look.tokens or look.force:
            raise InputError(
                f"{self.name}: is an exported file, which holds no network to look into; serve the "
                "run folder or the model folder that it was made from, or ask for attribution alone"
            )
        before = self.answer([picture])[0]
        told = as_dict(before, picture.options) | {"size": list(picture.image.size)}
        if isinstance(before, Failure):
            return told
        values = occlusion(picture.image, before, partial(self._answers, picture.options))
        rounded = [[float(f"{value:.4g}") for value in row] for row in values.tolist()]
        shown = {"method": "occlusion", "target": target_of(before), "values": rounded}
        return told | {"attribution": {**shown, "box": [0, 0, *picture.image.size]}}

    def _answers(self, options: Options, images: Sequence[Image.Image]) -> list[Answer]:
        return self.answer([Picture("image", image, options) for image in images])

    def describe(self) -> dict[str, Any]:
        """Return precision and masks."""
        return {"precision": self.file.description.precision, "masks": self.file.has_masks}
