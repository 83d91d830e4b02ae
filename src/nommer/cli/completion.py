"""Completion by the shell: a script that knows every verb and its options, through shtab."""

from importlib.util import find_spec

from jsonargparse import set_parsing_settings

from nommer.cli.commands import COMMANDS, description
from nommer.cli.options import FILES_ONLY
from nommer.cli.parser import Parser, build_parser
from nommer.errors import InputError

ASKED = "--print-completion"

SHELLS = ("bash", "zsh", "tcsh")


def print_completion(shell: str) -> None:
    """Print the script for a shell, and end.

    Raises:
        InputError: another shell, or shtab is not installed.
    """
    if shell not in SHELLS:
        raise InputError(f"{ASKED} {shell}: must be one of {', '.join(SHELLS)}")
    if not find_spec("shtab"):
        raise InputError(f"{ASKED}: needs the package shtab; install it (pip install shtab)")
    set_parsing_settings(add_print_completion_argument=True)
    parser = Parser(prog="nommer")
    verbs = parser.add_subcommands(required=True, dest="verb")
    for verb in COMMANDS:
        of_verb = build_parser(verb)
        shown = (one for one in of_verb._actions if not one.dest.startswith(FILES_ONLY))
        of_verb._actions[:] = list(shown)
        verbs.add_subcommand(verb, of_verb, help=description(verb)[0])
    parser.parse_args(["--print_completion", f"shtab-{shell}"])
