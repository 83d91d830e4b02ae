"""Classification: a network with its classifier, fresh or with the weights of another model."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from nommer.backbone.network import NomMer
from nommer.data.formats.folders import ClassFolders
from nommer.data.formats.labelled import shorten
from nommer.data.transforms import Preprocessing
from nommer.errors import InputError
from nommer.models.classification import Classifier
from nommer.models.networks import check_same_architecture
from nommer.models.recogniser import Recogniser
from nommer.models.storage import load, network_of
from nommer.models.weights import load_weights
from nommer.progress import notice
from nommer.settings.train import TrainSettings, default_image_size
from nommer.tasks.data import Found
from nommer.tasks.model import TaskModel
from nommer.tasks.networks import build_network, by_part, check_peer_size, resolve_network


class ClassificationModel(TaskModel):
    """A network with its classifier."""

    kind = Classifier

    def fill_in(self, settings: TrainSettings, found: Found) -> TrainSettings:
        """Return the image size by the data, and patch, window, blocks and crop by the image size."""
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
            optim=settings.optim.resolved(schedule="cosine", label_smoothing=0.1),
            pixels=replace(
                settings.pixels, crop_pct=filled.crop_pct, interpolation=filled.interpolation
            ),
        )

    def build(self, settings: TrainSettings, data: Any) -> Classifier:
        """Return the network with its classifier."""
        preprocessing = Preprocessing(image_size=settings.image_size or 0, **vars(settings.pixels))
        network = build_network(settings, num_classes=len(data.class_names))
        if settings.pretrained is not None:
            transfer(
                network, data.class_names, settings.pretrained, reinit_head=settings.reinit_head
            )
        ids = data.class_ids if isinstance(data, ClassFolders) else ()
        return Classifier(
            network, class_names=data.class_names, preprocessing=preprocessing, class_ids=ids
        )


def transfer(
    network: Any, class_names: tuple[str, ...], source: Path, *, reinit_head: bool
) -> None:
    """Take over the weights of the model at `source`.

    With `reinit_head` without those of its classifier.

    Raises:
        InputError: the networks differ in more than the classifier and the position embedding's
            size; or it has other classes, or is for another task, without `reinit_head`.
    """
    model = load(source)
    other = network_of(model, source)
    check_same_architecture(network, other, source)
    if isinstance(network, NomMer):
        other.set_input_size(network.config.img_size)
    if not reinit_head:
        _check_same_head(model, class_names, source)
        notice(f"all weights taken from {source}: {by_part(list(other.state_dict()))}")
        load_weights(network, other.state_dict(), source)
        return
    before = {name: tuple(value.shape) for name, value in other.state_dict().items()}
    other.reset_classifier(0)
    classifier = {id(parameter) for parameter in network.get_classifier().parameters()}
    head = {name for name, parameter in network.named_parameters() if id(parameter) in classifier}
    there = other.state_dict()  # of a backbone without what only a classifier has
    kept = {
        name: value
        for name, value in network.state_dict().items()
        if name in head or name not in there
    }
    new = [
        f"{name} {tuple(value.shape)}, there {before.get(name, 'none')}"
        for name, value in kept.items()
    ]
    notice(
        f"weights taken from {source}: {by_part(list(other.state_dict()))}; new: {'; '.join(new)}"
    )
    load_weights(network, other.state_dict() | kept, source)


def _check_same_head(model: Recogniser, class_names: tuple[str, ...], source: Path) -> None:
    if model.task not in Classifier.tasks:
        raise InputError(
            f"--pretrained {source} is a model for {model.task}, not for classification; with "
            "--reinit-head its "
            "backbone is taken over, and the classifier is new"
        )
    if model.class_names != class_names:
        raise InputError(
            f"--pretrained {source} has {len(model.class_names)} other classes "
            f"({shorten(model.class_names, 5)}) than "
            f"the data, which have {len(class_names)} ({shorten(class_names, 5)}); with "
            "--reinit-head its classifier "
            "is replaced by a new one"
        )
