"""A semantic segmenter.

The network, the names and colours of its classes, and how its images are prepared.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from nommer.data.joint_transforms import DensePreprocessing
from nommer.data.masks import IGNORE
from nommer.data.sources import ImageSource, sources_of
from nommer.errors import InputError
from nommer.models.ensemble_networks import PixelEnsemble
from nommer.models.evaluation_mode import evaluating
from nommer.models.exported_networks import ExportedDenseNetwork
from nommer.models.inference import WHOLE_PIXELS, DenseNetwork, score_bands
from nommer.models.networks import build_network, describe_network
from nommer.models.recogniser import Recogniser, View
from nommer.models.upernet import UPerNet
from nommer.predictions import Failure, Segmentation
from nommer.settings.choices import Channels
from nommer.settings.inference import Inference
from nommer.shapes import BandScores, Images, PixelLogits


class Segmenter(Recogniser):
    """A dense network with class names, colours and preprocessing.

    `predict` takes images as they are.

    Args:
        network: a `UPerNet`, or another dense network.
        class_names: one per output of the network.
        colours: one RGB colour (0-255) per class, for pictures.
        preprocessing: from a decoded image to the network's input.

    Raises:
        InputError: not as many names or colours as the network has outputs, or too many classes.
    """

    tasks = ("segmentation",)
    preprocessing_kind = DensePreprocessing
    exported_network = ExportedDenseNetwork
    ensemble_network = PixelEnsemble
    inference_method = "scores"
    finds = "regions"

    network: DenseNetwork
    preprocessing: DensePreprocessing

    def __init__(
        self,
        network: DenseNetwork,
        *,
        class_names: Sequence[str],
        colours: Sequence[Sequence[int]],
        preprocessing: DensePreprocessing,
    ) -> None:
        super().__init__(network, class_names=class_names, preprocessing=preprocessing)
        for what, given in (("class names", class_names), ("colours", colours)):
            if len(given) != network.num_classes:
                raise InputError(
                    f"the network has {network.num_classes} outputs but {len(given)} {what} were "
                    "given"
                )
        if (
            len(class_names) > IGNORE
        ):  # labels are 8 bits, and one value is for pixels that count for nothing
            raise InputError(
                f"a segmenter tells at most {IGNORE} classes apart, got {len(class_names)}"
            )
        self.colours = tuple((int(red), int(green), int(blue)) for red, green, blue in colours)

    @classmethod
    def build_network(cls, description: Mapping[str, Any]) -> UPerNet:
        """Return the network that `architecture` described, with fresh weights."""
        backbone, names = build_network(description["architecture"]), description["class_names"]
        return UPerNet(backbone, num_classes=len(names), **description["head"])

    @classmethod
    def of(cls, network: Any, description: Mapping[str, Any]) -> "Segmenter":
        """Return the segmenter of a network, with the labels and preprocessing of a description."""
        return cls(
            network,
            class_names=description["class_names"],
            colours=description["colours"],
            preprocessing=DensePreprocessing(**description["preprocessing"]),
        )

    def architecture(self) -> dict[str, Any]:
        """Return what `build_network` needs."""
        names = ("decoder_channels", "auxiliary_channels", "dropout")
        head = {name: getattr(self.network, name) for name in names}
        return {"architecture": describe_network(self.backbone), "head": head}

    def labels(self) -> dict[str, Any]:
        """Return the colours."""
        return {"colours": self.colours}

    @property
    def backbone(self) -> Any:
        """The network under the decoder: a NomMer or a network of timm."""
        network: Any = self.network
        return network.backbone

    def sees_whole(self, size: tuple[int, int]) -> bool:
        """Tell if a prepared image of this height and width is seen whole, and not in windows."""
        return math.prod(size) <= WHOLE_PIXELS

    def view(self, image: Image.Image) -> View:
        """Return the image, shrunk where it is too large to be seen whole."""
        size = self.preprocessing.size(image.height, image.width)
        factor = math.sqrt(WHOLE_PIXELS / math.prod(size))
        if factor >= 1:
            return View(image, self.preprocessing(image))
        sides = (max(1, int(size[1] * factor)), max(1, int(size[0] * factor)))
        seen = image.resize(sides, Image.Resampling.BILINEAR)
        return View(seen, self.preprocessing.normalise(seen), shrunk=True)

    def answer(self, view: View, name: str) -> Segmentation | None:
        """Return the class of every pixel that is seen; None where the scores are NaN."""
        size, whole = (view.image.height, view.image.width), Inference(mode="whole")
        labels = self.label(view.prepared[None], size=size, inference=whole)
        return labels if labels is None else self._labelled(name, labels)

    def _labelled(self, name: str, labels: np.ndarray) -> Segmentation:
        return Segmentation(name, self.class_names, self.colours, labels)

    def forward(self, images: Images) -> PixelLogits:
        """Class scores (B, classes, H, W) of prepared images (B, 3, H, W)."""
        return self.network(images)

    def score_bands(
        self, image: Images, *, size: tuple[int, int], inference: Inference = Inference()
    ) -> Iterator[tuple[int, BandScores]]:
        """The scores of every pixel of one prepared image, in bands of rows.

        See `models.inference.score_bands`.
        """
        window = self.preprocessing.image_size
        return score_bands(self.network, image, size=size, inference=inference, window=window)

    def scores(
        self, image: Images, *, size: tuple[int, int], inference: Inference = Inference()
    ) -> Float[Tensor, "classes height width_px"]:
        """Return the scores of every pixel of one prepared image (1, 3, h, w) at the size (H, W).

        They are (classes, H, W) float32.

        Their softmax are the probabilities. The bands of `score_bands` together: as large as it
        sounds.
        """
        return torch.cat(
            [scores for _, scores in self.score_bands(image, size=size, inference=inference)], 1
        )

    def predict(
        self,
        images: ImageSource | Iterable[ImageSource],
        *,
        inference: Inference = Inference(),
        channels: Channels = "rgb",
        allow_urls: bool = False,
    ) -> list[Segmentation | Failure]:
        """Segment images of any size, each at its own.

        They are of every kind that `data.sources` tells, one or many.

        An image that cannot be decoded gets a `Failure`; the others are answered all the same.

        Args:
            images: of an iterator one image is held at a time.
            inference: whole or in windows, scales, mirrored.
            channels: order of the colours of arrays and tensors; "bgr" as OpenCV reads them.
            allow_urls: fetch images that are named by https addresses.

        Raises:
            InputError: what is no image and no collection of images.
        """
        sources = sources_of(images, channels=channels, allow_urls=allow_urls)
        return list(self.predict_stream(sources, inference=inference))

    @property
    def answer_options(self) -> frozenset[str]:
        """The options of a request that do something."""
        return Segmentation.options

    def predict_stream(
        self, sources: Iterable[ImageSource], *, inference: Inference = Inference()
    ) -> Iterator[Segmentation | Failure]:
        """As `predict`, one answer after the other, with one image in memory."""

        def answer(name: str, image: Image.Image) -> Segmentation | None:
            labels = self.label(
                self.preprocessing(image)[None],
                size=(image.height, image.width),
                inference=inference,
            )
            return None if labels is None else self._labelled(name, labels)

        return self.answer_each(sources, answer)

    @torch.inference_mode()
    def label(
        self, image: Images, *, size: tuple[int, int], inference: Inference = Inference()
    ) -> np.ndarray | None:
        """Return the most probable class of every pixel of one prepared image (1, 3, h, w).

        It is uint8, at the size (H, W).

        Returns:
            None where the network's scores are NaN or infinite.
        """
        labels = np.empty(size, np.uint8)
        with evaluating(self) as model:
            for start, scores in model.score_bands(
                image.to(self.device, self.dtype), size=size, inference=inference
            ):
                best, classes = scores.max(0)
                if not best.isfinite().all():
                    return None
                labels[start : start + len(classes)] = classes.to(torch.uint8).cpu().numpy()
        return labels
