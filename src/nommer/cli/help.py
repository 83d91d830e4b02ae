"""Help: one screen per verb with the options that people use; all of them on demand."""

import shutil
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import Any

from nommer.cli.commands import COMMANDS, description
from nommer.cli.options import MANY, SECOND, Option, groups_of, options_of, texts
from nommer.errors import InputError
from nommer.recipes import recipe_names
from nommer.settings.documentation import brief, default_in_words

ASKING = ("-h", "--help", "--help-all")

_LEFT = 26
"""Columns of the names of options."""


def overview() -> str:
    """Return the help of the command itself: its verbs."""
    verbs = ((verb, description(verb)[0]) for verb in COMMANDS)
    return "\n".join(
        [
            "usage: nommer VERB [options]",
            "",
            "Visual recognition with the NomMer network.",
            "",
            *_rows(verbs, left=12),
            "",
            "nommer VERB --help tells the options of a verb; nommer --version the version;",
            "--debug, with any verb, where an error comes from; nommer --print-completion bash (or",
            "zsh, tcsh) a script for the completion by the shell.",
        ]
    )


def help_of(verb: str, asked: Sequence[str]) -> str:
    """Return the help that arguments of a verb ask for: a screen, all, of a group, or recipes.

    Raises:
        InputError: a group that the verb does not have.
    """
    if "--help-all" in asked:
        return "\n".join(_everything(verb))
    at = next(asked.index(name) for name in ASKING if name in asked)
    topic = next(iter(asked[at + 1 :]), "-").removeprefix("--").partition(".")[0]
    if asked[at + 1 :] and not asked[at + 1].startswith("-") and at == 0:
        return "\n".join(_of_topic(verb, topic))
    return "\n".join(_screen(verb))


def _of_topic(verb: str, topic: str) -> Iterator[str]:
    topics = [*groups_of(COMMANDS[verb].settings), *(["recipes"] if verb == "train" else [])]
    if topic not in topics:
        near = get_close_matches(topic, topics, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(topics) or 'none'}"
        raise InputError(f"--help {topic}: {verb} has no such group of options; {hint}")
    if topic == "recipes":
        yield "recipes for --config:"
        yield from _wrapped(", ".join(recipe_names()), indent="  ")
        return
    settings = COMMANDS[verb].settings
    yield from _wrapped(texts(settings)[topic])
    yield from _in_full(settings, (one for one in options_of(settings) if one.group == topic))


def _screen(verb: str) -> Iterator[str]:
    """The options that people use, each in a sentence with its default in brackets."""
    settings = COMMANDS[verb].settings
    rare, about = getattr(settings, "rare", ()), texts(settings)
    shown = [one for one in options_of(settings) if not one.group and one.name not in rare]
    shown.sort(key=lambda one: not one.required)
    yield from _usage(verb, shown)
    yield ""
    yield from _wrapped(description(verb)[0])
    yield ""
    yield from _rows((_written(verb, one), _short(one, about[one.name])) for one in shown)
    yield from _rows([("--config FILE|RECIPE", "Settings from a YAML file, or a recipe by name")])
    groups = groups_of(settings)
    if groups:
        yield f"groups of options (nommer {verb} --help {groups[0]}):"
        yield from _rows((f"--{name}.*", brief(about[name])) for name in groups)
    more = "; recipes: nommer train --help recipes" if verb == "train" else ""
    yield f"everything, in full: nommer {verb} --help-all{more}"


def _everything(verb: str) -> Iterator[str]:
    settings = COMMANDS[verb].settings
    options = list(options_of(settings))
    yield from _usage(verb, options)
    for paragraph in description(verb):
        yield ""
        yield from _wrapped(paragraph)
    yield ""
    yield from _in_full(settings, (one for one in options if not one.group))
    yield from _rows([("--config FILE|RECIPE", "YAML file, or name of a recipe, with settings.")])
    yield from _rows([("--print_config", "Print all settings as such a file, and end.")])
    for group in groups_of(settings):
        yield ""
        yield from _wrapped(f"{group}: {texts(settings)[group]}")
        yield from _in_full(settings, (one for one in options if one.group == group))
    if verb == "train":
        yield ""
        yield from _of_topic(verb, "recipes")


def _in_full(settings: type[Any], options: Iterable[Option]) -> Iterator[str]:
    about = texts(settings)
    for one in options:
        if one.hidden:
            continue
        default = default_in_words(one.field, about[one.name])
        said = "By default" in about[one.name] or not default
        told = about[one.name] if said else f"{about[one.name]} [{default}]"
        yield from _rows([(_written("", one), told)])


def _usage(verb: str, options: Sequence[Option]) -> Iterator[str]:
    needed = [one for one in options if one.required]
    named = not verb or COMMANDS[verb].settings.named
    if named:
        words = [f"{one.dashed} {one.value}" for one in needed]
    else:
        words = [one.name.upper() for one in needed]
    shown = {name: f"[{name.upper()} ...]" for name in MANY} | {SECOND: f"[{SECOND.upper()}]"}
    more = [shown[one.name] for one in options if one.name in shown and not named]
    yield " ".join(["usage: nommer", verb, *words, *more, "[options]"])


def _written(verb: str, option: Option) -> str:
    by_place = bool(verb) and not COMMANDS[verb].settings.named
    if by_place and (option.required or option.name in (*MANY, SECOND)):
        return option.name.upper()
    return f"{option.dashed} {option.value}".rstrip()


def _short(option: Option, text: str) -> str:
    default = default_in_words(option.field, text)
    return f"{brief(text)} [{default}]" if default else brief(text)


def _rows(rows: Iterable[tuple[str, str]], left: int = _LEFT) -> Iterator[str]:
    for name, text in rows:
        lines = list(_wrapped(text, indent=" " * (left + 2)))
        if len(name) < left:
            yield f"  {name:<{left}}{lines[0].strip()}" if lines else f"  {name}"
            yield from lines[1:]
        else:
            yield f"  {name}"
            yield from lines


def _wrapped(text: str, indent: str = "") -> list[str]:
    width = max(60, min(100, shutil.get_terminal_size((100, 24)).columns))
    return textwrap.wrap(
        text, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )
