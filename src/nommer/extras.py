"""Optional packages: imported when a feature is used, and missed in one sentence."""

from importlib import import_module
from types import ModuleType

from nommer.errors import InputError


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
