"""Checkpoints of networks in the published layout, or in ours without a description."""

from pathlib import Path

from nommer.backbone.checkpoint import (
    from_published,
    is_ours,
    is_published,
    published_config,
    with_published_names,
)
from nommer.backbone.network import NomMer
from nommer.data.transforms import Preprocessing
from nommer.errors import InputError, shortened
from nommer.models.classification import Classifier
from nommer.models.descriptions import TRIPPED, check_shapes
from nommer.models.weights import load_weights, read_checkpoint


def load_published(path: Path) -> Classifier:
    """Return the classifier of a checkpoint, its classes numbered.

    Raises:
        InputError: a file of something else, or a damaged one.
    """
    weights = read_checkpoint(path)
    if not (is_ours(weights) or is_published(weights)):
        raise InputError(_foreign(path))
    try:
        published = with_published_names(weights) if is_ours(weights) else weights
        config, converted = published_config(published), from_published(published)
        check_shapes(lambda: NomMer(config), converted)
    except TRIPPED as error:
        raise InputError(
            f"{path}: no complete checkpoint of a NomMer: {shortened(str(error), 300)}"
        ) from error
    network = NomMer(config)
    load_weights(network, converted, path)
    names = [f"class {index}" for index in range(network.num_classes)]
    image_size = max(network.config.position_grid) * network.config.reductions[2]
    return Classifier(
        network, class_names=names, preprocessing=Preprocessing(image_size=image_size)
    ).eval()


def _foreign(path: Path) -> str:
    run = path.parents[1] if path.parent.name == "checkpoints" else None
    hint = "for a nommer model give its folder" if run is None else f"give the run folder, {run}"
    return (
        f"{path}: not in the layout of the published NomMer checkpoints; {hint}; weights of a "
        f"network of timm are for training, with --model timm:NAME --pretrained {path}"
    )
