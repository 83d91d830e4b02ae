"""Visual recognition with the NomMer network: train, evaluate, understand and use.

After `import nommer` the networks stand in timm's registry: `timm.create_model("nommer_tiny")`. The
verbs (`train`, `evaluate`, `predict`, ...) are the command line's, with the same names for the same
settings. A name is imported when it is used first, so that nobody waits for what he does not need.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nommer.errors import InputError
from nommer.registration import register_with_timm

if TYPE_CHECKING:
    from nommer.acceleration.fuse import fuse
    from nommer.acceleration.training import accelerate
    from nommer.api import (
        benchmark,
        check,
        demo,
        embed,
        evaluate,
        explain,
        export,
        predict,
        pretrain,
        prune,
        replay,
        serve,
        train,
    )
    from nommer.backbone.config import NomMerConfig
    from nommer.backbone.network import NomMer
    from nommer.models.classification import Classifier
    from nommer.models.detection import Detector
    from nommer.models.segmentation import Segmenter
    from nommer.models.storage import load
    from nommer.nominations.trace import NominationTrace

__all__ = [
    "Classifier",
    "Detector",
    "InputError",
    "NomMer",
    "NomMerConfig",
    "NominationTrace",
    "Segmenter",
    "accelerate",
    "benchmark",
    "check",
    "demo",
    "embed",
    "evaluate",
    "explain",
    "export",
    "fuse",
    "load",
    "predict",
    "pretrain",
    "prune",
    "replay",
    "serve",
    "train",
]

_LAZY = dict.fromkeys(__all__, "nommer.api") | {
    "Classifier": "nommer.models.classification",
    "Detector": "nommer.models.detection",
    "NomMer": "nommer.backbone.network",
    "NomMerConfig": "nommer.backbone.config",
    "NominationTrace": "nommer.nominations.trace",
    "Segmenter": "nommer.models.segmentation",
    "accelerate": "nommer.acceleration.training",
    "fuse": "nommer.acceleration.fuse",
    "load": "nommer.models.storage",
}
"""The module of each public name that is imported when it is used: of the verbs `nommer.api`."""


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        value = globals()[name] = getattr(import_module(_LAZY[name]), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({name for name in globals() if name.startswith("__")} | set(__all__))


register_with_timm()
