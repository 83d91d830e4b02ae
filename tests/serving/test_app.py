"""The routes: answers, refusals, limits."""

import asyncio
import base64
import json
import logging
import time

import pytest

from nommer import load
from nommer.serving.errors import RefusedError
from nommer.serving.request_options import options_of
from nommer.serving.watching import JsonLines


def files(*contents):
    return [("images", (f"{number}.png", content)) for number, content in enumerate(contents)]


def test_an_image_is_answered_as_predict_does(talk, photo, model_folder):
    async def ask(client):
        return await client.post("/predict", files=files(photo()), data={"top": "2"})

    found = talk(ask)
    assert found.status_code == 200
    (expected,) = load(model_folder).predict([photo()])
    body = found.json()
    assert body["model"] == "colours"
    assert body["task"] == "classification"
    (result,) = body["results"]
    assert result["image"] == "0.png"
    assert [one["class"] for one in result["top"]] == [name for name, _ in expected.top(2)]
    assert result["top"][0]["probability"] == pytest.approx(expected.probability, abs=1e-6)


def test_json_is_another_way_to_ask_the_same(talk, photo):
    text = base64.b64encode(photo()).decode()
    images = [text, {"name": "mine", "data": f"data:image/png;base64,{text}"}]

    async def ask(client):
        form = await client.post("/predict", files=files(photo()))
        return form, await client.post("/predict", json={"images": images, "model": "colours"})

    form, found = talk(ask)
    first, second = found.json()["results"]
    assert (first["image"], second["image"]) == ("image 1", "mine")
    assert first["top"] == second["top"] == form.json()["results"][0]["top"]


def test_a_bad_image_fails_alone(talk, photo):
    async def ask(client):
        mixed = await client.post("/predict", files=files(photo(), b"no image", photo()[:90]))
        return mixed, await client.post("/predict", files=files(b"no image"))

    mixed, alone = talk(ask)
    assert mixed.status_code == 200
    assert ["error" in one for one in mixed.json()["results"]] == [False, True, True]
    assert alone.status_code == 422
    assert "not an image" in alone.json()["results"][0]["error"]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"images": []}, 422, "no images given"),
        ({"images": ["AAAA"], "model": "other"}, 404, "there are colours"),
        ({"images": ["AAAA"], "most": 3}, 422, "most: does nothing for classification"),
        ({"images": ["AAAA"], "topp": 3}, 422, "no such option"),
        ({"images": ["AAAA"], "top": 0}, 422, "top must be from 1"),
        ({"images": ["AAAA"], "top": True}, 422, "top must be a whole number"),
        ({"images": ["AAAA"], "threshold": "x"}, 422, "threshold must be a number"),
        ({"images": ["AAAA"], "token": ["1,1"]}, 422, "token: is for /explain"),
        ({"images": ["*"]}, 422, "images[0]: is no base64"),
        ({"images": "AAAA"}, 422, "images must be a list"),
        ({"images": ["AAAA"] * 17}, 413, "17 images, and 16 is the most"),
        ([], 422, "the body must be an object"),
    ],
)
def test_what_does_not_fit_is_one_sentence(talk, body, status, said):
    async def ask(client):
        return await client.post("/predict", json=body)

    found = talk(ask)
    assert found.status_code == status
    assert said in found.json()["error"]


def test_bodies_of_other_kinds_and_broken_ones(talk):
    async def ask(client):
        broken = {"content-type": "multipart/form-data; boundary=x"}
        return [
            await client.post("/predict", content=b"x", headers={"content-type": "text/plain"}),
            await client.post("/predict", content=b"--y\r\n\r\n", headers=broken),
            await client.post("/predict", content=b"", headers=broken),
            await client.post(
                "/predict", content=b"{", headers={"content-type": "application/json"}
            ),
        ]

    assert [one.status_code for one in talk(ask)] == [415, 422, 422, 422]


def test_limits_on_bytes_images_and_pixels(talk, photo):
    async def ask(client):
        large = await client.post("/predict", files=files(bytes(9000)))

        async def parts():
            for _ in range(9):
                yield bytes(1000)

        headers = {"content-type": "application/json"}
        streamed = await client.post("/predict", content=parts(), headers=headers)
        many = await client.post("/predict", files=files(*[b"x"] * 3))
        wide = await client.post("/predict", files=files(photo(size=(60, 40))))
        return large, streamed, many, wide

    large, streamed, many, wide = talk(ask, max_bytes=8500, max_images=2, max_pixels=2000)
    assert [one.status_code for one in (large, streamed, many, wide)] == [413, 413, 413, 422]
    assert "8,500 bytes" in large.json()["error"]
    assert "2,400 pixels, over 2,000" in wide.json()["results"][0]["error"]


class Slow:
    """A model that takes its time."""

    name, task, class_names, engine, explains = "slow", "classification", ("a",), "sleep", False

    def __init__(self, model, seconds):
        self.model, self.seconds, self.batches = model, seconds, []
        self.reading = model.reading

    def check(self, options):
        pass

    def group(self, picture):
        return None

    def answer(self, pictures):
        time.sleep(self.seconds)
        self.batches.append(len(pictures))
        return self.model.answer(pictures)

    def describe(self):
        return {}


def test_images_of_several_requests_are_computed_together(talk, models, photo):
    slow = Slow(models["colours"], 0.05)

    async def ask(client):
        asked = (client.post("/predict", files=files(photo())) for _ in range(12))
        return await asyncio.gather(*asked)

    answers = talk(ask, served={"slow": slow}, max_batch=4, max_delay=20)
    assert {one.status_code for one in answers} == {200}
    assert sum(slow.batches) == 12
    assert max(slow.batches) == 4


def test_a_full_queue_refuses_with_the_time_to_come_again(talk, models, photo):
    async def ask(client):
        asked = [client.post("/predict", files=files(photo(), photo())) for _ in range(6)]
        return await asyncio.gather(*asked), await client.get("/ready")

    slow = Slow(models["colours"], 0.1)
    answers, ready = talk(ask, served={"slow": slow}, queue=4, max_images=2)
    statuses = [one.status_code for one in answers]
    assert statuses.count(200) == 2
    assert statuses.count(429) == 4
    refused = next(one for one in answers if one.status_code == 429)
    assert int(refused.headers["retry-after"]) >= 1
    assert ready.status_code == 200


def test_what_takes_too_long_is_given_up(talk, models, photo):
    async def ask(client):
        first = await client.post("/predict", files=files(photo()))
        waiting = client.server.batchers["slow"].waiting

        async def slowly():
            yield b"{"
            await asyncio.sleep(1)

        headers = {"content-type": "application/json"}
        sent = await client.post("/predict", content=slowly(), headers=headers)
        return first, waiting, sent

    first, waiting, sent = talk(ask, served={"slow": Slow(models["colours"], 0.5)}, timeout=0.2)
    assert first.status_code == 504
    assert waiting == 0
    assert sent.status_code == 408


def test_the_end_answers_what_was_taken(talk, models, photo):
    async def ask(client):
        asked = asyncio.create_task(client.post("/predict", files=files(photo())))
        while not client.server.batchers["slow"].waiting:
            await asyncio.sleep(0.01)
        await client.server.stop()
        return await asked, await client.get("/ready")

    answered, ready = talk(ask, served={"slow": Slow(models["colours"], 0.2)})
    assert answered.status_code == 200
    assert ready.status_code == 503


def test_a_failure_of_the_model_is_no_end(talk, models, photo):
    slow = Slow(models["colours"], 0)
    slow.model = None

    async def ask(client):
        return await client.post("/predict", files=files(photo())), await client.get("/health")

    failed, health = talk(ask, served={"slow": slow})
    assert failed.status_code == 500
    assert failed.json() == {"error": "the server failed to answer; its log tells why"}
    assert health.status_code == 200


def test_a_token_is_wanted_where_one_is_set(talk, photo):
    async def ask(client):
        bearing = {"Authorization": "Bearer 0123456789abcdef"}
        return [
            await client.post("/predict", files=files(photo())),
            await client.get("/models", headers={"Authorization": "Bearer 0123456789abcdeg"}),
            await client.get("/models", headers=bearing),
            await client.get("/metrics"),
            await client.get("/health"),
        ]

    found = talk(ask, token=b"0123456789abcdef")
    assert [one.status_code for one in found] == [401, 401, 200, 401, 200]
    assert found[0].headers["www-authenticate"] == "Bearer"


def test_explanations_have_maps_and_shares(talk, photo):
    async def ask(client):
        asked = {"token": ["20,20"], "top": "1"}
        return await client.post("/explain", files=files(photo(), b"x"), data=asked)

    found = talk(ask).json()["results"]
    assert set(found[0]["maps"]) == set(found[0]["shares"])
    assert found[0]["contexts"] == ["convolution", "window", "global"]
    assert found[0]["tokens"]
    assert "error" in found[1]


def test_models_metrics_pages_and_headers(talk, photo):
    async def ask(client):
        await client.post("/predict", files=files(photo(), b"x"))
        return {
            path: await client.get(path)
            for path in ("/models", "/metrics", "/", "/docs", "/openapi.json", "/nothing")
        }

    found = talk(ask)
    (told,) = found["/models"].json()["models"]
    assert (told["name"], told["explains"], told["options"]) == ("colours", True, ["refuse", "top"])
    metrics = found["/metrics"].text
    assert 'nommer_images_total{model="colours",outcome="failed"} 1.0' in metrics
    assert 'nommer_requests_total{route="/predict",status="200"} 1.0' in metrics
    for page in ("/", "/docs"):
        assert found[page].status_code == 200
        assert "://" not in found[page].text.replace("http://127.0.0.1:8000", "")
    assert set(found["/openapi.json"].json()["paths"]) == {
        "/predict",
        "/explain",
        "/models",
        "/health",
        "/ready",
    }
    assert found["/nothing"].status_code == 404
    assert "access-control-allow-origin" not in found["/models"].headers
    assert found["/models"].headers["x-content-type-options"] == "nosniff"


def test_another_method_is_told_the_right_one(talk):
    async def ask(client):
        return await client.get("/predict"), await client.options("/models")

    got, options = talk(ask)
    assert (got.status_code, got.headers["allow"]) == (405, "POST")
    assert (options.status_code, options.headers["allow"]) == (405, "GET")


def test_a_log_line_is_json_without_contents():
    record = logging.LogRecord("n", logging.INFO, "f", 1, "request", (), None)
    record.told = {"path": "/predict\n", "bytes": 3}
    line = JsonLines().format(record)
    assert "\n" not in line
    assert json.loads(line)["event"] == "request"


def test_a_threshold_is_given_in_the_ways_of_predict():
    for given in ({"cell": 0.5, "ring": 1}, '{"cell": 0.5, "ring": 1}'):
        assert options_of({"threshold": given}).asked == {"cell": 0.5, "ring": 1.0}
    assert options_of({"threshold": "best"}).asked == "best"
    assert options_of({"threshold": "0.25"}).asked == 0.25
    for wrong in ("much", {"cell": "much"}, {"cell": 1.5}, "{", "nan", True):
        with pytest.raises(RefusedError) as refused:
            options_of({"threshold": wrong})
        assert refused.value.status == 422
        assert refused.value.sentence.startswith("threshold")
