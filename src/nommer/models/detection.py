"""A detector: the network, its classes and their ids, and how its images are prepared."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any, cast

import torch
from PIL import Image
from torch import Tensor

from nommer.data.box_transforms import BoxPreprocessing, Target
from nommer.data.sources import ImageSource, sources_of
from nommer.errors import InputError, check_share
from nommer.models.decided_objects import decided, floor_of, in_words_of
from nommer.models.ensemble_networks import ObjectEnsemble
from nommer.models.evaluation_mode import evaluating
from nommer.models.exported_networks import ExportedObjectNetwork
from nommer.models.networks import build_network, describe_network
from nommer.models.object_masks import paste_mask
from nommer.models.rcnn import RCNN, ObjectNetwork
from nommer.models.rcnn import Image as ImageTensor
from nommer.models.recogniser import Recogniser, View
from nommer.models.thresholds import Threshold
from nommer.models.tiles import Window, in_batches, merge, place, windows_over
from nommer.predictions import Detections, Failure
from nommer.predictions.run_lengths import encode_pixels
from nommer.settings.choices import Channels
from nommer.settings.inference import Inference
from nommer.settings.rcnn import RCNNProtocol


class Detector(Recogniser):
    """A network with class names, category ids and preprocessing.

    `predict` takes images as they are.

    Args:
        network: of boxes only, or of boxes and masks.
        class_names: one per class of the network.
        category_ids: the number that the data know each class by; results are written with these.
        preprocessing: from a decoded image to the network's input.

    Raises:
        InputError: not as many names or category ids as the network has classes, or a category id
            twice.
    """

    tasks = ("detection",)
    preprocessing_kind = BoxPreprocessing
    exported_network = ExportedObjectNetwork
    ensemble_network = ObjectEnsemble
    inference_method = "feature_maps"
    smooth_scores = False  # objects come and go
    finds = "objects"

    network: ObjectNetwork
    preprocessing: BoxPreprocessing

    def __init__(
        self,
        network: ObjectNetwork,
        *,
        class_names: Sequence[str],
        category_ids: Sequence[int],
        preprocessing: BoxPreprocessing,
    ) -> None:
        super().__init__(network, class_names=class_names, preprocessing=preprocessing)
        for what, given in (("class names", class_names), ("category ids", category_ids)):
            if len(given) != network.num_classes:
                raise InputError(
                    f"the network has {network.num_classes} classes but {len(given)} {what} were "
                    "given"
                )
        if len(set(category_ids)) < len(category_ids):
            raise InputError(
                f"every class must have a category id of its own, got {list(category_ids)}"
            )
        self.category_ids = tuple(int(number) for number in category_ids)

    @classmethod
    def build_network(cls, description: Mapping[str, Any]) -> RCNN:
        """Return the network that `architecture` described, with fresh weights."""
        backbone, head = build_network(description["architecture"]), description["head"]
        protocol = RCNNProtocol(**head["protocol"])
        names = description["class_names"]
        return RCNN(backbone, num_classes=len(names), **{**head, "protocol": protocol})

    @classmethod
    def of(cls, network: Any, description: Mapping[str, Any]) -> "Detector":
        """Return the detector of a network, with the labels and preprocessing of a description."""
        return cls(
            network,
            class_names=description["class_names"],
            category_ids=description["category_ids"],
            preprocessing=BoxPreprocessing(**description["preprocessing"]),
        )

    def architecture(self) -> dict[str, Any]:
        """Return what `build_network` needs."""
        network = cast("RCNN", self.network)
        head = {
            "masks": network.has_masks,
            "cascade": network.is_cascade,
            "protocol": asdict(network.protocol),
            "fpn_channels": network.fpn_channels,
            "box_channels": network.box_channels,
        }
        return {"architecture": describe_network(self.backbone), "head": head}

    def labels(self) -> dict[str, Any]:
        """Return the category ids."""
        return {"category_ids": list(self.category_ids)}

    @property
    def backbone(self) -> Any:
        """The network under the heads: a NomMer or a network of timm."""
        network: Any = self.network
        return network.backbone

    def answer(self, view: View, name: str) -> Detections | None:
        """Return the objects in one image; None where the scores are NaN."""
        least, size = self.decisions.thresholds(self.class_names, None), view.image.size[::-1]
        found = self.detect(view.prepared, size=size, threshold=floor_of(least, self))
        return decided(found, least, self.decisions, name)

    def forward(
        self, images: Sequence[ImageTensor], targets: Sequence[Target] | None = None
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """In training the losses, in evaluation the objects, of prepared images (3, h, w).

        See `RCNN`.
        """
        return self.network(images, targets)

    def predict(
        self,
        images: ImageSource | Iterable[ImageSource],
        *,
        threshold: Threshold = None,
        most: int | None = None,
        inference: Inference = Inference(),
        channels: Channels = "rgb",
        allow_urls: bool = False,
    ) -> list[Detections | Failure]:
        """Find objects in images of any size and every kind that `data.sources` tells.

        An image that cannot be decoded gets a `Failure`; the others are answered all the same.

        Args:
            images: each is looked at alone, so that no answer depends on the others.
            threshold: least score of an answer, 0 to 1: a number, "best" or one per class by
                name. By default the best that were found on validation images, of a model that
                tells none the protocol's, 0.05 as published.
            most: answers per image. By default the protocol's, 100 as published.
            inference: whole, or in windows that are merged.
            channels: order of the colours of arrays and tensors; "bgr" as OpenCV reads them.
            allow_urls: fetch images that are named by https addresses.

        Raises:
            InputError: what is no image and no collection of images, or a value
                out of range.
        """
        sources = sources_of(images, channels=channels, allow_urls=allow_urls)
        answers = self.predict_stream(sources, threshold=threshold, most=most, inference=inference)
        return list(answers)

    @property
    def answer_options(self) -> frozenset[str]:
        """The options of a request that do something."""
        return Detections.options

    def predict_stream(
        self,
        sources: Iterable[ImageSource],
        *,
        threshold: Threshold = None,
        most: int | None = None,
        inference: Inference = Inference(),
    ) -> Iterator[Detections | Failure]:
        """As `predict`, one answer after the other, with one image in memory."""
        least = self.decisions.thresholds(self.class_names, threshold)
        floor = floor_of(least, self)

        def answer(name: str, image: Image.Image) -> Detections | None:
            found = self.find(image, threshold=floor, most=most, inference=inference)
            return decided(found, least, self.decisions, name)

        yield from self.answer_each(sources, answer)

    def find(
        self,
        image: Image.Image,
        *,
        threshold: float | None = None,
        most: int | None = None,
        inference: Inference = Inference(),
    ) -> Detections | None:
        """Return the objects in an RGB image, seen whole or in windows; see `predict`.

        None where the network's scores are NaN or infinite.
        """
        inference.check_objects()
        size = (image.height, image.width)
        if inference.mode != "slide":
            return self.detect(self.preprocessing(image), size=size, threshold=threshold, most=most)
        side = inference.window or self.preprocessing.short_side
        windows = windows_over(size, side, inference.overlap)
        if len(windows) > 1:
            windows.append(Window(0, 0, image.width, image.height))
        threshold, most = self._limits(threshold, most)
        parts: list[dict[str, Tensor]] = []
        for window, prepared, found in self._in_windows(image, windows, threshold, most):
            if found is None:
                return None
            parts.append(place(found, (prepared.shape[-2], prepared.shape[-1]), window, size))
        return self._as_answer(merge(parts, nms=self.network.protocol.nms, most=most), size)

    def _in_windows(
        self, image: Image.Image, windows: Sequence[Window], threshold: float, most: int
    ) -> Iterator[tuple[Window, Tensor, dict[str, Tensor] | None]]:
        """Yield every window with what the network saw and found there, some at a time."""
        for shape, alike in groupby(windows, lambda window: window.sides):
            seen = self.preprocessing.size(shape[1], shape[0])
            for group in in_batches(list(alike), seen):
                prepared = [self.preprocessing(window.crop(image)) for window in group]
                found = self._found(prepared, threshold, most)
                if found is None:
                    yield group[0], prepared[0], None
                    return
                yield from zip(group, prepared, found, strict=True)

    def answers_how(self, threshold: Threshold = None) -> str:
        """Return in words from which score on objects are answered."""
        least = self.decisions.thresholds(self.class_names, threshold)
        return in_words_of(least, self, given=threshold is not None)

    @torch.inference_mode()
    def _found(
        self, prepared: Sequence[Tensor], threshold: float, most: int
    ) -> list[dict[str, Tensor]] | None:
        """Return what the network finds in images of one size; None where scores are NaN."""
        try:
            with evaluating(self) as model:
                seen = [image.to(self.device, self.dtype) for image in prepared]
                return model.network.detect(seen, threshold=threshold, most=most)
        except FloatingPointError:
            return None

    def _limits(self, threshold: float | None, most: int | None) -> tuple[float, int]:
        """Return least score and number of answers, by default the protocol's.

        Raises:
            InputError: a threshold that is not from 0 to 1, or fewer than one answer asked for.
        """
        protocol = self.network.protocol
        threshold = protocol.threshold if threshold is None else threshold
        most = protocol.most if most is None else most
        check_share("threshold", threshold)
        if most < 1:
            raise InputError(f"most must be 1 or more, got {most}")
        return threshold, most

    def detect(
        self,
        image: ImageTensor,
        *,
        size: tuple[int, int],
        threshold: float | None = None,
        most: int | None = None,
    ) -> Detections | None:
        """The objects in one prepared image (3, h, w), in pixels of the image file, of size (H, W).

        Validation, evaluate and predict all come through here.

        Returns:
            None where the network's scores are NaN or infinite.

        Raises:
            InputError: a threshold that is not from 0 to 1, or fewer than one answer asked for.
        """
        found = self._found([image], *self._limits(threshold, most))
        if found is None:
            return None
        seen, whole = (image.shape[-2], image.shape[-1]), Window(0, 0, *size[::-1])
        return self._as_answer(place(found[0], seen, whole, size), size)

    def _as_answer(self, found: dict[str, Tensor], size: tuple[int, int]) -> Detections:
        """Return objects that `place` gave, in an image of height and width `size`."""
        boxes = found["boxes"].minimum(torch.tensor([size[1], size[0]] * 2, dtype=torch.float64))
        masks, threshold = None, self.network.protocol.mask_threshold
        if self.network.has_masks:
            masks = tuple(
                encode_pixels(paste_mask(mask, box, size, threshold=threshold))
                for mask, box in zip(found["masks"], boxes, strict=True)
            )
        scores, labels = found["scores"].double().numpy(), found["labels"].numpy() - 1
        return Detections("image", self.class_names, size, boxes.numpy(), scores, labels, masks)
