"""Classification: a network with its classifier, fresh or with the weights of another model."""

from dataclasses import fields, replace
from typing import Any, ClassVar

from nommer.data.formats.folders import ClassFolders
from nommer.data.transforms import Preprocessing
from nommer.errors import InputError
from nommer.models.classification import Classifier
from nommer.models.recogniser import Recogniser
from nommer.settings.pixels import PixelOptions
from nommer.settings.train import TrainSettings
from nommer.settings.train_defaults import default_image_size
from nommer.tasks.data import Found
from nommer.tasks.model import TaskModel
from nommer.tasks.networks import build_network, check_peer_size, resolve_network
from nommer.tasks.pretrained import start_classifier


class ClassificationModel(TaskModel):
    """A network with its classifier."""

    kind: ClassVar[type[Recogniser]] = Classifier
    label_smoothing: ClassVar[float] = 0.1
    """Used where none is given."""

    def fill_in(self, settings: TrainSettings, found: Found) -> TrainSettings:
        """Fill in the image size by the data, and patch, window, blocks and crop by that."""
        if settings.images_per_step % 2 and (settings.augment.mixup or settings.augment.cutmix):
            raise InputError(
                "mixup and cutmix pair the images of a batch: --batch-size must be even, got "
                f"{settings.batch_size}"
            )
        image_size = settings.image_size or default_image_size(found.short_side)
        filled = Preprocessing(image_size=image_size, **vars(settings.pixels))
        check_peer_size(replace(settings, image_size=image_size))
        return replace(
            settings,
            image_size=image_size,
            network=resolve_network(settings.network, settings.model, image_size),
            optim=settings.optim.resolved(schedule="cosine", label_smoothing=self.label_smoothing),
            pixels=PixelOptions(
                **{field.name: getattr(filled, field.name) for field in fields(PixelOptions)}
            ),
        )

    def build(self, settings: TrainSettings, data: Any) -> Classifier:
        """Return the network with its classifier."""
        preprocessing = Preprocessing(image_size=settings.image_size or 0, **vars(settings.pixels))
        network = build_network(settings, num_classes=len(data.class_names))
        start_classifier(network, data.class_names, settings)
        ids = data.class_ids if isinstance(data, ClassFolders) else ()
        return Classifier(
            network, class_names=data.class_names, preprocessing=preprocessing, class_ids=ids
        )
