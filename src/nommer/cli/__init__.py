"""The command line: every verb of `api`, with its settings as the schema.

Help, errors and parsing need no torch; the verb's room is imported once all is understood.
"""

import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import version
from io import TextIOWrapper
from pathlib import Path

from nommer import api
from nommer.cli.commands import COMMANDS
from nommer.cli.completion import ASKED, print_completion
from nommer.cli.help import ASKING, help_of, overview
from nommer.cli.parser import USER_ERROR, parse
from nommer.errors import InputError, another_tells, is_want_of_memory
from nommer.shown import clean

STOPPED = 130

_ADDRESSES = 8 << 30
"""Bytes of addresses from which on no verb was seen to fail for want of them; it uses far less."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code.

    0, 1 when some images failed or data have problems, 2 for mistakes.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    with closed_streams_replaced():
        return answer(given, debug=debug)


def answer(given: Sequence[str], *, debug: bool) -> int:
    """Run one verb, and say in one sentence what is the user's mistake."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files need not be UTF-8
    try:
        return run([argument for argument in given if argument != "--debug"])
    except KeyboardInterrupt as stopped:  # `Stopped` tells what is saved, and of which signal
        if not another_tells():
            sys.stderr.write(f"{stopped}\n" if str(stopped) else "stopped\n")
        return int(getattr(stopped, "exit_code", STOPPED))
    except Exception as error:
        told = isinstance(error, InputError | OSError) or is_want_of_memory(error)
        if not (told or is_out_of_memory(error)):
            raise
        if debug:
            traceback.print_exc()
        shared = isinstance(error, InputError) and error.everywhere is not False
        if not (shared and another_tells()):
            sys.stderr.write(f"error: {clean(explain_error(error))}\n")
        return USER_ERROR


@contextmanager
def closed_streams_replaced() -> Iterator[None]:
    """Let standard streams that were closed be empty, and take whatever is written."""
    closed = [name for name in ("stdin", "stdout", "stderr") if getattr(sys, name) is None]
    with ExitStack() as stack:
        for name in closed:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, stack.enter_context(Path(os.devnull).open(mode, encoding="utf-8")))
            stack.callback(setattr, sys, name, None)
        yield


def run(arguments: Sequence[str]) -> int:
    """Understand the arguments, call the verb, show its result."""
    verb = next(iter(arguments), "")
    if verb == "--version":
        sys.stdout.write(f"nommer {version('nommer')}\n")
        return 0
    if verb in ASKING:
        sys.stdout.write(f"{overview()}\n")
        return 0
    if verb == ASKED:
        print_completion("".join(arguments[1:2]))
    if verb not in COMMANDS:
        return refuse_verb(verb)
    if any(name in arguments for name in ASKING):
        sys.stdout.write(f"{help_of(verb, arguments[1:])}\n")
        return 0
    return call(verb, arguments)


def call(verb: str, arguments: Sequence[str]) -> int:
    """Call a verb with the settings that its arguments name, and show the result."""
    given = parse(arguments)
    tell_limit_of_addresses()
    result = getattr(api, verb)(**given)
    shown = COMMANDS[verb].show
    if shown is None:
        return 0
    console = import_module("nommer.progress").make_console()
    show = getattr(import_module("nommer.screen"), shown)
    return int(show(result, console))  # names of files and classes are no markup


def tell_limit_of_addresses() -> None:
    """Say that `ulimit -v` is low, under which C++ may end the process before anything is said."""
    try:
        resource = import_module("resource")
    except ImportError:  # Windows
        return
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if 0 < limit < _ADDRESSES and not another_tells():
        sys.stderr.write(
            f"addresses are limited to {limit / 2**30:.1f} GiB (ulimit -v), under which PyTorch "
            "may end without a word: limit memory by a container or a cgroup instead\n"
        )


def refuse_verb(verb: str) -> int:
    """Say that there is no such verb, and which may have been meant."""
    near = get_close_matches(verb, COMMANDS, 1)
    meant = f"; did you mean {near[0]}?" if near else ""
    found = f"{verb}: no such verb" if verb else "a verb is missing"
    sys.stderr.write(
        f"error: {clean(found)}; choose from {', '.join(COMMANDS)}{meant}\nsee: nommer --help\n"
    )
    return USER_ERROR


def is_out_of_memory(error: Exception) -> bool:
    """Return whether the memory of a device was full, without importing torch to find out."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(error, torch.OutOfMemoryError)


def explain_error(error: Exception) -> str:
    """Return one sentence: what happened, and what to do."""
    if is_out_of_memory(error):
        return (
            "the memory of the device is full; use a smaller --batch-size (with --accumulate for "
            "the same total) or --image-size, or --network.grad-checkpointing true"
        )
    if is_want_of_memory(error):
        return (
            "there is not enough memory (--debug shows where); free some, or use fewer --workers, "
            "a smaller --batch-size or smaller images"
        )
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror} (--debug shows where)"
    return str(error) if isinstance(error, InputError) else f"{error} (--debug shows where)"
