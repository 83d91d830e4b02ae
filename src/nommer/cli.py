"""The command line: every verb of `api`, its signature as the schema, through jsonargparse."""

import inspect
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import version
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NoReturn

import yaml
from jsonargparse import ActionConfigFile, ArgumentParser, set_parsing_settings
from rich.console import Console
from torch import OutOfMemoryError

from nommer import api
from nommer.distributed.interruption import Stopped
from nommer.errors import InputError
from nommer.quickstart import demo
from nommer.recipes import recipe_names, recipe_path
from nommer.screen import (
    show_benchmark,
    show_check,
    show_demo,
    show_evaluation,
    show_explanations,
    show_export,
    show_predictions,
    show_replay,
    show_training,
)

USER_ERROR = 2

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Of YAML, as jsonargparse chooses it."""

set_parsing_settings(docstring_parse_attribute_docstrings=True)


class Parser(ArgumentParser):
    """jsonargparse's parser, whose errors are one sentence and a hint."""

    settings_file: str | None = None
    """The file that is being read, if any."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the error and exit with code 2."""
        where = f"--config {self.settings_file}: " if self.settings_file else ""
        sentence = where + plainly(" ".join(str(message).split()))
        sys.stderr.write(f"error: {sentence}\nsee: {self.prog.replace(' [options]', '')} --help\n")
        sys.exit(USER_ERROR)


class SettingsFile(ActionConfigFile):
    """A file of settings, checked as soon as it is read, so that an error names the file."""

    def __call__(
        self, parser: Any, cfg: Any, values: Any, option_string: str | None = None
    ) -> None:
        """Take the file's settings over, or end with an error."""
        parser.settings_file = values
        try:
            self.apply_config(parser, cfg, self.dest, values)
            parser.validate(cfg, skip_required=True)
        except (TypeError, KeyError) as error:
            parser.error(str(error))
        finally:
            parser.settings_file = None


_UNION = r"Does not validate against .*? Errors: - (.*?)(?: - Expected .*?)? Given value type: .*? Given value:"
_PLAINLY: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (_UNION, r"\1. Got value:"),
    (r'Parser key "([\w.]+)":', lambda found: f"--{found[1].replace('_', '-')}:"),
    (r"are required: \w+\.(\w+)", r"are required: \1"),
    (r"a <class '(\w+)'>", r"\1"),
    (r"Expected tuple\. Got value: (.*)", r"Expected a list in brackets, [\1]. Got value: \1"),
    (r"a typing\.Literal\[([^\]]*)\]", r"one of \1"),
)
"""How jsonargparse puts things, and how they are said to people."""


def plainly(message: str) -> str:
    """An error of jsonargparse without the words of Python's types."""
    for pattern, replacement in _PLAINLY:
        message = re.sub(pattern, replacement, message)
    return message


@cache
def build_parser() -> Parser:
    """The parser of all verbs, made once: that takes longer than parsing."""
    parser = Parser(prog="nommer", description="Visual recognition with the NomMer network.")
    parser.add_argument("--version", action="version", version=f"nommer {version('nommer')}")
    verbs = parser.add_subcommands(required=True, dest="verb")
    for verb, (function, _) in VERBS.items():
        verbs.add_subcommand(verb, verb_parser(verb, function), help=first_line(function))
    return parser


def verb_parser(verb: str, function: Callable[..., Any]) -> Parser:
    """The parser of one verb; what it judges or uses comes first without a name, all else by name."""
    recipes = f"Recipes for --config: {', '.join(recipe_names())}. " if verb == "train" else ""
    hints = f"{recipes}Add --debug to see where an error comes from."
    parser = Parser(description=f"{first_line(function)} {hints}")
    parser.add_argument(
        "--config",
        action=SettingsFile,
        help="YAML file, or name of a recipe, with any of these settings",
    )
    parameters = inspect.signature(function).parameters
    images, token = parameters.get("images"), parameters.get("token")
    skip: set[str | int] = {name for name in ("images", "token") if name in parameters}
    parser.add_function_arguments(function, as_positional=verb != "train", skip=skip)
    if token:
        what = "X,Y of a pixel of the images, several times for several: what the token that it lies in sees"
        parser.add_argument("--token", action="append", default=[], metavar="X,Y", help=what)
    if images:
        needed = images.default is inspect.Parameter.empty
        what = "files, folders, glob patterns, or - for a list on standard input"
        action = parser.add_argument("images", nargs="+" if needed else "*", help=what)
        action.required = needed  # argparse says so of every positional without a default
    _spell_with_dashes(parser)
    return parser


def first_line(function: Callable[..., Any]) -> str:
    """The sentence that a docstring begins with."""
    return (inspect.getdoc(function) or "").partition("\n")[0]


def _spell_with_dashes(parser: Parser) -> None:
    """Let options be written as elsewhere, `--batch-size`.

    With underscores they are understood too.
    """
    for action in parser._actions:
        dashed = [option.replace("_", "-") for option in action.option_strings]
        action.option_strings = list(dict.fromkeys(dashed))
        for option in dashed:
            parser._option_string_actions.setdefault(option, action)


def normalise(arguments: Sequence[str]) -> list[str]:
    """Arguments with `--flag` written out as `--flag=true`, and names of recipes as their files."""
    flags = {
        name
        for function, _ in VERBS.values()
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.annotation is bool
    }
    spelled: list[str] = []
    for position, argument in enumerate(arguments):
        name, following = (
            argument.removeprefix("--").replace("-", "_"),
            arguments[position + 1 : position + 2],
        )
        if argument.startswith("--") and name in flags and following not in (["true"], ["false"]):
            spelled.append(f"{argument}=true")
        elif argument.startswith(
            "--print-config"
        ):  # the one option that jsonargparse knows by its exact spelling
            spelled.append(argument.replace("--print-config", "--print_config"))
        elif spelled and spelled[-1] == "--config":
            spelled.append(find_config(argument))
        elif argument.startswith("--config="):
            spelled += ["--config", find_config(argument.removeprefix("--config="))]
        else:
            spelled.append(argument)
    return spelled


def find_config(name: str) -> str:
    """The file of settings that `name` is, or that the recipe of this name is.

    Raises:
        InputError: neither, or no YAML in UTF-8.
    """
    found = Path(name) if Path(name).is_file() else recipe_path(name)
    if found is None:
        raise InputError(
            f"--config {name}: no such file, and no recipe of this name; recipes: "
            f"{', '.join(recipe_names())}"
        )
    try:
        yaml.load(found.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - it is a safe one
    except UnicodeDecodeError as error:
        raise InputError(
            f"--config {found}: is no text in UTF-8 ({error}); save it as UTF-8"
        ) from error
    except yaml.YAMLError as error:
        raise InputError(
            f"--config {found}: Problems parsing config: {' '.join(str(error).split())}"
        ) from error
    return str(found)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code.

    0, 1 when some images failed or data have problems, 2 for mistakes.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files need not be UTF-8
    try:
        return run(normalise([argument for argument in given if argument != "--debug"]))
    except (InputError, OSError, OutOfMemoryError) as error:
        if debug:
            traceback.print_exc()
        sys.stderr.write(f"error: {explain_error(error)}\n")
        return USER_ERROR
    except Stopped as stopped:
        sys.stderr.write(f"{stopped}\n")
        return stopped.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        return 130


def explain_error(error: Exception) -> str:
    """One sentence: what happened, and what to do."""
    if isinstance(error, OutOfMemoryError):
        return (
            "the memory of the device is full; use a smaller --batch-size (with --accumulate for "
            "the same total) or "
            "--image-size, or --network.grad-checkpointing true"
        )
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror} (--debug shows where)"
    return str(error) if isinstance(error, InputError) else f"{error} (--debug shows where)"


def run(arguments: Sequence[str]) -> int:
    """Parse, call the verb, show its result."""
    parser = build_parser()
    chosen = parser.instantiate(parser.parse_args(arguments))
    verb = chosen.pop("verb")
    settings = {name: value for name, value in chosen[verb].items() if name != "config"}
    function, show = VERBS[verb]
    return show(
        function(**settings), Console(markup=False, emoji=False)
    )  # names of files and classes are no markup


VERBS: dict[str, tuple[Callable[..., Any], Callable[[Any, Console], int]]] = {
    "check": (api.check, show_check),
    "train": (api.train, show_training),
    "replay": (api.replay, show_replay),
    "evaluate": (api.evaluate, show_evaluation),
    "predict": (api.predict, show_predictions),
    "explain": (api.explain, show_explanations),
    "export": (api.export, show_export),
    "benchmark": (api.benchmark, show_benchmark),
    "demo": (demo, show_demo),
}
"""Each verb's function and how its result is shown."""
