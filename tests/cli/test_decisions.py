"""Decisions through the command line: calibrated copies, refusals, two models compared."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import nommer
from nommer.errors import InputError
from nommer.models.decided_objects import decided
from nommer.models.decisions import Decisions
from nommer.models.familiarity import Familiarity, appearance, scores_and_features
from nommer.models.saved_decisions import save_decisions
from nommer.models.storage import load
from nommer.predictions import Detections
from nommer.settings.evaluate import EvaluateSettings


def read(path):
    return json.loads(path.read_text())


def test_two_models_are_compared_on_the_same_images(run, trained, tmp_path):
    printed = run("evaluate", trained, trained, "--out", tmp_path / "out", "--workers 0")
    assert "top1: no difference can be told: +0.0 points [+0.0, +0.0]" in printed.out
    first, *others = read(tmp_path / "out" / "comparison.json")
    assert (first["measure"], first["difference"], first["is_told"]) == ("top1", 0.0, False)
    assert {row["measure"] for row in others} >= {"macro_f1", "mean_class_accuracy"}
    found = read(tmp_path / "out" / "result.json")
    low, high = found["intervals"]["top1"]
    assert low <= found["top1"] <= high
    assert found["calibration"]["aurc"] >= 0
    assert (tmp_path / "out" / "against" / "result.json").is_file()
    for picture in ("calibration.png", "risk_coverage.png"):
        assert (tmp_path / "out" / picture).is_file()


def test_two_models_may_come_as_a_list():
    settings = EvaluateSettings(["a", "b"], data="data")
    assert (settings.model, settings.against) == (Path("a"), Path("b"))
    for model, against in ((["a", "b", "c"], None), (["a", "b"], "c"), (["a"], None)):
        with pytest.raises(InputError, match="expected one model, or two in a list"):
            EvaluateSettings(model, against)


def test_a_calibrated_copy_has_the_same_weights(run, trained, tmp_path):
    printed = run("evaluate", trained, "--calibrate --out", tmp_path / "out", "--workers 0")
    assert "found on these images" in printed.err
    copy, own = load(tmp_path / "out"), load(trained)
    assert all(map(torch.equal, copy.state_dict().values(), own.state_dict().values()))
    assert copy.decisions.images == read(tmp_path / "out" / "result.json")["images"]
    run("evaluate", trained, trained, "--calibrate", code=2)


def test_looks_of_images_are_measured_where_some_are_refused(
    run, trained, refusing, monkeypatch, tmp_path
):
    measured = []

    def counted(images, features):
        measured.append(len(images))
        return appearance(images, features)

    monkeypatch.setattr("nommer.tasks.classification.loss.appearance", counted)
    data = Path(read(trained / "result.json")["data"])
    for model, options, wanted in (
        (trained, "", False),
        (trained, "--calibrate", True),
        (refusing[0], "", True),
    ):
        measured.clear()
        out = tmp_path / "out"
        run("evaluate", model, "--data", data, options, "--out", out, "--overwrite --workers 0")
        assert sum(measured) == (read(out / "result.json")["images"] if wanted else 0)


@pytest.fixture
def refusing(trained, tmp_path):
    """A copy of the trained model that refuses all but grey images, by features too; a coloured
    image.
    """
    model = load(trained)
    grey = torch.zeros(200, 3, 32, 32) + torch.randn(200, 1, 1, 1)
    with torch.no_grad():
        seen = appearance(grey, scores_and_features(model.network, grey)[1])
    decisions = Decisions(
        temperatures=(2.0,), familiarity=Familiarity.fit(seen, rate=0.05), images=200
    )
    save_decisions(trained, tmp_path / "refusing", model, decisions)
    pixels = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "odd.png")
    return tmp_path / "refusing", tmp_path / "odd.png"


def test_none_of_these_stands_beside_the_classes(run, refusing, tmp_path):
    model, image = refusing
    printed = run("predict", model, image, "--out", tmp_path / "out")
    assert "none of these" in printed.out
    assert "--refuse false" in printed.err
    (answer,) = read(tmp_path / "out" / "result.json")
    assert answer["none_of_these"] is True
    assert answer["top"]
    run("predict", model, image, "--refuse false --out", tmp_path / "named")
    (named,) = read(tmp_path / "named" / "result.json")
    assert "none_of_these" not in named
    assert named["top"] == answer["top"]
    (prediction,) = nommer.load(model).predict(str(image))
    assert prediction.none_of_these
    assert prediction.chosen == ()


def test_an_exported_model_decides_as_its_original(run, refusing, tmp_path):
    model, image = refusing
    run("export", model, "--data", image.parent, "--out", tmp_path / "exported")
    exported = nommer.load(tmp_path / "exported" / "model.onnx")
    own = nommer.load(model)
    assert exported.decisions == own.decisions
    (one,), (other,) = (m.predict(str(image)) for m in (own, exported))
    assert one.none_of_these == other.none_of_these
    assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)


def test_objects_are_answered_from_the_threshold_of_their_class():
    found = Detections(
        "image",
        ("cat", "dog"),
        (9, 9),
        np.arange(16.0).reshape(4, 4),
        np.array([0.9, 0.6, 0.5, 0.1]),
        np.array([0, 1, 0, 1]),
    )
    answer = decided(found, (0.5, 0.7), Decisions(), "a.png")
    assert answer.scores.tolist() == [0.9, 0.5]
    assert answer.to_dict()["thresholds"] == {"cat": 0.5, "dog": 0.7}
    assert answer.sure() is answer
    scaled = Decisions(temperatures=(1.0, 0.5), offsets=(0.0, 0.0))
    moved = decided(found, (), scaled, "a.png")
    assert moved.scores.tolist() == pytest.approx([0.9, 0.6923, 0.5, 0.0122], abs=1e-4)
    assert decided(None, (), scaled, "a.png") is None
