"""`tests/fast.txt`, the tests of `make test-fast` and of the release check."""

import re
from pathlib import Path

TESTS = Path(__file__).parent
ROOMS = {path.parent.name for path in (TESTS.parent / "src" / "nommer").glob("*/__init__.py")}


def test_every_room_of_the_package_is_entered():
    files = {line.partition("::")[0] for line in (TESTS / "fast.txt").read_text().split("\n")}
    paths = [TESTS.parent / file for file in files if file]
    texts = "\n".join(path.read_text("utf-8") for path in paths)
    by_name = r"nommer\.{0}\b|from nommer import [\w, ]*\b{0}\b"
    imported = {room for room in ROOMS if re.search(by_name.format(room), texts)}
    assert ROOMS - imported - {path.parent.name for path in paths} == set()
