"""A verb: a function whose keyword arguments are the fields of its settings."""

import inspect
import sys
from collections.abc import Callable
from functools import wraps
from multiprocessing import current_process
from typing import Any, ParamSpec, TypeVar

from nommer.extras import check_installed
from nommer.settings.documentation import arguments_in_words

P = ParamSpec("P")
Given = TypeVar("Given")
Result = TypeVar("Result")


def refuse_in_starting_worker(name: str) -> None:
    """End a worker process that calls a verb while it imports the script of its user.

    Where processes are not forked each imports that script, so a call at its top would call itself
    without end.
    """
    if getattr(current_process(), "_inheriting", False):  # as multiprocessing itself finds out
        sys.exit(
            f"error: nommer.{name} is called again by a worker process, which imports this script "
            'to begin; put the call under `if __name__ == "__main__":`'
        )


def verb(
    settings: Callable[P, Given], *, needs: tuple[str, ...] = ()
) -> Callable[[Callable[[Given], Result]], Callable[P, Result]]:
    """Make a function of settings one that takes the fields of `settings` itself.

    Editors and type checkers see the signature of the dataclass; nothing is written twice.

    Args:
        settings: the dataclass.
        needs: the extras without which the verb is refused.
    """

    def decorate(run: Callable[[Given], Result]) -> Callable[P, Result]:
        @wraps(run)
        def call(*args: P.args, **kwargs: P.kwargs) -> Result:
            given = settings(*args, **kwargs)
            refuse_in_starting_worker(run.__name__)
            check_installed(run.__name__, needs)
            return run(given)

        shown: Any = call
        shown.__signature__ = inspect.signature(settings).replace(
            return_annotation=run.__annotations__.get("return", inspect.Signature.empty)
        )
        shown.__doc__ = f"{inspect.getdoc(run)}\n\n{arguments_in_words(settings)}"  # type: ignore[arg-type]
        shown.settings = settings
        return call

    return decorate
