"""Requests of the explorer, and its page in a real browser where there is one."""

import asyncio
import base64
import json
import threading
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
import uvicorn
from PIL import Image

from nommer.explorer import explorer_page, saved_page, script_hashes
from nommer.nominations.intervention import intervene
from nommer.predictions.run_lengths import encode_pixels
from nommer.serving.app import Server, create_app
from nommer.settings.serve import ServeSettings
from nommer.shown import clean

CHROMIUM = Path("/usr/bin/chromium")


def explain(talk, photo, models=None, **asked):
    async def ask(client):
        images = [("images", ("a.png", photo(), "image/png"))]
        return await client.post("/explain", files=images, data=asked)

    return talk(ask, **({} if models is None else {"served": models}))


def first(answer):
    assert answer.status_code == 200, answer.text
    return answer.json()["results"][0]


def test_grids_of_the_page(talk, photo):
    found = first(explain(talk, photo, grids="true", token="20,20"))
    assert found["answer"]["top"]
    for block, map_ in found["maps"].items():
        odds = np.frombuffer(base64.b64decode(found["probabilities"][block]), np.uint8)
        odds = odds.reshape(len(map_), len(map_[0]), 3)
        assert (
            odds.max(-1) == np.take_along_axis(odds, np.array(map_)[..., None], -1)[..., 0]
        ).all()
        assert len(found["spans"][block]) == 2
    (look,) = found["looks"]
    for view in look["views"]:
        grid = view["grid"]
        seen = np.frombuffer(base64.b64decode(grid["values"]), np.uint8)
        assert len(seen) == grid["rows"] * grid["columns"]
        assert (seen > 0).sum() <= view["tokens_seen"]
    assert set(look["fields"]) == set(found["maps"])


def test_forcing_is_what_an_intervention_is(talk, photo, models):
    force = [json.dumps({"context": "global"})]
    forced = first(explain(talk, photo, force=force, top="3"))["forced"]
    model = models["colours"].model
    with intervene(model, "global"):
        (answer,) = model.predict([Image.open(BytesIO(photo()))])
    told = {one["class"]: one["probability"] for one in forced["answer"]["top"]}
    assert told == pytest.approx(dict(answer.top(3)), abs=1e-5)
    assert all(set(np.ravel(map_)) == {2} for map_ in forced["maps"].values())


def test_a_brushed_region_of_one_block(talk, photo):
    block = "stage 1 block 1"
    plain = first(explain(talk, photo))
    region = ["1000", "0000", "0000", "0000"]
    force = [
        json.dumps({"context": name, "block": block, "region": region})
        for name in plain["contexts"]
    ]
    for index, one in enumerate(force):
        forced = np.array(first(explain(talk, photo, force=[one]))["forced"]["maps"][block])
        before, quarter = np.array(plain["maps"][block]), len(forced) // 4
        assert (forced[:quarter, :quarter] == index).all()
        forced[:quarter, :quarter] = before[:quarter, :quarter]
        assert (forced == before).all()


@pytest.mark.parametrize(
    ("force", "said"),
    [
        ({"context": "nothing"}, "unknown intervention 'nothing'"),
        ({"context": "global", "block": "stage 9 block 1"}, "unknown block"),
        ({"context": "global", "region": ["01", "1"]}, "all as long"),
        ({"context": "global", "region": ["02"]}, "rows of 0 and 1"),
        ({"context": "global", "region": ["0" * 65]}, "at most 64 letters"),
        ({"context": "global", "more": 1}, "force must be objects"),
        ([], "force must be objects"),
        ("x", "force must be"),
    ],
)
def test_a_forcing_that_does_not_fit_is_one_sentence(talk, photo, force, said):
    found = explain(talk, photo, force=[json.dumps(force)])
    assert found.status_code == 422
    assert said in found.json()["error"]


@pytest.mark.skipif(not find_spec("captum"), reason="captum is not installed")
def test_integrated_gradients_add_up_to_the_score(talk, photo, models):
    found = first(explain(talk, photo, attribution="true"))["attribution"]
    assert found["method"] == "integrated gradients"
    model = models["colours"].model
    view = model.view(Image.open(BytesIO(photo())).convert("RGB"))
    with torch.inference_mode():
        scores = model(torch.stack([view.prepared, torch.zeros_like(view.prepared)]))
    label = int(scores[0].argmax())
    fall = float(scores[0, label] - scores[1, label])
    assert float(np.sum(found["values"])) == pytest.approx(fall, abs=0.1 + 0.2 * abs(fall))


def test_the_page_its_policy_and_its_examples(talk):
    async def ask(client):
        listed = await client.get("/examples/examples.json")
        files = [await client.get(f"/examples/{one['file']}") for one in listed.json()]
        return await client.get("/"), listed.json(), files

    page, listed, files = talk(ask)
    assert page.text == explorer_page()
    policy = page.headers["content-security-policy"]
    assert script_hashes(page.text)[0] in policy
    assert "unsafe-inline" not in policy.partition("script-src")[2]
    assert "connect-src" not in policy  # default-src 'self'
    assert all(one["credit"] for one in listed)
    assert all(one.status_code == 200 for one in files)


@pytest.fixture
def address(models):
    """A real server in a thread."""
    server = uvicorn.Server(
        uvicorn.Config(create_app(Server(ServeSettings(("m",)), models)), port=0, log_config=None)
    )
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    while not server.started:
        threading.Event().wait(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


DROP = """async () => {
  const data = new DataTransfer(), drawing = "<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>";
  data.items.add(new File([drawing], "red.svg", {type: "image/svg+xml"}));
  document.dispatchEvent(new DragEvent("drop", {dataTransfer: data, bubbles: true}));
}"""  # noqa: E501

PIXEL = "([x, y]) => [...document.querySelector('canvas').getContext('2d').getImageData(x, y, 1, 1).data]"  # noqa: E501


def page_of_a_mask(photo):
    """A saved page of a blue object in an image of 32 x 64 pixels; only its right half is mask."""
    pixels = np.zeros((32, 64), np.uint8)
    pixels[4:28, 32:60] = 1
    mask = {"size": [32, 64], "counts": encode_pixels(pixels).decode("ascii")}
    found = {"class": "cell", "score": 0.9, "box": [4, 4, 60, 28], "mask": mask}
    answer = {"objects": [found], "colours": {"cell": [0, 0, 255]}}
    model = {"name": "m", "task": "detection", "class_names": ["cell"], "options": []}
    source = f"data:image/png;base64,{base64.b64encode(photo(size=(64, 32))).decode()}"
    image = {"name": "a", "src": source, "result": {"answer": answer, "size": [64, 32]}}
    return saved_page({"models": [model], "images": [image]})


LETTERS = (*range(0xD800), *range(0xE000, 0x10000), *range(0xE0000, 0xE0100))
SHOWN = "codes => codes.map(code => clean(String.fromCodePoint(code)))"
HOSTILE = "make('p', 'a\\u202eb\\u001b').textContent"


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("playwright"), reason="Playwright is not installed")
@pytest.mark.skipif(not CHROMIUM.exists(), reason="there is no Chromium")
def test_a_browser_drops_points_and_forces(address, photo, tmp_path):
    from playwright.sync_api import sync_playwright  # noqa: PLC0415

    arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    arguments += ["--disable-component-update", "--disable-sync"]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        page, errors = browser.new_page(), []
        page.on("console", lambda one: errors.append(one.text) if one.type == "error" else None)
        page.on("pageerror", lambda one: errors.append(str(one)))
        page.goto(f"{address}/#opacity=35&example=temple.jpg")
        page.locator(".answers li").first.wait_for()
        assert page.locator("#opacity").input_value() == "35"
        page.locator(".stage canvas").first.hover()
        assert "Scores:" in page.locator(".under").inner_text()
        page.get_by_role("button", name="Force global").click()
        page.locator(".changed").wait_for()
        assert "force=global" in page.url
        page.locator(".stage canvas").first.press("Enter")
        page.get_by_role("button", name="stage 4 block 1").wait_for()
        page.locator("#chips button").click()
        page.locator(".changed").wait_for(state="detached")
        assert page.evaluate(HOSTILE) == "a\\u202eb\\x1b", "marks of direction are written out"
        assert page.evaluate(SHOWN, LETTERS) == [clean(chr(code)) for code in LETTERS]
        page.route("**/explain", lambda route: route.abort())
        page.get_by_role("button", name="Force global").click()
        page.get_by_text("The server does not answer").last.wait_for()
        page.unroute("**/explain")
        page.evaluate("location.hash = '#opacity=20&example=temple.jpg'")  # as a link is pasted
        page.locator("#opaque", has_text="20%").wait_for()
        page.evaluate(DROP)  # browsers know SVG, the server does not
        page.get_by_text("not an image of a known format").last.wait_for()
        page.get_by_role("button", name="Image", exact=True).click()
        assert page.locator(".error").count() == 1
        assert page.locator(".answers").count() == 0, "answers to the image before"
        (tmp_path / "page.html").write_text(page_of_a_mask(photo), "utf-8")
        page.goto((tmp_path / "page.html").as_uri() + "#layer=plain&opacity=100")
        page.locator(".answers li").first.wait_for()
        assert page.evaluate(PIXEL, [46 * 20, 16 * 20]) == [0, 0, 255, 255]
        red, _, blue, _ = page.evaluate(PIXEL, [16 * 20, 20 * 20])
        assert red > blue, "in the box, outside the mask"
        browser.close()
    unexpected = [one for one in errors if "422" not in one and "ERR_FAILED" not in one]
    assert unexpected == []
