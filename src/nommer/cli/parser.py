"""The parser of a verb, through jsonargparse, and what is done to arguments before it."""

import re
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

import yaml
from jsonargparse import ActionConfigFile, ArgumentParser

from nommer.cli.commands import COMMANDS
from nommer.cli.options import FILES_ONLY, MANY, SECOND, Option, is_list, options_of
from nommer.errors import InputError, another_tells
from nommer.recipes import recipe_names, recipe_path
from nommer.settings.old_names import in_todays_names
from nommer.settings.schema import is_held, too_long
from nommer.shown import clean

USER_ERROR = 2

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Of YAML, as jsonargparse chooses it."""


class Parser(ArgumentParser):
    """jsonargparse's parser, whose errors are one sentence and a hint."""

    settings_file: str | None = None
    """The file that is being read, if any."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the error and exit with code 2."""
        where = f"--config {self.settings_file}: " if self.settings_file else ""
        sentence = where + plainly(" ".join(str(message).split()))
        self.fail(sentence + near(sentence, self._option_string_actions))

    def fail(self, sentence: str) -> NoReturn:
        """Print a sentence and exit with code 2."""
        if not another_tells():
            sys.stderr.write(f"error: {clean(sentence)}\nsee: {self.prog} --help\n")
        sys.exit(USER_ERROR)


class SettingsFile(ActionConfigFile):
    """A file of settings, checked as soon as it is read, so that an error names the file."""

    def __call__(
        self, parser: Any, cfg: Any, values: Any, option_string: str | None = None
    ) -> None:
        """Take the file's settings over, or end with an error."""
        parser.settings_file = values
        try:
            self.apply_config(parser, cfg, self.dest, in_todays_words(values))
            parser.validate(cfg, skip_required=True)
        except (TypeError, KeyError) as error:
            parser.error(str(error))
        except InputError as error:
            parser.fail(f"--config {values}: {error}")
        except OverflowError:
            parser.fail(f"--config {values}: {_long_number(_load(values))}")
        finally:
            parser.settings_file = None


def in_todays_words(file: str) -> str:
    """Return a file of settings as it is, or one of an older version as YAML of this one."""
    written = _load(file)
    if not isinstance(written, dict):
        return file
    today = in_todays_names(written)
    return file if today == written else yaml.safe_dump(today, sort_keys=False)


def _load(file: str) -> Any:
    return yaml.load(Path(file).read_text(encoding="utf-8"), _Loader)  # noqa: S506 - it is a safe one


def _long_number(values: Any, name: str = "") -> str:
    """Return which of nested values is a number that is too long for a float, "" for none."""
    if isinstance(values, dict | list):
        pairs = values.items() if isinstance(values, dict) else ((name, one) for one in values)
        deeper = (
            _long_number(one, f"{name}.{key}" if name and key != name else str(key))
            for key, one in pairs
        )
        return next(filter(None, deeper), "")
    return "" if is_held(values) else f"{name} is {too_long(values)}"


_UNION = (
    r"Does not validate against .*? Errors: - (.*?)(?: - Expected .*?)? "
    r"Given value type: .*? Given value:"
)
_PLAINLY: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (_UNION, r"\1. Got value:"),
    (r'Parser key "([\w.]+)":', lambda found: f"--{found[1].replace('_', '-')}:"),
    (r"are required: \w+\.(\w+)", r"are required: \1"),
    (r"a <class '(\w+)'>", r"\1"),
    (r"Expected tuple\. Got value: (.*)", r"Expected a list in brackets, [\1]. Got value: \1"),
    (r"a tuple with (\d+) elements", r"a list of \1 values"),
    (r"Option '([\w.]+)\.(\w+)' is not accepted", r"Group '\1' does not accept option '\2'"),
    (r"int too large to convert to float", "a number is too large"),
    (r"\d{40,}", lambda found: f"{found[0][:4]}... ({len(found[0])} digits)"),
    (r"a typing\.Literal\[([^\]]*)\]", r"one of \1"),
    (
        r"ambiguous option: (\S+) could match (.*)",
        lambda found: f"{found[1]}: no such option; did you mean {_or(found[2])}?",
    ),
)
"""jsonargparse's messages, and how they are said to people."""


def _or(names: str) -> str:
    return " or ".join(dict.fromkeys(name.replace("_", "-") for name in names.split(", ")))


def plainly(message: str) -> str:
    """Return an error of jsonargparse without Python's types."""
    for pattern, replacement in _PLAINLY:
        message = re.sub(pattern, replacement, message)
    return message


def near(sentence: str, known: Any) -> str:
    """Return what may have been meant by an option, behind a message that there is none of it."""
    found = re.match(r"unrecognized arguments: (--[\w.-]+)", sentence)
    if not found:
        return ""
    meant = get_close_matches(found[1].replace("_", "-"), list(known), 1)
    return f"; did you mean {meant[0]}?" if meant else ""


def build_parser(verb: str) -> Parser:
    """Build the parser of a verb: a model or data without a name comes first, all else by name."""
    parser = Parser(prog=f"nommer {verb}", add_help=False)
    parser.add_argument("--config", action=SettingsFile, help="YAML file, or name of a recipe")
    kind = COMMANDS[verb].settings
    by_place = () if kind.named else (*MANY, SECOND)
    later = [option for option in options_of(kind) if option.name in by_place]
    for option in options_of(kind):
        if option not in later:
            _add(parser, option, positional=option.required and not kind.named)
    for option in later:
        parser.add_argument(option.name, nargs="?" if option.name == SECOND else "*")
    _spell_with_dashes(parser)
    return parser


def _add(parser: Parser, option: Option, *, positional: bool) -> None:
    if option.name == "token":
        parser.add_argument("--token", action="append", default=[])
    elif positional:
        parser.add_argument(option.name, type=option.kind)
    else:
        asked: dict[str, Any] = (
            {"required": True} if option.required else {"default": option.field.default}
        )
        parser.add_argument(f"--{option.name}", type=option.kind, **asked)


def _spell_with_dashes(parser: Parser) -> None:
    """Let options be written as elsewhere, `--batch-size`.

    With underscores they are understood too.
    """
    for action in parser._actions:
        dashed = [option.replace("_", "-") for option in action.option_strings]
        action.option_strings = list(dict.fromkeys(dashed))
        for option in dashed:
            parser._option_string_actions.setdefault(option, action)


def parse(arguments: Sequence[str]) -> dict[str, Any]:
    """Return the settings that the arguments of a verb name, by field; the verb comes first.

    Raises:
        InputError: a file of settings that is none, or an option that is for files only.
    """
    verb, *rest = normalise(arguments)
    for argument in rest:
        if argument.replace("_", "-").startswith(f"--{FILES_ONLY}"):
            raise InputError(
                f"{argument.partition('=')[0]}: is set in a file (--config) or from Python only"
            )
    parser = build_parser(verb)
    try:
        found: dict[str, Any] = parser.parse_args(rest).as_dict()
    except OverflowError:  # jsonargparse makes a float of a whole number of any length
        parser.fail(f"{_option_of_long_number(rest)} is a number of more than 300 digits")
    return {name: value for name, value in found.items() if name != "config"}


def _option_of_long_number(arguments: Sequence[str]) -> str:
    place = next(n for n, one in enumerate(arguments) if re.search(r"\d{300}", one))
    named = (one for one in reversed(arguments[: place + 1]) if one.startswith("--"))
    return next(named, "a value").partition("=")[0]


def normalise(arguments: Sequence[str]) -> list[str]:
    """Write out what people leave out: `=true` of flags, brackets of lists, files of recipes."""
    verb, *rest = arguments
    kinds = {option.name: option.kind for option in options_of(COMMANDS[verb].settings)}
    kinds.pop("token", None)  # X,Y is one of them, and the option is given once for each
    spelled: list[str] = [verb]
    for position, argument in enumerate(rest):
        name, sign, value = argument.removeprefix("--").partition("=")
        kind = kinds.get(name.replace("-", "_")) if argument.startswith("--") else None
        before = kinds.get(_name(spelled[-1]))
        if kind is bool and not sign and rest[position + 1 : position + 2] not in _WORDS:
            spelled.append(f"{argument}=true")
        elif name == "print-config":  # the one option that jsonargparse knows by its exact spelling
            spelled.append(argument.replace("--print-config", "--print_config"))
        elif spelled[-1] == "--config":
            spelled.append(find_config(argument))
        elif name == "config" and sign:
            spelled += ["--config", find_config(value)]
        elif is_list(kind) and value:
            spelled.append(f"--{name}={_in_brackets(value)}")
        elif is_list(before) and not argument.startswith("--"):
            spelled.append(_in_brackets(argument))
        else:
            spelled.append(argument)
    return spelled


_WORDS = (["true"], ["false"])


def _name(argument: str) -> str:
    return argument.removeprefix("--").replace("-", "_") if argument.startswith("--") else ""


def _in_brackets(value: str) -> str:
    return value if value.startswith(("[", "(")) or value == "null" else f"[{value}]"


def find_config(name: str) -> str:
    """Return the file of settings that `name` is, or that the recipe of this name is.

    Raises:
        InputError: neither, or no YAML in UTF-8.
    """
    found = Path(name) if Path(name).is_file() else recipe_path(name)
    if found is None:
        close = get_close_matches(name, recipe_names(), 1)
        meant = f"; did you mean {close[0]}?" if close else ""
        raise InputError(
            f"--config {name}: no such file, and no recipe of this name; recipes: "
            f"{', '.join(recipe_names())}{meant}"
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
