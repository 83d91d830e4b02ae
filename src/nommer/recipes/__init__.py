"""Recipes: YAML files with the settings of a verb.

Each one's header gives its command and what to expect.
"""

from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(
        Path(str(file)).stem for file in files(__name__).iterdir() if file.name.endswith(".yaml")
    )


def recipe_path(name: str) -> Path | None:
    """The file of a recipe that comes with the package, by its name with or without .yaml.

    None if there is none.
    """
    path = Path(str(files(__name__))) / f"{name.removesuffix('.yaml')}.yaml"
    return path if path.is_file() else None


def read_recipe(name: str) -> dict[str, Any]:
    """Settings of a recipe that comes with the package, as plain values.

    Raises:
        KeyError: no such recipe.
    """
    path = recipe_path(name)
    if path is None:
        raise KeyError(name)
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")))
