"""Use the explorer as a person does, in a real browser, and take the pictures of its page.

    python docs/images/make_explorer.py OUT [--axe axe.min.js] [--nuclei PHOTOGRAPH]
        [--models nommer_nano64.tiny_imagenet_200 nommer_nano.dsb2018 nommer_nano.bccd]

Needs Playwright (`pip install playwright`) and Debian's Chromium at /usr/bin/chromium. `axe.min.js`
is of npm's axe-core; with it the page must have no finding that axe calls serious or critical.
With a photograph of DSB2018 the second model, a detector with masks, is shown on it.
"""

import argparse
import base64
import json
import re
import subprocess
import sys
import time
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

CHROMIUM = "/usr/bin/chromium"
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--force-color-profile=srgb"),
)
EXAMPLES = Path(__file__).parents[2] / "src/nommer/serving/pages/examples"
WAIT = 120_000
"""Milliseconds that an answer may take, on a slow machine."""

DROP = """async ([name, content]) => {
  const bytes = Uint8Array.from(atob(content), letter => letter.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], name, {type: "image/jpeg"}));
  document.dispatchEvent(new DragEvent("drop", {dataTransfer: data, bubbles: true}));
}"""


ANSWERED = "photo && panels.length && panels.every(one => one.shown)"
IDLE = "panels.every(one => one.root.getAttribute('aria-busy') === 'false')"


def must(true: bool, told: object) -> None:
    """Stop where something is not as it should be."""
    if not true:
        raise SystemExit(f"not as expected: {told}")


def wait_until(page: Page, true: str) -> None:
    """Wait for an expression; Playwright's own way is eval, which the page's policy forbids."""
    until = time.monotonic() + WAIT / 1000
    while not page.evaluate(true):
        must(time.monotonic() < until, (true, page.locator("#says").inner_text()))
        page.wait_for_timeout(50)


def settle(page: Page) -> None:
    """Wait until every model has answered."""
    wait_until(page, f"{ANSWERED} && {IDLE}")
    page.wait_for_timeout(150)


def check_axe(page: Page, axe: Path | None, where: str) -> list[str]:
    """Return what axe calls serious or critical."""
    if axe is None:
        return []
    page.evaluate(axe.read_text("utf-8"))
    found = page.evaluate("async () => (await axe.run()).violations")
    return [
        f"{where}: {one['id']} ({one['impact']}): {one['nodes'][0]['html'][:160]}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


def drop(page: Page, path: Path) -> None:
    """Drop a file on the page."""
    page.evaluate(DROP, [path.name, base64.b64encode(path.read_bytes()).decode()])
    wait_until(page, f"photo && photo.name === {json.dumps(path.name)}")
    settle(page)


def point(page: Page, across: float, down: float, *, click: bool = False) -> None:
    """Point at a place of the first canvas, in shares of it."""
    box = page.locator(".stage canvas").first.bounding_box()
    if box is None:
        raise SystemExit("there is no canvas")
    page.mouse.move(box["x"] + across * box["width"], box["y"] + down * box["height"])
    if click:
        page.mouse.down()
        page.mouse.up()


def nominations(page: Page, told: argparse.Namespace) -> dict[str, str]:
    """Drop, hover, force: the first picture."""
    drop(page, EXAMPLES / "flower.jpg")
    before = page.locator(".answers li").first.inner_text()
    point(page, 0.5, 0.5)
    hovered = page.locator(".under").first.inner_text()
    must("Scores:" in hovered, hovered)
    page.get_by_role("button", name="Brush a region").click()
    point(page, 0.36, 0.28)
    page.mouse.down()
    for step in range(16):
        point(page, (0.36, 0.6)[step // 2 % 2], 0.28 + (step + 1) // 2 * 0.045)
    page.mouse.up()
    page.get_by_role("button", name="Force window").click()
    settle(page)
    page.locator("#where").select_option("stage 2 block 1")
    page.get_by_role("button", name="Force global").click()
    settle(page)
    changed = page.locator(".changed").first.inner_text()
    point(page, 0.55, 0.5)
    page.screenshot(path=told.out / "explorer_force.png")
    return {"before": before, "hovered": hovered, "changed": changed}


def token(page: Page, told: argparse.Namespace) -> dict[str, str]:
    """Show what a token sees: the second picture."""
    while page.locator("#chips button").count():
        page.locator("#chips button").first.click()
        settle(page)
    point(page, 0.52, 0.45, click=True)
    settle(page)
    seen = page.locator(".under").first.inner_text()
    must("sees" in seen, seen)
    page.screenshot(path=told.out / "explorer_token.png")
    return {"token": seen}


def keyboard(page: Page, _told: argparse.Namespace) -> dict[str, str]:
    """Go on without a mouse."""
    page.locator(".stage canvas").first.focus()
    for key in ("ArrowRight", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    settle(page)
    said = page.locator("#says").inner_text()
    must("token at" in said, said)
    return {"keyboard": said}


def compare(page: Page, told: argparse.Namespace) -> dict[str, str]:
    """Open two models side by side by a link: the third picture."""
    address = re.sub("#.*", "", page.url)
    page.goto("about:blank")
    models = f"model={told.models[1]}&second={told.models[-1]}"
    link = f"{address}#{models}&example=cells.jpg&opacity=45"
    page.goto(link)
    wait_until(page, "photo && panels.length === 2")
    settle(page)
    expect(page.locator("article")).to_have_count(2)
    must(page.locator("#opacity").input_value() == "45", "opacity of the link")
    page.screenshot(path=told.out / "explorer_compare.png")
    return {"compared": ", ".join(page.locator("article h3").all_inner_texts())}


def masks(page: Page, told: argparse.Namespace) -> dict[str, str]:
    """Force a context in a block of a detector with masks: the fourth picture."""
    if told.nuclei is None:
        return {}
    address = re.sub("#.*", "", page.url)
    page.goto("about:blank")
    page.goto(f"{address}#model={told.models[1]}")
    settle(page)
    drop(page, told.nuclei)
    page.locator("#where").select_option("stage 1 block 1")
    page.get_by_role("button", name="Force global").click()
    settle(page)
    page.screenshot(path=told.out / "explorer_masks.png")
    return {"masks": page.locator(".changed").first.inner_text()}


def why(page: Page, told: argparse.Namespace) -> dict[str, str]:
    """Ask for the attribution, another layer with a legend of its own."""
    drop(page, EXAMPLES / "flower.jpg")
    page.get_by_role("button", name="Why").click()
    settle(page)
    legend = page.locator(".legend").first.inner_text()
    must("Attribution by" in legend, legend)
    page.screenshot(path=told.out / "explorer_why.png")
    return {"why": " ".join(legend.split())}


def main() -> None:
    """Start a server and a browser, and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--axe", type=Path)
    parser.add_argument("--nuclei", type=Path)
    zoo = ["nommer_nano64.tiny_imagenet_200", "nommer_nano.dsb2018", "nommer_nano.bccd"]
    parser.add_argument("--models", nargs="+", default=zoo)
    told = parser.parse_args()
    told.out.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "nommer", "serve", *told.models, "--port", "0"]
    command += ["--timeout", "120"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)  # noqa: S603
    try:
        lines = iter(server.stderr.readline, "")  # type: ignore[union-attr]
        address = next(json.loads(one)["address"] for one in lines if '"serving"' in one)
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
            page = browser.new_page(viewport={"width": 1360, "height": 900}, color_scheme="light")
            seen = use(page, address, told)
            sys.stdout.write(json.dumps(seen, indent=1, ensure_ascii=False) + "\n")
            browser.close()
    finally:
        server.terminate()
        server.wait()


def use(page: Page, address: str, told: argparse.Namespace) -> dict[str, object]:
    """Return what was seen on the page, step by step."""
    errors: list[str] = []
    page.on("console", lambda one: errors.append(one.text) if one.type == "error" else None)
    page.on("pageerror", lambda one: errors.append(str(one)))
    page.goto(address)
    settle(page)
    seen: dict[str, object] = {}
    serious: list[str] = []
    began = time.monotonic()
    for step in (nominations, token, keyboard, why, compare, masks):
        seen |= step(page, told)
        serious += check_axe(page, told.axe, step.__name__)
    seen |= {"seconds": round(time.monotonic() - began, 1), "serious": serious, "errors": errors}
    must(not serious, serious)
    must(not errors, errors)
    return seen


if __name__ == "__main__":
    main()
