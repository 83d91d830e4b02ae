"""Reports are one file that asks for nothing, escapes everything, and fits every screen."""

import base64
import html
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from nommer.report import Page

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


class Elements(HTMLParser):
    """Every element with its attributes, and the text of all of them."""

    def __init__(self, page):
        super().__init__()
        self.found, self.texts = [], []
        self.feed(page.html())

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.texts += [data.strip()] if data.strip() else []

    def of(self, tag):
        return [attributes for found, attributes in self.found if found == tag]


def line_plot():
    figure = Figure(figsize=(6, 3))
    figure.subplots().plot([0, 1, 0.5])
    return figure


@pytest.fixture
def page():
    page = Page("Working pattern of pets", summary="Most tokens nominate a window.")
    page.command("nommer explain runs/pets --data pets")
    page.section("Shares", "How many tokens nominate which context.\n\nOver all images.")
    page.figure(line_plot(), caption="Share per epoch.", alt="a line that rises from 0 to 1")
    page.table(
        ["block", *(f"column {number}" for number in range(20))],
        [
            [f"stage {stage} block 1", *(0.123456 * number for number in range(20))]
            for stage in (1, 2)
        ],
        caption="Every number.",
    )
    page.section("Pictures")
    page.picture(Image.new("RGB", (900, 300), (9, 99, 199)), caption="A sea.", alt="blue")
    page.section("Doubts", "None.")
    return page


def test_nothing_is_asked_of_the_network_or_of_scripts(page):
    elements = Elements(page)
    policy = next(meta["content"] for meta in elements.of("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'")
    assert not [
        tag
        for tag, _ in elements.found
        if tag in ("script", "link", "iframe", "object", "video", "audio")
    ]
    sources = [
        value
        for _, found in elements.found
        for name, value in found.items()
        if name in ("src", "href")
    ]
    assert sources
    assert all(source.startswith(("data:image/", "#")) for source in sources)
    assert not re.search(r"url\(|@import|https?:", page.html())


def test_all_that_is_given_is_text_and_never_html():
    evil = '<script>alert("1")</script> & \' {{ title }} </pre>'
    page = Page(evil, summary=evil)
    page.text(evil)
    page.section(evil, evil)
    page.command(evil)
    page.table([evil, "b"], [[evil, evil]], caption=evil)
    page.picture(Image.new("RGB", (4, 4)), caption=evil, alt=evil)
    elements = Elements(page)
    assert elements.of("script") == []
    assert elements.of("img")[0]["alt"] == evil
    assert elements.of("div")[0]["aria-label"] == evil
    assert elements.texts.count(evil) == 12


def test_names_of_files_that_are_no_utf8_are_shown_escaped(tmp_path):
    page = Page("caf\udce9.png")
    page.save(tmp_path / "report.html")
    assert "caf\\udce9.png" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_marks_of_direction_and_escape_sequences_are_shown_escaped():
    page = Page("a\u202egnp.exe", summary="\x1b[31mred")
    page.section("names")
    page.table(
        ["file"],
        [["b\u2066.png"]],
        caption="c\x07",
    )
    html = page.html()
    assert all(told in html for told in ("a\\u202egnp", "\\x1b[31mred", "b\\u2066", "c\\x07"))
    assert not set("\u202e\u2066\x1b\x07") & set(html)


def test_screen_readers_find_their_way(page):
    elements = Elements(page)
    assert elements.of("html") == [{"lang": "en"}]
    assert len(elements.of("h1")) == 1
    headings = {found["id"] for found in elements.of("h2")}
    assert {found["aria-labelledby"] for found in elements.of("section")} == headings
    assert {found["href"] for found in elements.of("a")} == {f"#{heading}" for heading in headings}
    assert all(found["alt"] for found in elements.of("img"))
    scopes = [found["scope"] for found in elements.of("th")]
    assert scopes == ["col"] * 21 + ["row"] * 2
    (box,) = elements.of("div")
    assert (box["role"], box["tabindex"], box["aria-label"]) == ("region", "0", "Every number.")


def test_blank_lines_divide_paragraphs(page):
    texts = Elements(page).texts
    assert "How many tokens nominate which context." in texts
    assert "Over all images." in texts


def test_backticks_mark_code():
    page = Page("code", summary="Say `nommer <b>` twice.")
    assert '<p class="summary">Say <code>nommer &lt;b&gt;</code> twice.</p>' in page.html()


def test_values_are_shown_as_people_write_them():
    page = Page("numbers")
    page.table(
        ["name", "share", "known"],
        [["a", 0.123456, True], ["b", None, False], ["c", 3, True]],
        caption="",
    )
    elements = Elements(page)
    assert elements.texts[-12:] == [
        "name",
        "share",
        "known",
        "a",
        "0.1235",
        "True",
        "b",
        "n/a",
        "False",
        "c",
        "3",
        "True",
    ]
    assert [found.get("class") for found in elements.of("td")] == ["number", None] * 3
    assert [found.get("class") for found in elements.of("th")] == [None, "number", None] + [
        None
    ] * 3


def test_a_table_without_rows_still_has_its_columns():
    page = Page("empty")
    page.table(["a", "b"], [], caption="nothing found")
    assert len(Elements(page).of("th")) == 2


def test_rows_must_fit_their_columns():
    with pytest.raises(ValueError, match="a row of 1 values in a table of 2 columns"):
        Page("x").table(["a", "b"], [[1]], caption="")


def test_every_picture_needs_words_for_who_does_not_see_it():
    with pytest.raises(ValueError, match="needs an alt text"):
        Page("x").picture(Image.new("RGB", (4, 4)), caption="c", alt=" ")
    with pytest.raises(ValueError, match="needs an alt text"):
        Page("x").figure(line_plot(), caption="c", alt="")


def embedded(found):
    kind, data = re.fullmatch(r"data:image/([a-z+]+);base64,(.*)", found["src"]).groups()
    return kind, base64.b64decode(data)


def test_pictures_keep_their_pixels_unless_they_are_large():
    noise = np.random.default_rng(0).integers(0, 256, (2000, 3000, 3), dtype=np.uint8)
    page = Page("pictures")
    page.picture(Image.fromarray(noise[:10, :20]), caption="", alt="small")
    page.picture(Image.fromarray(noise), caption="", alt="large")
    small, large = Elements(page).of("img")
    kind, data = embedded(small)
    assert kind == "png"
    assert (np.asarray(Image.open(io.BytesIO(data))) == noise[:10, :20]).all()
    assert (small["width"], small["class"]) == ("240", "pixels")
    kind, data = embedded(large)
    assert kind == "jpeg"
    assert max(Image.open(io.BytesIO(data)).size) == 1600
    assert "class" not in large


def test_figures_are_drawn_with_lines_unless_they_are_large():
    page = Page("figures")
    page.figure(line_plot(), caption="", alt="few points")
    many = Figure(figsize=(6, 3))
    many.subplots().scatter(*np.random.default_rng(0).random((2, 10_000)), c=np.arange(10_000))
    page.figure(many, caption="", alt="many points")
    (few, few_data), (kind, _) = map(embedded, Elements(page).of("img"))
    assert (few, kind) == ("svg+xml", "png")
    assert b"<svg" in few_data
    assert Elements(page).of("img")[0]["width"] == "576"


def test_the_same_content_gives_the_same_file(tmp_path):
    for name in ("a.html", "b.html"):
        page = Page("twice")
        page.figure(line_plot(), caption="$5 and $6", alt="line")
        page.save(tmp_path / name)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


@pytest.fixture(scope="module")
def browser():
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(
            "no headless Chromium on this machine (Debian: apt install chromium-headless-shell)"
        )
    return found


def measured(browser, page, width, folder, numbers):
    """Return what a script finds in the page on a screen of this width."""
    ask = f"""<script>onload = () => {{
      const page = document.querySelector("iframe").contentDocument;
      document.title = {numbers}.join(" ");
    }}</script>"""
    style, source = f"width:{width}px;height:800px;border:0", html.escape(page.html())
    frame = f'<iframe style="{style}" srcdoc="{source}"></iframe>'
    (folder / "outer.html").write_text(
        f"<!doctype html><title></title>{frame}{ask}", encoding="utf-8"
    )
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={folder / 'profile'}",
        "--dump-dom",
    ]
    command = [browser, *options, f"file://{folder}/outer.html"]
    dumped = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    return re.search("<title>(.*?)</title>", dumped.stdout)[1].split()


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_is_as_wide_as_the_screen(browser, page, tmp_path, width):
    ask = """[
      page.documentElement.scrollWidth,
      Math.max(...[...page.images].map(image => image.getBoundingClientRect().right)),
      page.querySelector(".scroll").scrollWidth,
      page.querySelector(".scroll").clientWidth,
      [...page.images].every(image => image.naturalWidth > 0),
    ]"""
    page_width, widest, table_width, box_width, loaded = measured(
        browser, page, width, tmp_path, ask
    )
    assert float(page_width) <= width
    assert float(widest) <= width
    assert loaded == "true"
    assert int(table_width) > int(box_width), "a table of 21 columns scrolls in its own box"


def test_a_wide_figure_scrolls_in_its_own_box_instead_of_being_shrunk_until_nobody_can_read_it(
    browser, tmp_path
):
    page, wide = Page("wide"), Figure(figsize=(16, 4))
    wide.subplots().plot([0, 1])
    page.figure(wide, caption="sixteen inches", alt="a line")
    ask = """[
      page.documentElement.scrollWidth,
      page.images[0].getBoundingClientRect().width,
      page.querySelector("figure .scroll").clientWidth,
    ]"""
    page_width, shown, box = map(float, measured(browser, page, 390, tmp_path, ask))
    assert page_width <= 390
    assert box <= 390
    assert shown == 0.75 * 16 * 96


def test_only_a_wide_figure_has_a_box_to_scroll_in():
    page = Page("figures")
    for width in (7, 8):
        figure = Figure(figsize=(width, 2))
        figure.subplots().plot([0, 1])
        page.figure(figure, caption=f"{width} inches", alt="a line")
    (box,) = [given for given in Elements(page).of("div") if given.get("class") == "scroll"]
    assert (box["aria-label"], box["tabindex"]) == ("8 inches", "0")
    assert [given.get("style") for given in Elements(page).of("img")] == [None, "min-width: 576px"]
