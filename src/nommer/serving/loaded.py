"""A model in PyTorch behind the server: run folders, model folders, entries of the zoo."""

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any, cast

import torch

from nommer.data.sources import ImageSource
from nommer.errors import InputError
from nommer.inference.inputs import load_to
from nommer.models.classification import Classifier
from nommer.models.detection import Detector
from nommer.models.features import FeatureExtractor, refusal
from nommer.models.segmentation import Segmenter
from nommer.predictions import Failure
from nommer.serving.model import OPTIONS, Answer, Options, Picture
from nommer.serving.whole import limited
from nommer.settings.pixel_range import Reading


class LoadedModel:
    """A model in memory as the server asks it; see `ServedModel`."""

    def __init__(self, name: str, source: str, *, device: str, threads: int | None) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self.name, self.model = name, load_to(source, device)
        self.task = str(self.model.task)
        if self.task in FeatureExtractor.tasks:
            raise InputError(f"{source}: {refusal()}")
        self.class_names = self.model.class_names
        exported = self.model.exported
        self.engine = "PyTorch" if exported is None else exported.runtime.name
        self.explains = exported is None and _nominates(self.model)

    @property
    def reading(self) -> Reading:
        """How image files become RGB."""
        return self.model.preprocessing.reading

    def check(self, options: Options) -> None:
        """Refuse options of other tasks."""
        options.check_known(OPTIONS[self.task], self.task)

    def group(self, picture: Picture) -> Hashable:
        """Return what a detector is asked for; other options are for the answer alone."""
        options = picture.options
        return (options.threshold, options.most) if self.task == "detection" else None

    def answer(self, pictures: Sequence[Picture]) -> list[Answer]:
        """Return the answers to pictures of one group."""
        model, options = self.model, pictures[0].options
        sources: list[ImageSource] = [picture.image for picture in pictures]
        answers: list[Answer]
        if isinstance(model, Classifier):
            answers = list(model.predict(sources, batch_size=len(sources)))
        elif isinstance(model, Detector):
            found = model.predict(sources, threshold=options.threshold, most=options.most)
            answers = list(found)
        else:
            answers = list(cast("Segmenter", model).predict(sources))
        pairs = zip(answers, pictures, strict=True)
        return [limited(replace(answer, source=one.name), one.options) for answer, one in pairs]

    def explain(self, picture: Picture, tokens: Sequence[tuple[int, int]]) -> dict[str, Any]:
        """Return nominations and answer, with the maps as nested lists of context indices."""
        from nommer.nominations.images import explain_image  # noqa: PLC0415 - needs [explain]
        from nommer.nominations.tokens import OutsideError  # noqa: PLC0415

        try:
            found = explain_image(self.model, picture.image, name=picture.name, tokens=tokens)
        except OutsideError as error:
            return Failure(picture.name, str(error)).to_dict()
        if isinstance(found, Failure):
            return found.to_dict()
        maps = {block: map_.tolist() for block, map_ in found.maps.items()}
        return found.to_dict() | {"contexts": list(found.contexts), "maps": maps}

    def describe(self) -> dict[str, Any]:
        """Return precision and masks."""
        exported, masks = self.model.exported, getattr(self.model.network, "has_masks", False)
        precision = "float32" if exported is None else exported.precision
        return {"precision": precision, "masks": bool(masks)}


def _nominates(model: Any) -> bool:
    from nommer.backbone.network import NomMer  # noqa: PLC0415 - slow to import

    return isinstance(model.backbone, NomMer)
