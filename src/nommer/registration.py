"""Registration of the networks with timm as soon as timm is there, without importing it."""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_MODELS = "timm.models"
_OURS = "nommer.backbone.timm"


class _AfterTimm(MetaPathFinder):
    """Finds timm's models as everybody else does, and imports ours behind them."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the specification of timm's models with our registration behind their loading."""
        if fullname != _MODELS:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        specs = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next((found for found in specs if found is not None), None)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_and_register(module: ModuleType) -> None:
                load(module)
                import_module(_OURS)

            spec.loader.exec_module = load_and_register  # type: ignore[method-assign]
        return spec


def register_with_timm() -> None:
    """Register the networks at once where timm's models are imported, else as soon as they are."""
    if _MODELS in sys.modules:
        import_module(_OURS)
    elif not any(isinstance(finder, _AfterTimm) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterTimm())
