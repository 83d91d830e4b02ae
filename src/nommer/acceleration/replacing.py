"""Other modules in the place of those of a model."""

from collections.abc import Callable

from torch import nn


def replace_modules(model: nn.Module, replacement: Callable[[nn.Module], nn.Module]) -> None:
    """Put `replacement(module)` in the place of every module in `model`; itself where it stays."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if (other := replacement(child)) is not child:
                setattr(parent, name, other)
