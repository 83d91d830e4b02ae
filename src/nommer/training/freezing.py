"""Layers that stay as they are: a few stages, or the whole backbone, for a linear probe."""

from typing import Any, Literal

import lightning as L
from timm.models import group_parameters
from torch import nn

from nommer.errors import InputError
from nommer.progress import notice


def freeze(network: Any, stages: int | Literal["backbone"]) -> None:
    """Freeze the stem and the first `stages` of the backbone, or all of it but the classifier.

    Args:
        network: what is trained; a dense one holds its `backbone`.
        stages: how many, by timm's grouping of layers; 0 for none.

    Raises:
        InputError: the network does not have so many.
    """
    if stages == 0:
        return
    backbone = getattr(network, "backbone", network)
    classifier = {id(parameter) for parameter in backbone.get_classifier().parameters()}
    body = {name: one for name, one in backbone.named_parameters() if id(one) not in classifier}
    layers = group_parameters(backbone, backbone.group_matcher(coarse=True), reverse=True)
    last = max(layers[name] for name in body)
    if stages != "backbone" and stages > last:
        raise InputError(
            f"--freeze {stages}: this network has {last} stages; use fewer, or backbone"
        )
    for name, parameter in body.items():
        parameter.requires_grad_(stages != "backbone" and layers[name] > stages)
    total = sum(parameter.numel() for parameter in network.parameters())
    frozen = sum(
        parameter.numel() for parameter in network.parameters() if not parameter.requires_grad
    )
    notice(f"frozen: {frozen:,} of {total:,} parameters")


def frozen_modules(module: nn.Module) -> list[nn.Module]:
    """The largest parts of `module` that have parameters and do not learn any of them."""
    parameters = list(module.parameters())
    if parameters and not any(parameter.requires_grad for parameter in parameters):
        return [module]
    return [found for child in module.children() for found in frozen_modules(child)]


class FrozenLayers(L.Callback):
    """Keeps frozen layers as in evaluation.

    Batch norms with their statistics, no dropout, no drop path, no noise.
    """

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Find them."""
        self.frozen = frozen_modules(pl_module)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Set them; an epoch that is resumed does not begin anew."""
        for module in self.frozen:
            if module.training:
                module.eval()
