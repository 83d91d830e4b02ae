"""Visual recognition with the NomMer network: train, judge, understand and use.

After `import nommer` the networks stand in timm's registry: `timm.create_model("nommer_tiny")`. The
verbs (`train`, `evaluate`, `predict`, `explain`, `export`, `demo`) are the command line's, with the
same names for the same settings.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

import nommer.backbone.timm  # noqa: F401 - registers the networks with timm
from nommer.backbone.config import NomMerConfig
from nommer.backbone.network import NomMer
from nommer.errors import InputError

if TYPE_CHECKING:
    from nommer.acceleration.fuse import fuse
    from nommer.api import evaluate, explain, export, predict, train
    from nommer.models.classification import Classifier
    from nommer.models.detection import Detector
    from nommer.models.segmentation import Segmenter
    from nommer.models.storage import load
    from nommer.nominations.trace import NominationTrace
    from nommer.quickstart import demo

_LAZY = {
    "Classifier": "nommer.models.classification",
    "Detector": "nommer.models.detection",
    "NominationTrace": "nommer.nominations.trace",
    "Segmenter": "nommer.models.segmentation",
    "demo": "nommer.quickstart",
    "evaluate": "nommer.api",
    "explain": "nommer.api",
    "export": "nommer.api",
    "fuse": "nommer.acceleration.fuse",
    "load": "nommer.models.storage",
    "predict": "nommer.api",
    "train": "nommer.api",
}
"""Where a name comes from that is imported only when it is used: whoever wants the network alone
waits for nothing.
"""

__all__ = [
    "Classifier",
    "Detector",
    "InputError",
    "NomMer",
    "NomMerConfig",
    "NominationTrace",
    "Segmenter",
    "demo",
    "evaluate",
    "explain",
    "export",
    "fuse",
    "load",
    "predict",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
