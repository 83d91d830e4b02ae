"""Optional packages: imported when a feature is used, and missed in one sentence."""

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from nommer.errors import InputError

MODULES: dict[str, tuple[str, ...]] = {
    "train": (
        *("lightning", "lightning_utilities", "torchmetrics", "sklearn", "scipy"),
        *("tensorboard", "matplotlib", "jinja2"),
    ),
    "explain": ("matplotlib", "scipy", "jinja2"),
    "export": ("onnx", "onnxscript", "onnxruntime"),
    "video": ("av",),
    "track": ("trackers", "supervision"),
    "serve": ("fastapi", "uvicorn", "python_multipart", "prometheus_client"),
}
"""Modules of each extra that verbs import; `explain` does without Captum, and says so."""


def lacking(extra: str) -> list[str]:
    """Return the modules of an extra of `MODULES` that are not installed; imports nothing."""
    return [module for module in MODULES[extra] if find_spec(module) is None]


def check_installed(feature: str, extras: tuple[str, ...]) -> None:
    """Refuse a feature whose extras are not installed, before anything is done; imports nothing.

    Args:
        feature: what asks for them, as the user said it, such as "train".
        extras: of `MODULES`.

    Raises:
        InputError: the sentence names feature, packages and command.
    """
    absent = {extra: lacking(extra) for extra in extras}
    packages = list(dict.fromkeys(module for modules in absent.values() for module in modules))
    if packages:
        missing = ",".join(extra for extra, modules in absent.items() if modules)
        raise InputError(
            f"{feature}: needs what is not installed ({', '.join(packages)}); pip install "
            f"'nommer[{missing}]'"
        )


def require(module: str, extra: str, feature: str) -> ModuleType:
    """Import a package that the core installation does not bring.

    Args:
        module: the module's full name, such as "captum.attr".
        extra: the extra of this project that installs it, such as "explain".
        feature: what asks for it, as the user said it, such as "explain --attributions".

    Returns:
        The imported module.

    Raises:
        InputError: the package is not installed; the sentence names feature, package and command.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != module.partition(".")[0]:
            raise
        package = module.partition(".")[0]
        raise InputError(
            f"{feature}: needs the package {package}; pip install 'nommer[{extra}]'"
        ) from None
