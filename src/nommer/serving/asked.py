"""The wishes of a request against what its model can do."""

from collections.abc import Sequence

from nommer.errors import InputError
from nommer.serving.errors import RefusedError
from nommer.serving.model import Look, ServedModel
from nommer.serving.reading import Asked


def check_asked(asked: Asked, model: ServedModel, *, explaining: bool) -> None:
    """Refuse what does not fit the model.

    Raises:
        RefusedError: 422, the first such wish.
    """
    look = asked.look
    wanted = (("token", look.tokens), ("force", look.force), ("grids", look.grids))
    of_page = (*wanted, ("attribution", look.attribution))
    if not explaining and (given := [name for name, value in of_page if value]):
        raise RefusedError(422, f"{given[0]}: is for /explain; leave it out")
    if explaining and not model.explains:
        _check_unlooked(model, [name for name, value in wanted[:2] if value], look)
    if look.attribution and model.attribution is None:
        raise RefusedError(422, f"attribution: there is none for {model.name}; leave it out")
    try:
        model.check(asked.options)
    except InputError as error:
        raise RefusedError(422, str(error).removeprefix("--")) from error


def _check_unlooked(model: ServedModel, given: Sequence[str], look: Look) -> None:
    """Refuse to explain without nominations, but for attribution alone."""
    if look.attribution and not given:
        return
    raise RefusedError(
        422,
        f"{model.name}: cannot be looked into; serve a run folder or a model folder of a "
        "network that nominates, or ask for attribution alone",
    )
