"""Detection: R-CNN on a backbone, fresh or with the weights of another model's backbone."""

from dataclasses import replace
from typing import Any

from nommer.backbone.network import NomMer
from nommer.data.box_transforms import BoxPreprocessing
from nommer.errors import InputError
from nommer.models.detection import Detector
from nommer.models.rcnn import RCNN
from nommer.settings.train import TrainSettings
from nommer.tasks.data import Found
from nommer.tasks.model import TaskModel
from nommer.tasks.networks import build_network, count_features, resolve_network
from nommer.tasks.pretrained import start_backbone


class DetectionModel(TaskModel):
    """A backbone with the heads of Faster, Mask or Cascade R-CNN."""

    kind = Detector

    def fill_in(self, settings: TrainSettings, found: Found) -> TrainSettings:
        """Fill in the image size by the data, the heads by the backbone, and masks."""
        settings = settings.for_whole_images("detection")
        if settings.image_size is not None:
            raise InputError(
                "--image-size: for detection give --detection.short-side and --detection.long-side"
            )
        data: Any = found.data
        short = settings.detection.short_side or min(800, found.short_side)
        network = resolve_network(settings.network, settings.model, short)
        settings = replace(settings, image_size=short, network=network)
        features = count_features(settings)
        return replace(
            settings,
            image_size=None,
            optim=settings.optim.resolved(schedule="steps", label_smoothing=0.0),
            detection=settings.detection.resolved(
                features=features, short_side=found.short_side, masks=data.has_masks
            ),
        )

    def describe_size(self, settings: TrainSettings) -> str:
        """Say which sides images are resized to, and what is learned."""
        options = settings.detection
        learned = "boxes and masks" if options.masks else "boxes"
        return f"{learned}, sides of {options.short_side} to {options.long_side} pixels"

    def build(self, settings: TrainSettings, data: Any) -> Detector:
        """Return the backbone with fresh or given weights, everything else with fresh ones.

        Raises:
            InputError: the backbone is to be compiled and is no NomMer.
        """
        options = settings.detection
        short, long = options.short_side or 800, options.long_side or 1333
        network = _build_rcnn(settings, short, num_classes=len(data.class_names))
        start_backbone(network, settings)
        return Detector(
            network,
            class_names=data.class_names,
            category_ids=data.category_ids,
            preprocessing=BoxPreprocessing(
                short_side=short, long_side=long, **settings.normalisation
            ),
        )


def _build_rcnn(settings: TrainSettings, short: int, *, num_classes: int) -> RCNN:
    options = settings.detection
    backbone = build_network(replace(settings, image_size=short), num_classes=0)
    if settings.compile and not isinstance(backbone, NomMer):
        raise InputError(
            "--compile: for training on objects, whose images differ in size, only with a NomMer; "
            "leave it out"
        )
    return RCNN(
        backbone,
        num_classes=num_classes,
        masks=bool(options.masks),
        cascade=options.head == "cascade",
        fpn_channels=options.fpn_channels or 256,
        box_channels=options.box_channels or 1024,
        protocol=options.protocol,
    )
