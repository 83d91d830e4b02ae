"""Decisions: thresholds, calibration, refusal and intervals, found and applied."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score
from torchmetrics.functional.classification import binary_calibration_error

from nommer.errors import InputError
from nommer.models.decisions import Decisions
from nommer.models.descriptions import check_description_values
from nommer.models.familiarity import NUM_STATISTICS, Familiarity, statistics
from nommer.settings.predict import PredictSettings
from nommer.tasks.calibration import (
    NEUTRAL,
    EachByItself,
    OneOfAll,
    before_and_after,
    find_scaling,
    risk_coverage,
    scaling_of,
)
from nommer.tasks.deciding import Best, best_f1, class_thresholds
from nommer.tasks.multi_label.deciding import (
    resampled_auroc,
    resampled_f1,
    resampled_precision,
)

NAMES = ("cat", "dog", "hen")


def test_best_f1_is_the_best_of_all_thresholds():
    rng = np.random.default_rng(0)
    truth = rng.random(300) < 0.3
    scores = (truth * 0.4 + rng.random(300)).round(2)  # many are equal
    best = best_f1(scores, truth, int(truth.sum()))
    everywhere = {t: f1_score(truth, scores >= t) for t in np.unique(scores)}
    assert best.f1 == pytest.approx(max(everywhere.values()))
    assert everywhere[best.threshold] == pytest.approx(best.f1)
    assert best_f1(np.zeros(0), np.zeros(0, bool), 3) == Best(None, None)


def test_a_class_with_few_objects_gets_the_threshold_of_all():
    of_classes = [(Best(0.3, 0.9), 50), (Best(0.99, 1.0), 2), (Best(None, None), 0)]
    assert class_thresholds(of_classes, 0.5) == (0.3, 0.5, 0.5)


def test_temperature_undoes_what_made_scores_too_sure():
    torch.manual_seed(0)
    honest = torch.randn(4000, 5) * 2
    labels = torch.distributions.Categorical(logits=honest).sample()
    evidence = OneOfAll(3 * honest, labels, torch.arange(4000))
    (temperature,) = find_scaling(evidence)["temperatures"]
    assert temperature == pytest.approx(3, rel=0.1)
    told = before_and_after(evidence, Decisions(temperatures=(temperature,)))
    assert told["after"]["nll"] < told["before"]["nll"]
    assert told["after"]["ece"] < 0.03 < told["before"]["ece"]
    assert told["after"]["brier"] < told["before"]["brier"]


def test_nothing_is_changed_where_it_does_not_pay():
    torch.manual_seed(1)
    honest = torch.randn(4000, 5)
    labels = torch.distributions.Categorical(logits=honest).sample()
    assert find_scaling(OneOfAll(honest, labels, torch.arange(4000))) == {}
    assert find_scaling(OneOfAll(honest[:5], labels[:5], torch.arange(5))) == {}


def each_by_itself(count=6000, classes=3):
    torch.manual_seed(2)
    labels = torch.arange(count) % classes
    honest = torch.randn(count) * 2
    truth = torch.rand(count) < honest.sigmoid()
    shown = (honest - torch.tensor([-1.0, 0.5, 2.0])[labels]) * 2
    return EachByItself(shown, truth, torch.arange(count) // 6, labels=labels, classes=classes)


def test_each_class_gets_temperature_and_offset_where_that_pays():
    evidence = each_by_itself()
    decisions = Decisions(**find_scaling(evidence))
    assert decisions.temperatures == pytest.approx((2, 2, 2), rel=0.15)
    assert decisions.offsets == pytest.approx((-1, 0.5, 2), abs=0.35)
    probability, right = evidence.answers(scaling_of(decisions))
    assert binary_calibration_error(probability.float(), right.long(), n_bins=15) < 0.03
    scores, sane = evidence.logits.sigmoid(), evidence.logits.abs() < 10
    found = decisions.calibrated(scores, evidence.labels)
    torch.testing.assert_close(found[sane], probability[sane])


def test_calibrated_scores_have_a_way_back():
    decisions = Decisions(temperatures=(0.8, 1.5, 1.0), offsets=(-1.0, 0.3, 0.0))
    for label in range(3):
        there = decisions.calibrated_score(0.37, label)
        assert decisions.uncalibrated(there, label) == pytest.approx(0.37)
    assert Decisions().uncalibrated(0.37, 1) == 0.37


def test_top_1_does_not_change_with_temperature():
    logits = torch.randn(50, 4)
    scaled = Decisions(temperatures=(2.3,)).scaled(logits)
    assert torch.equal(scaled.argmax(1), logits.argmax(1))
    assert torch.equal(Decisions().scaled(logits), logits)


def test_risk_over_coverage():
    risk, area = risk_coverage(np.array([0.9, 0.8, 0.7, 0.1]), np.array([1, 1, 0, 0], bool))
    assert risk == pytest.approx([0, 0, 1 / 3, 1 / 2])
    assert area == pytest.approx(np.mean([0, 0, 1 / 3, 1 / 2]))


def photographs(count, seed):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 3, 8, 8, generator=generator)
    fine = 0.1 * torch.randn(count, 3, 32, 32, generator=generator)
    return torch.nn.functional.interpolate(coarse, size=(32, 32), mode="bilinear") + fine


def test_images_of_another_world_are_refused_and_few_of_the_own():
    known = Familiarity.fit(statistics(photographs(600, 0)), rate=0.05)
    assert len(known.mean) == NUM_STATISTICS
    own = known.refused(statistics(photographs(600, 1))).double().mean()
    assert own == pytest.approx(0.05, abs=0.04)
    assert known.refused(statistics(torch.randn(50, 3, 32, 32))).all()
    assert known.refused(statistics(torch.zeros(3, 3, 32, 32))).all()


def full():
    seen = statistics(photographs(200, 0))
    return Decisions(
        threshold=0.4,
        class_thresholds=(0.1, 0.2, 0.3),
        temperatures=(1.5,),
        offsets=(0.2,),
        familiarity=Familiarity.fit(seen, rate=0.05),
        images=200,
    )


def test_decisions_travel_as_json():
    description = {"class_names": list(NAMES), "decisions": full().to_dict()}
    read = json.loads(json.dumps(description))
    check_description_values(read, Decisions)
    assert Decisions.of(read) == full()
    assert Decisions.of({"class_names": list(NAMES)}) == Decisions()
    assert "whitening" not in json.dumps(full().told())


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"temperatures": [0.0]}, "temperatures"),
        ({"temperatures": [1.0, 2.0]}, "2 temperatures for 3 classes"),
        ({"class_thresholds": [0.5, 1.5, 0.1]}, "class_thresholds"),
        ({"threshold": "best"}, "threshold must be a number"),
        ({"surprise": 1}, "surprise"),
        ({"familiarity": {"mean": [0.0], "whitening": [[1.0]], "limit": 1, "rate": 0.1}}, "15|21"),
    ],
)
def test_decisions_that_cannot_be_are_refused(changed, told):
    description = {"class_names": list(NAMES), "decisions": {**full().to_dict(), **changed}}

    def read():
        check_description_values(description, Decisions)
        Decisions.of(description)

    with pytest.raises(ValueError, match=told):
        read()


def test_thresholds_as_people_give_them():
    decisions = full()
    assert decisions.thresholds(NAMES, None) == (0.1, 0.2, 0.3)
    assert decisions.thresholds(NAMES, "best") == (0.1, 0.2, 0.3)
    assert decisions.thresholds(NAMES, 0.7) == (0.7,) * 3
    assert decisions.thresholds(NAMES, {"dog": 0.9}) == (0.1, 0.9, 0.3)
    assert replace(decisions, class_thresholds=()).thresholds(NAMES, None) == (0.4,) * 3
    assert Decisions().thresholds(NAMES, None) == ()
    with pytest.raises(InputError, match="has no class 'cow'; it has cat, dog, hen"):
        decisions.thresholds(NAMES, {"cow": 0.5})
    with pytest.raises(InputError, match="--calibrate"):
        Decisions().thresholds(NAMES, "best")
    with pytest.raises(InputError, match="names no threshold for 'cat'"):
        Decisions().thresholds(NAMES, {"dog": 0.5})
    with pytest.raises(InputError, match="threshold of dog must be from 0 to 1, got 9"):
        decisions.thresholds(NAMES, {"dog": 9.0})


def test_thresholds_in_a_file(tmp_path):
    file = tmp_path / "least.yaml"
    file.write_text("cat: 0.4\ndog: 1\n")
    assert PredictSettings("m", threshold=str(file)).threshold == {"cat": 0.4, "dog": 1.0}
    for text, told in (("cat: 7\n", "0 to 1"), ("cat: much\n", "no number"), ("cat", "no number")):
        file.write_text(text)
        with pytest.raises(InputError, match=told):
            PredictSettings("m", threshold=str(file))
    with pytest.raises(InputError, match="there is no such file"):
        PredictSettings("m", threshold="bst")


def test_resampled_numbers_of_several_labels_are_those_of_scikit_learn():
    rng = np.random.default_rng(3)
    truth = rng.random((60, 3)) < 0.4
    scores = (rng.random((60, 3)) + truth * 0.5).round(1)
    once, chosen = np.ones((1, 60)), rng.integers(60, size=60)
    drawn = np.bincount(chosen, minlength=60)[None].astype(float)
    for times, rows in ((once, np.arange(60)), (drawn, chosen)):
        t, s = truth[rows], scores[rows]
        assert resampled_precision(scores, truth, times)[0] == pytest.approx(
            np.mean([average_precision_score(t[:, c], s[:, c]) for c in range(3)])
        )
        assert resampled_auroc(scores, truth, times)[0] == pytest.approx(
            np.mean([roc_auc_score(t[:, c], s[:, c]) for c in range(3)])
        )
        found = resampled_f1(scores >= 0.6, truth, times)
        assert found["macro_f1"][0] == pytest.approx(f1_score(t, s >= 0.6, average="macro"))
        assert found["micro_f1"][0] == pytest.approx(f1_score(t, s >= 0.6, average="micro"))
        assert found["exact_match"][0] == pytest.approx(((s >= 0.6) == t).all(1).mean())


def test_neutral_scaling_changes_nothing():
    evidence = each_by_itself(60)
    torch.testing.assert_close(evidence.answers(NEUTRAL)[0], evidence.logits.sigmoid())
