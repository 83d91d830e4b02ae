"""Make the pictures of vectors, of answers as data, and of a notebook (docs/results.md).

Run the commands of "Decisions" in docs/results.md first (`runs/` and `data/` of the working
folder), then

python docs/images/make_decisions.py docs/images

Pages are photographed by Playwright (`pip install playwright`) in Debian's Chromium, at
/usr/bin/chromium; the notebook is executed by nbclient.
"""

import json
import sys
from html import escape
from pathlib import Path

import nbclient
import nbformat
from make_explorer import CHROMIUM, QUIET
from PIL import Image, ImageDraw
from playwright.sync_api import Page, sync_playwright

EXAMPLES = Path("docs/images/examples")
GAP, HEIGHT = 12, 360
SHEET = """<meta charset="utf-8"><style>
body { font: 15px/1.4 sans-serif; margin: 16px; width: 820px; color: #1a2e44 }
pre { background: #f3f4f2; padding: 8px 12px; margin: 10px 0 4px; border-left: 4px solid #9fb3c8 }
output { display: block; margin: 0 16px } output pre { background: none; border: 0; padding: 0 }
pre { white-space: pre-wrap } figure { margin: 0 } img { max-height: 250px }
figcaption { font-size: 13px } table { border-collapse: collapse; font-size: 13px }
td, th { padding: 2px 10px; text-align: right }
</style>"""

PAGES = (
    ("notebook.html", "notebook.jpg", (0, 870, 640)),
    ("vectors/report.html", "vectors.jpg", (560, 760, 980)),
)
"""Pages in `runs`, their pictures, and what these show: pixels above it, columns and rows."""

CELLS = (
    "import nommer\n"
    'answers = nommer.load("nommer_nano.bccd").predict("docs/images/examples/cells.jpg")\n'
    "answers[0]",
    "print(answers)",
    "answers[0].to_pandas().head(4).round(2)",
)


def labels_read_back(data: Path, name: str) -> Image.Image:
    """Return an image of answers written as data, with the boxes and masks of its COCO file."""
    told = json.loads((data / "annotations" / "instances_train.json").read_text("utf-8"))
    (entry,) = (one for one in told["images"] if Path(one["file_name"]).name == name)
    names = {one["id"]: one["name"] for one in told["categories"]}
    with Image.open(data / "images" / entry["file_name"]) as opened:
        image = opened.convert("RGB")
    pen = ImageDraw.Draw(image)
    for one in told["annotations"]:
        if one["image_id"] == entry["id"]:
            left, upper, width, height = one["bbox"]
            pen.rectangle((left, upper, left + width, upper + height), outline="#c2571a", width=2)
            pen.text((left + 4, upper + 2), f"{names[one['category_id']]} {one['score']:.2f}",
                     fill="black", stroke_width=2, stroke_fill="white")  # fmt: skip
    return image


def as_data(target: Path) -> None:
    """Put an answer's picture beside the labels that were read back from what was written."""
    data = Path("data/cells_answered")
    name = min(path.name for path in (data / "images").rglob("*.jpg"))
    answered = Path("runs/cells_answered/images", name).with_suffix(".png")
    with Image.open(answered) as opened:
        pair = [opened.convert("RGB"), labels_read_back(data, name)]
    pair = [one.resize((one.width * HEIGHT // one.height, HEIGHT)) for one in pair]
    sheet = Image.new("RGB", (sum(one.width for one in pair) + GAP, HEIGHT), "white")
    sheet.paste(pair[0], (0, 0))
    sheet.paste(pair[1], (pair[0].width + GAP, 0))
    sheet.save(target, quality=82)


def photograph(page: Page, address: str, target: Path, *, crop: tuple[int, int, int]) -> None:
    """Save a part of a page: from so many pixels on, in so many columns and rows of them."""
    above, columns, rows = crop
    page.set_viewport_size({"width": columns, "height": above + rows})
    page.goto(address)
    clip = {"x": 0, "y": above, "width": columns, "height": rows}
    page.screenshot(path=str(target.with_suffix(".png")), clip=clip)
    with Image.open(target.with_suffix(".png")) as opened:
        opened.convert("RGB").save(target, quality=80)
    target.with_suffix(".png").unlink()


def executed(target: Path) -> None:
    """Write what a notebook shows of an answer as a page."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(one) for one in CELLS])
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    parts = [SHEET]
    for cell in notebook.cells:
        parts.append(f"<pre>{escape(cell.source)}</pre>")
        for output in cell.outputs:
            if output.get("name") == "stderr":  # warnings of other packages
                continue
            shown = output.get("data", {})
            plain = escape(output.get("text") or shown.get("text/plain", ""))
            parts.append(f"<output>{shown.get('text/html') or f'<code>{plain}</code>'}</output>")
    target.write_text("\n".join(parts), encoding="utf-8")


def main() -> None:
    """Make them all."""
    folder = Path(sys.argv[1]).absolute()
    as_data(folder / "as_data.jpg")
    executed(Path("runs/notebook.html"))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        page = browser.new_page()
        notebook, vectors = (
            Path(name).absolute().as_uri()
            for name in ("runs/notebook.html", "runs/vectors/report.html")
        )
        photograph(page, notebook, folder / "notebook.jpg", crop=(0, 870, 640))
        photograph(page, vectors, folder / "vectors.jpg", crop=(490, 760, 980))
        browser.close()


if __name__ == "__main__":
    main()
