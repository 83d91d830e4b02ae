"""Attribution: of what the answer hangs on, for networks that nominate and for all others."""

import json

import numpy as np
import pytest
import timm
import torch
from PIL import Image

import nommer
from nommer.data.transforms import Preprocessing
from nommer.models.classification import Classifier
from nommer.models.storage import save_model
from nommer.nominations import attribution
from nommer.nominations.attribution import attribute, method_of
from nommer.predictions import Classification, Detections
from nommer.predictions.occlusion import occlusion


def test_hiding_finds_the_only_bright_cell():
    image = Image.new("RGB", (64, 32))
    image.paste((255, 255, 255), (40, 8, 48, 12))

    def answer(images):
        bright = [float(np.asarray(one).max() > 200) for one in images]
        return [Classification("a", ("dark", "bright"), (1 - p, p)) for p in bright]

    found = occlusion(image, answer([image])[0], answer)
    assert np.argwhere(found > 0.5).tolist() == [[2, 5]]
    assert np.count_nonzero(found) == 1


def test_an_object_that_is_gone_is_all_that_is_lost():
    def found(count):
        boxes = np.array([[0, 0, 8, 8], [16, 0, 24, 8]], float)[:count]
        scores, labels = np.full(count, 0.8), np.zeros(count, int)
        return Detections("a", ("cell",), (8, 32), boxes, scores, labels)

    def answer(images):
        return [found(1 + int(np.asarray(one)[4, 20, 0] == 255)) for one in images]

    image = Image.new("RGB", (32, 8))
    image.paste((255, 255, 255), (16, 0, 24, 8))
    falls = occlusion(image, found(2), answer, cells=4)
    assert np.argwhere(falls > 0.3).tolist() == [[2, 2]]
    assert falls.max() == pytest.approx(0.4)


@pytest.fixture(scope="module")
def foreign():
    """A classifier around a network of timm."""
    torch.manual_seed(0)
    network = timm.create_model("test_resnet.r160_in1k", pretrained=False, num_classes=2).eval()
    return Classifier(network, class_names=("a", "b"), preprocessing=Preprocessing(image_size=64))


@pytest.mark.parametrize("captum", [True, False])
def test_a_network_of_timm_is_attributed(foreign, noisy, monkeypatch, captum):
    pytest.importorskip("captum")
    if not captum:
        monkeypatch.setattr(attribution, "find_spec", lambda name: None)
    image = noisy((200, 60, 60))
    (answer,) = foreign.predict([image])
    found = attribute(foreign, image, answer)
    assert found.method == method_of(foreign)
    assert found.method == ("integrated gradients" if captum else "occlusion")
    assert np.isfinite(found.values).all()
    assert np.abs(found.values).max() > 0


def test_a_segmenter_is_attributed(tiny_segmenter, noisy):
    pytest.importorskip("captum")
    model, image = tiny_segmenter(), noisy((200, 60, 60))
    (answer,) = model.predict([image])
    found = attribute(model, image, answer)
    assert found.target == f"the pixels of {next(iter(answer.shares))}"
    assert np.abs(found.values).max() > 0


def test_explain_draws_and_saves_a_page(tiny_classifier, noisy, tmp_path):
    pytest.importorskip("captum")
    save_model(tmp_path / "model", tiny_classifier(), metrics={}, version="0")
    noisy((60, 60, 200)).save(tmp_path / "<img src=x>.png")
    nommer.explain(tmp_path / "model", tmp_path / "<img src=x>.png", page=True, out=tmp_path / "o")
    page = (tmp_path / "o/page.html").read_text("utf-8")
    told = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    (image,) = told["images"]
    assert image["name"] == "<img src=x>.png"
    assert "<img src=x>" not in page
    forced = image["result"]["forced"]
    assert len(forced) == 3 * (1 + len(image["result"]["maps"]))
    assert image["result"]["attribution"]["values"]
    assert len(image["result"]["looks"]) >= 16


def test_explain_answers_why_where_nothing_nominates(foreign, noisy, tmp_path, monkeypatch):
    pytest.importorskip("captum")
    monkeypatch.setattr("nommer.studies.explaining.load_to", lambda model, device: foreign)
    noisy((60, 60, 200)).save(tmp_path / "a.png")
    result = nommer.explain(tmp_path, tmp_path / "a.png", page=True, out=tmp_path / "o")
    (told,) = json.loads((tmp_path / "o/result.json").read_text())
    assert told["attribution"]["method"] == "integrated gradients"
    assert (tmp_path / "o/a.png").stat().st_size > 5000
    assert result.explanations[0].shares == {}
    assert '"explains":false' in (tmp_path / "o/page.html").read_text("utf-8")
