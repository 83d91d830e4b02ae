"""Several models as one: their answers averaged, objects that several find told once."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from nommer import InputError
from nommer.models.decisions import Decisions
from nommer.models.ensemble_networks import mean_objects
from nommer.models.ensembles import ensemble_of, folds_of
from nommer.models.storage import network_of

NAMES = [Path("a"), Path("b"), Path("c")]
BOXES = [[0.0, 0, 10, 10], [0.0, 0, 12, 10], [50.0, 50, 60, 60]]


def objects(boxes, scores, labels, masks=None):
    found = {"boxes": torch.tensor(boxes), "scores": torch.tensor(scores)}
    found["labels"] = torch.tensor(labels)
    return found | ({} if masks is None else {"masks": torch.tensor(masks)})


def test_an_object_of_two_models_is_told_once_at_its_mean_place():
    parts = [
        objects(BOXES[:1], [0.9], [1], [[[1.0]]]),
        objects(BOXES[1:], [0.3, 0.8], [1, 1], [[[0.0]], [[1.0]]]),
    ]
    found = mean_objects(parts, iou=0.5)
    assert found["scores"].tolist() == pytest.approx([0.6, 0.4])
    assert found["boxes"][0].tolist() == pytest.approx([0, 0, (9 + 3.6) / 1.2, 10])
    assert found["boxes"][1].tolist() == BOXES[2]
    assert found["masks"].flatten().tolist() == pytest.approx([0.75, 1])


def test_other_classes_and_far_boxes_stay_apart():
    parts = [objects(BOXES[:1], [0.9], [1]), objects(BOXES[1:2], [0.9], [2])]
    found = mean_objects(parts, iou=0.5)
    assert sorted(found["labels"].tolist()) == [1, 2]
    assert found["scores"].tolist() == pytest.approx([0.45, 0.45])


def test_of_nothing_comes_nothing():
    nothing = objects(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))
    assert len(mean_objects([nothing, nothing], iou=0.5)["scores"]) == 0


def members(build, count=3):
    made = [build() for _ in range(count)]
    for seed, model in enumerate(made):
        torch.manual_seed(seed)
        for weight in model.network.parameters():
            weight.data += 0.05 * torch.randn_like(weight)
    return made


def test_classes_get_the_mean_of_the_calibrated_probabilities(tiny_classifier, noisy):
    each = members(tiny_classifier)
    each[1].decisions = Decisions(temperatures=(2.0,), images=7)
    together = ensemble_of(each, NAMES)
    image = noisy((30, 90, 200))
    expected = np.mean([model.predict(image)[0].probabilities for model in each], 0)
    (answer,) = together.predict(image)
    assert answer.probabilities == pytest.approx(expected, abs=1e-5)
    assert together.decisions == Decisions(images=7)


def test_pixels_get_the_class_of_the_largest_mean_probability(tiny_segmenter, noisy):
    each = members(tiny_segmenter)
    image = noisy((30, 90, 200), size=(50, 40))
    prepared = each[0].preprocessing(image)[None]
    with torch.no_grad():
        scores = [model.network.scores(prepared).softmax(1) for model in each]
        found = ensemble_of(each, NAMES).network.scores(prepared)
    assert torch.allclose(found.exp(), torch.stack(scores).mean(0), atol=1e-5)
    (answer,) = ensemble_of(each, NAMES).predict(image)
    assert answer.labels.shape == (40, 50)


@pytest.mark.parametrize("masks", [False, True])
def test_equal_detectors_answer_as_one_of_them(tiny_detector, noisy, masks):
    model, image = tiny_detector(masks=masks), noisy((30, 90, 200), size=(60, 50))
    model.decisions = Decisions(threshold=0.3, class_thresholds=(0.3, 0.4))
    (one,), (three,) = (m.predict(image) for m in (model, ensemble_of([model] * 3, NAMES)))
    assert len(one) > 3
    assert np.allclose(one.boxes, three.boxes, atol=1e-3)
    assert np.allclose(one.scores, three.scores, atol=1e-5)
    assert one.masks == three.masks


def test_what_does_not_belong_together_is_refused(tiny_classifier, tiny_detector, tmp_path):
    first, other = tiny_classifier(), tiny_classifier()
    other.class_names = other.class_names[::-1]
    with pytest.raises(InputError, match="b: has another classes than a"):
        ensemble_of([first, other], NAMES[:2])
    with pytest.raises(InputError, match="is an ensemble of folds, with a network in each"):
        network_of(ensemble_of([first, first], NAMES[:2]), "runs/folds")
    assert folds_of(tmp_path) == []
    (tmp_path / "fold-0").mkdir()
    with pytest.raises(InputError, match="in folds that has not finished; go on with it by"):
        folds_of(tmp_path)
    (tmp_path / "result.json").write_text(json.dumps({"folds": [{"fold": 0}, {"fold": 1}]}))
    assert folds_of(tmp_path) == [tmp_path / "fold-0", tmp_path / "fold-1"]
