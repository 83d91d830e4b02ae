"""A model in PyTorch behind the server: run folders, model folders, entries of the zoo."""

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any

import torch

from nommer.errors import InputError
from nommer.inference.inputs import load_to
from nommer.models.features import refusal
from nommer.predictions import Failure
from nommer.serving.answers import as_dict
from nommer.serving.model import Answer, Look, Options, Picture
from nommer.settings.pixel_range import Reading


class LoadedModel:
    """A model in memory as the server asks it; see `ServedModel`."""

    def __init__(self, name: str, source: str, *, device: str, threads: int | None) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self.name, self.model = name, load_to(source, device)
        self.task = str(self.model.task)
        if not self.model.has_answers:
            raise InputError(f"{source}: {refusal()}")
        self.class_names = self.model.class_names
        exported = self.model.exported
        self.engine = "PyTorch" if exported is None else exported.runtime.name
        self.explains = _nominates(self.model)
        self.attribution: str | None = _method(self.model)

    @property
    def answer_options(self) -> frozenset[str]:
        """The options that do something."""
        return self.model.answer_options

    @property
    def reading(self) -> Reading:
        """The reading of image files as RGB."""
        return self.model.preprocessing.reading

    def check(self, options: Options) -> None:
        """Refuse options of other tasks, and classes that the model does not have."""
        options.check_known(self.answer_options, self.task)
        self.model.decisions.thresholds(self.class_names, options.asked)

    def group(self, picture: Picture) -> Hashable:
        """Return what a model is asked for; other options are for the answer alone."""
        options = picture.options
        return options.threshold, options.most, options.refuse

    def answer(self, pictures: Sequence[Picture]) -> list[Answer]:
        """Return the answers to pictures of one group."""
        options, known = pictures[0].options, self.answer_options
        given = {"threshold": options.asked, "most": options.most, "refuse": options.refuse}
        asked = {name: value for name, value in given.items() if name in known}
        answers = self.model.answer_together([picture.image for picture in pictures], **asked)
        pairs = zip(answers, pictures, strict=True)
        return [replace(answer, source=one.name) for answer, one in pairs]

    def explain(self, picture: Picture, look: Look) -> dict[str, Any]:
        """Return answer and attribution; nominations with the maps as nested lists of indices."""
        from nommer.nominations.attribution import attribute  # noqa: PLC0415 - needs [explain]

        told, found = self._looked(picture, look) if self.explains else self._answered(picture)
        if look.attribution and not isinstance(found, Failure):
            told["attribution"] = attribute(self.model, picture.image, found).to_dict()
        return told

    def _answered(self, picture: Picture) -> tuple[dict[str, Any], Any]:
        (found,) = self.answer([picture])
        return as_dict(found, picture.options) | {"size": list(picture.image.size)}, found

    def _looked(self, picture: Picture, look: Look) -> tuple[dict[str, Any], Any]:
        """Return what is nominated, and the answer under forced contexts."""
        from nommer.nominations.forcing import explain_forced  # noqa: PLC0415 - needs [explain]
        from nommer.nominations.images import explain_image  # noqa: PLC0415
        from nommer.nominations.page import page_values  # noqa: PLC0415
        from nommer.nominations.tokens import OutsideError  # noqa: PLC0415

        name, image = picture.name, picture.image
        try:
            found = explain_image(self.model, image, name=name, tokens=look.tokens)
        except OutsideError as error:
            found = Failure(name, str(error))
        if isinstance(found, Failure):
            return found.to_dict(), found
        maps = {block: map_.tolist() for block, map_ in found.maps.items()}
        told = found.to_dict() | {"contexts": list(found.contexts), "maps": maps}
        if look.grids:
            told |= page_values(found) | {"answer": as_dict(found.prediction, picture.options)}
        if look.force:
            forced = explain_forced(self.model, image, look.force, name=name)
            told["forced"] = self._forced(forced, picture.options)
        return told, found.prediction

    def _forced(self, found: Any, options: Options) -> dict[str, Any]:
        from nommer.nominations.page import forced_values  # noqa: PLC0415 - needs [explain]

        if isinstance(found, Failure):
            return found.to_dict()
        return {"answer": as_dict(found.prediction, options)} | forced_values(found)

    def describe(self) -> dict[str, Any]:
        """Return precision and masks."""
        exported, masks = self.model.exported, getattr(self.model.network, "has_masks", False)
        precision = "float32" if exported is None else exported.precision
        return {"precision": precision, "masks": bool(masks)}


def _nominates(model: Any) -> bool:
    from nommer.nominations.trace import nominates  # noqa: PLC0415 - slow to import

    return nominates(model)


def _method(model: Any) -> str | None:
    """Return the method of attribution; None where what shows nominations is not installed."""
    try:
        from nommer.nominations.attribution import method_of  # noqa: PLC0415 - needs [explain]
    except ModuleNotFoundError:
        return None
    return method_of(model)
