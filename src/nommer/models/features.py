"""A network without classes: the start of a training, or features of images."""

from collections.abc import Mapping
from typing import Any, NoReturn

from torch import Tensor, nn

from nommer.data.transforms import Preprocessing
from nommer.errors import InputError
from nommer.models.networks import build_network, describe_network
from nommer.models.recogniser import Recogniser, View
from nommer.shapes import Images


class FeatureExtractor(Recogniser):
    """A network without a classifier, and how images are prepared for it.

    `forward` gives the pooled features, (B, features).
    """

    tasks = ("features",)
    preprocessing_kind = Preprocessing
    one_size = True
    has_answers = False

    preprocessing: Preprocessing

    @classmethod
    def build_network(cls, description: Mapping[str, Any]) -> nn.Module:
        """Return the network that `architecture` described, with fresh weights."""
        return build_network(description["architecture"])

    @classmethod
    def of(cls, network: Any, description: Mapping[str, Any]) -> "FeatureExtractor":
        """Return the model of a network that a description tells of."""
        preprocessing = Preprocessing(**description["preprocessing"])
        return cls(network, class_names=(), preprocessing=preprocessing)

    def architecture(self) -> dict[str, Any]:
        """Return what `build_network` needs."""
        return {"architecture": describe_network(self.network)}

    def forward(self, images: Images) -> Tensor:
        """Pooled features (B, features) of prepared images (B, 3, H, W)."""
        return self.network(images)

    def answer(self, view: View, name: str) -> NoReturn:
        """Refuse: it knows no classes.

        Raises:
            InputError: always.
        """
        raise InputError(refusal())


def refusal() -> str:
    """Say that a network without classes answers nothing, and what to do with it."""
    return (
        "the model is for features, has no classes and answers nothing; train one from it with "
        "nommer train --pretrained"
    )
