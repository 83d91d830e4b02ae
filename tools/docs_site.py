"""Pages of the docs site that are made of other files, and links that leave its folder.

mkdocs calls these functions while it builds (`hooks` in mkdocs.yml; `make docs`). Notebooks become
pages with the outputs that they hold, settings become tables, cards of the zoo and the papers of
the checkout become pages. A link to another file of the checkout is shown as its name, for the
site does not hold it; one to a file that is not there is a warning, which ends `make docs`.
"""

import base64
import json
import logging
import posixpath
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
log = logging.getLogger("mkdocs.hooks.docs_site")

PAPERS = {
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
}
"""Files of the checkout, and the pages that they become."""

LINK = re.compile(r"(!?)\[([^\]\n]*)\]\(([^)\s]+)\)")
NAMED = re.compile(r"(?<!\[)`((?:src|docs|tests|benchmarks|tools)/[\w./-]+\.\w+)`")
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


@event_priority(100)  # before the plugin that follows links notes which files there are
def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that no file of the docs folder holds."""
    made: dict[str, str | bytes] = {"reference/zoo.md": zoo()}
    made |= {page: (ROOT / paper).read_text("utf-8") for paper, page in PAPERS.items()}
    made |= dict(settings_pages())
    for notebook in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        made |= dict(notebook_pages(notebook))
    for path, content in made.items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links that leave the site into names, and warn of files that are not there."""
    path = page.file.src_uri
    papers = {page: paper for paper, page in PAPERS.items()}
    origin = posixpath.dirname(papers.get(path, f"docs/{path}"))

    def named(code: re.Match[str]) -> str:
        place = code[1]
        if not (ROOT / place).exists() and path != PAPERS["CHANGELOG.md"]:
            log.warning("%s names `%s`, which is not there", path, place)
        if not files.get_file_from_path(place.removeprefix("docs/")) or not place.endswith(".md"):
            return code[0]
        title = Path(place).stem.replace("-", " ").capitalize()
        return f"[{title}]({posixpath.relpath(place, origin)})"

    def followed(link: re.Match[str]) -> str:
        mark, text, target = link.groups()
        if re.match(r"[a-z]+:|#", target):
            return link[0]
        file, hash_, anchor = target.partition("#")
        place = posixpath.normpath(posixpath.join(origin, file))
        inside = PAPERS.get(place) or place.removeprefix("docs/").replace(".ipynb", ".md")
        if files.get_file_from_path(inside) and (place in PAPERS or place.startswith("docs/")):
            way = posixpath.relpath(inside, posixpath.dirname(path) or ".")
            return f"{mark}[{text}]({way}{hash_}{anchor})"
        if place.startswith("..") or not (ROOT / place).exists():
            log.warning("%s links to %s, which is not there", path, target)
        return text if "`" in text else f"`{text}`"

    return LINK.sub(followed, NAMED.sub(named, markdown))


def zoo() -> str:
    """Return the cards of the trained models as one page, each a section."""
    text = ["# Trained models\n\nThey come with the package, each with its card."]
    home = ROOT / "src" / "nommer" / "zoo"
    listed = json.loads((home / "manifest.json").read_text("utf-8"))
    for card in (home / name / "card.md" for name in listed if (home / name).is_dir()):
        lines, fenced = [], False
        for line in card.read_text("utf-8").splitlines():
            fenced ^= line.startswith("```")
            lines.append(f"#{line}" if line.startswith("#") and not fenced else line)
        text.append("\n".join(lines))
    return "\n\n".join(text)


def settings_pages() -> Iterator[tuple[str, str]]:
    """Yield a page of tables for each verb: option, type, default, meaning."""
    import nommer.api  # noqa: PLC0415 - mkdocs reads this file also where nothing is built

    for verb in nommer.api.__all__:
        function = getattr(nommer.api, verb)
        intro = function.__doc__.partition("\n\nArgs:")[0]
        usage = (
            f"`nommer {verb} --help` shows what people use, `nommer {verb} --help-all` all of it."
        )
        parts = [f"# {verb}", intro, usage]
        for title, rows in groups(function.settings, ""):
            parts.append(f"## {title}" if title else "## Settings")
            head = "| setting | takes | by default | meaning |\n|---|---|---|---|"
            parts.append("\n".join([head, *rows]))
        yield f"reference/settings/{verb}.md", "\n\n".join(parts)


def groups(settings: type[Any], prefix: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the table of a group of settings, then those of the groups in it."""
    from nommer.settings.documentation import default_in_words, texts_of  # noqa: PLC0415

    texts, rows, inner = texts_of(settings), [], []
    for one in fields(settings):
        name, text = f"{prefix}{one.name}", texts[one.name]
        if is_dataclass(one.type):
            inner.append((name, one.type))
            continue
        default, said = default_in_words(one, text), text.partition(" By default ")[0]
        cells = [f"`{name}`", type_in_words(one.type), default, said]
        rows.append("| " + " | ".join(plain(cell) for cell in cells) + " |")
    if rows:
        yield prefix.removesuffix("."), rows
    for name, kind in inner:
        yield from groups(kind, f"{name}.")


def type_in_words(kind: Any) -> str:
    """Return a type as people read it, without the None of what may be left out."""
    text = kind.__name__ if isinstance(kind, type) and not hasattr(kind, "__args__") else str(kind)
    text = re.sub(r"\b(?:typing|pathlib|collections\.abc|nommer(?:\.\w+)*)\.", "", text)
    text = re.sub(r"Literal\[([^\]]*)\]", r"\1", text).replace("NoneType", "None")
    text = re.sub(r"(?:Optional|Union)\[(.*)\]$", r"\1", text)
    text = re.sub(r" \| None\b|, None$", "", text)
    return text.replace(" | ", " or ").replace("'", "").replace("<class ", "").replace(">", "")


def plain(cell: str) -> str:
    """Return text that a cell of a table can hold."""
    return cell.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def notebook_pages(notebook: Path) -> Iterator[tuple[str, str | bytes]]:
    """Yield the page of a notebook with the outputs that it holds, and its pictures."""
    name, parts, pictures = f"notebooks/{notebook.stem}", [], 0
    for cell in json.loads(notebook.read_text("utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        said: list[str] = []
        shown: list[str] = []
        for output in cell["outputs"]:
            data = output.get("data", {})
            kind = next((k for k in ("image/png", "image/jpeg") if k in data), None)
            html = "".join(data.get("text/html", ""))
            if "data:image/" in html:  # answers, which hold their picture
                shown.append(html)
            elif kind:
                picture = f"{name}_{pictures}.{kind[6:]}"
                pictures += 1
                yield picture, base64.b64decode("".join(data[kind]))
                shown.append(f"![]({posixpath.basename(picture)})")
            else:
                text = "".join(output.get("text", data.get("text/plain", "")))
                said.append(ESCAPES.sub("", text).strip("\n"))
        if any(said):
            parts.append("\n".join(["```text", *said, "```"]))
        parts += shown
    where = f"This page is `docs/{name}.ipynb` as it was run."
    yield f"{name}.md", "\n\n".join([*parts, f"*{where}*"])
