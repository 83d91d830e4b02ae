"""The explorer: one page that shows how a network decides, behind a server or saved with its data.

The page is `explorer.html`; it loads nothing from elsewhere. Data are put into it as JSON that no
browser runs, and shown as text, so names of classes and files are never read as HTML.
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from nommer.shown import cleaned

_EMPTY = '<script type="application/json" id="data">null</script>'
"""Place of the data of a saved page."""

_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)

_POLICY = "<!-- policy -->"
"""Place of the policy of a saved page, which no server sends with it."""


def explorer_page() -> str:
    """Return the page as a server sends it: it asks the server that it came from."""
    return files("nommer").joinpath("explorer.html").read_text("utf-8").replace(_POLICY, "")


def saved_page(data: Mapping[str, Any]) -> str:
    """Return the page with its data in it: one file that needs no server.

    Args:
        data: `models`, each as `GET /models` tells them, and `images`, each with `name`, `src` (a
            data: address) and the `result` of `nommer.nominations.page`.
    """
    page = files("nommer").joinpath("explorer.html").read_text("utf-8")
    hashed = " ".join(script_hashes(page))
    policy = (
        "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; "
        f"script-src {hashed}; base-uri 'none'; form-action 'none'"
    )
    meta = f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    told = json.dumps(cleaned(data), allow_nan=False, separators=(",", ":"))
    for letter in "<>&\u2028\u2029":  # nothing in it may end the element
        told = told.replace(letter, f"\\u{ord(letter):04x}")
    filled = _EMPTY.replace("null", told)
    return page.replace(_POLICY, meta).replace(_EMPTY, filled)


def script_hashes(page: str) -> list[str]:
    """Return the scripts of a page as a Content-Security-Policy names them."""
    return [
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in _SCRIPT.findall(page)
    ]
