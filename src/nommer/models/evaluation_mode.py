"""Evaluation mode for one call, without touching a model that others train or answer with."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from torch import nn

Module = TypeVar("Module", bound=nn.Module)


@contextmanager
def evaluating(model: Module) -> Iterator[Module]:
    """Give `model` in evaluation mode: itself where all of it is, else a twin of it.

    A twin has modules of its own, in evaluation mode, around the same weights, buffers and hooks.
    So the mode of `model` is never changed: threads may answer with it while another trains it or
    calls `train()`. Use what is given, not `model`.
    """
    training = any(module.training for module in model.modules())
    yield _twin(model, {}) if training else model


def _twin(module: Module, known: dict[int, nn.Module]) -> Module:
    """Return a module of the same tensors, in evaluation mode and not compiled.

    What was compiled is bound to the modules that it was compiled of, with their mode.
    """
    if id(module) in known:
        return known[id(module)]  # type: ignore[return-value]  # it is of the same class
    twin = object.__new__(type(module))
    known[id(module)] = twin
    twin.__dict__.update(module.__dict__)
    parts = dict(module._modules)
    twin.__dict__ |= {
        "training": False,
        "_compiled_call_impl": None,
        "_modules": {n: part and _twin(part, known) for n, part in parts.items()},
    }
    return twin
