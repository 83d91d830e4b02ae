"""A network without a classifier, fresh or with the weights of another model."""

from typing import Any

from nommer.data.transforms import Preprocessing
from nommer.models.features import FeatureExtractor
from nommer.settings.train import TrainSettings
from nommer.tasks.classification.model import ClassificationModel
from nommer.tasks.networks import build_network
from nommer.tasks.pretrained import start_classifier


class ImitationModel(ClassificationModel):
    """A network that gives features, with sizes and pixels filled in as a classifier's."""

    kind = FeatureExtractor
    label_smoothing = 0.0

    def build(  # type: ignore[override]  # prepares images as its sibling, and has no classes
        self, settings: TrainSettings, data: Any
    ) -> FeatureExtractor:
        """Return the network without a classifier."""
        preprocessing = Preprocessing(image_size=settings.image_size or 0, **vars(settings.pixels))
        network = build_network(settings, num_classes=0)
        start_classifier(network, (), settings)
        return FeatureExtractor(network, class_names=(), preprocessing=preprocessing)
