"""Segmentation: UPerNet on a backbone, fresh or with the weights of another model's backbone."""

from dataclasses import replace
from typing import Any

from nommer.data.joint_transforms import DensePreprocessing
from nommer.models.segmentation import Segmenter
from nommer.models.upernet import UPerNet
from nommer.settings.train import TrainSettings
from nommer.settings.train_defaults import default_crop
from nommer.tasks.data import Found
from nommer.tasks.model import TaskModel
from nommer.tasks.networks import build_network, count_features, resolve_network
from nommer.tasks.pretrained import start_backbone


class SegmentationModel(TaskModel):
    """A backbone with UPerNet's decoder."""

    kind = Segmenter

    def fill_in(self, settings: TrainSettings, found: Found) -> TrainSettings:
        """Return the crop by the data, the network by the crop, the decoder by the backbone."""
        settings = settings.for_whole_images("segmentation")
        image_size = settings.image_size or default_crop(
            settings.segmentation.short_side or found.short_side
        )
        network = resolve_network(settings.network, settings.model, image_size)
        settings = replace(settings, image_size=image_size, network=network)
        return replace(
            settings,
            optim=settings.optim.resolved(schedule="poly", label_smoothing=0.0),
            segmentation=settings.segmentation.resolved(count_features(settings)),
        )

    def build(self, settings: TrainSettings, data: Any) -> Segmenter:
        """Return the backbone with fresh or given weights, the decoder with fresh ones."""
        options = settings.segmentation
        backbone = build_network(settings, num_classes=0)
        network = UPerNet(
            backbone,
            num_classes=len(data.class_names),
            decoder_channels=options.decoder_channels or 0,
            auxiliary_channels=options.auxiliary_channels or 0 if options.auxiliary_weight else 0,
            dropout=options.dropout,
        )
        start_backbone(network, settings)
        preprocessing = DensePreprocessing(
            image_size=settings.image_size or 0,
            short_side=options.short_side,
            long_side=options.long_side,
            **settings.normalisation,
        )
        return Segmenter(
            network, class_names=data.class_names, colours=data.colours, preprocessing=preprocessing
        )
