"""Every command that the docs print is understood as it stands."""

import re
import shlex
from pathlib import Path

import pytest

from nommer.cli.commands import COMMANDS
from nommer.cli.parser import parse

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(?:bash|sh|console)?\n(.*?)^```", re.S | re.M)
MEANT = re.compile(r"(?<![\w/.-])(?:VERB|\.\.\.|…|<\w|\[\w+\])(?!\w)|\$[A-Z]")
"""Places that are to be filled in."""


def commands(page):
    """Yield the arguments of each `nommer` in the page's blocks."""
    for block in BLOCK.findall(page.read_text("utf-8")):
        for line in block.replace("\\\n", " ").splitlines():
            found = re.match(r"(?:\$ )?(?:[A-Z_]+=\S+ )*(?:srun )?nommer (\w.*)", line)
            if found and not MEANT.search(line.partition(" #")[0]):
                words = shlex.split(found[1], comments=True)
                ends = [words.index(end) for end in ("|", "&", "&&", ">", "2>&1") if end in words]
                yield words[: min(ends, default=None)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_of_the_docs_are_understood(page, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    for given in commands(page):
        assert given[0] in COMMANDS, given
        if "--config" in given:
            continue  # of a run that is not there
        try:
            parse(given)
        except SystemExit:
            pytest.fail(f"nommer {shlex.join(given)}: {capsys.readouterr().err}")


def test_there_are_commands_to_look_at():
    assert sum(len([*commands(page)]) for page in PAGES) > 100
