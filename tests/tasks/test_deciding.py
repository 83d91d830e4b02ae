"""Decisions: thresholds, calibration, refusal and intervals, found and applied."""

import io
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from rich.console import Console
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score
from torchmetrics.functional.classification import binary_calibration_error

from nommer.errors import InputError
from nommer.intervals import how_often
from nommer.models.decisions import Decisions
from nommer.models.descriptions import check_description_values
from nommer.models.familiarity import NUM_STATISTICS, Familiarity, statistics
from nommer.screen.tables import show_calibration
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
from nommer.tasks.detection.deciding import DetectionDeciding
from nommer.tasks.multi_label.deciding import (
    resampled_auroc,
    resampled_f1,
    resampled_precision,
)
from nommer.tasks.resampled_calibration import (
    calibration_intervals,
    resampled_calibration,
    resampled_risks,
)
from nommer.tasks.resampled_calibration import resampled_f1 as resampled_f1_of_answers

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


def test_resampled_numbers_are_those_of_the_repeated_images():
    evidence, scaling = each_by_itself(600), torch.tensor([[1.3], [-0.4]], dtype=torch.float64)
    times = how_often(100, seed=0, resamples=3)
    found = resampled_calibration(evidence, scaling, times)
    risks, areas = resampled_risks(evidence, scaling, times, (0.5, 1.0))
    answered, wanted = evidence.answers(scaling)[0].numpy() >= 0.4, np.full(100, 4)
    counted = resampled_f1_of_answers(answered, evidence, wanted, times)
    for at, drawn in enumerate(times):
        chosen = torch.arange(600).repeat_interleave(torch.from_numpy(drawn)[evidence.images])
        repeated = evidence.take(chosen)
        for name, value in repeated.measure(scaling).to_dict().items():
            assert found[name][at] == pytest.approx(value, abs=1e-6)
        confidence, right = (part.numpy() for part in repeated.answers(scaling))
        risk, area = risk_coverage(confidence, right)
        assert areas[at] == pytest.approx(area, abs=1e-3)  # equal answers stand together
        assert risks[at] == pytest.approx([risk[len(risk) // 2 - 1], risk[-1]], abs=5e-3)
        finds = (right & (confidence >= 0.4)).sum()
        f1 = 2 * finds / ((confidence >= 0.4).sum() + 4 * drawn.sum())
        assert counted["f1"][at] == pytest.approx(f1)


def test_calibration_has_intervals_before_and_after_and_of_the_difference():
    evidence = each_by_itself(600)
    scaling, times = scaling_of(Decisions(**find_scaling(evidence))), how_often(100, seed=0)
    found = calibration_intervals(evidence, NEUTRAL, scaling, times)
    for when, value in (("before", NEUTRAL), ("after", scaling)):
        low, high = found[when]["nll"]
        assert low < evidence.measure(value).nll < high
    assert found["difference"]["nll"][1] < 0


def test_objects_are_told_by_the_thresholds_and_without_them():
    evidence, times = each_by_itself(600), how_often(100, seed=0)
    decisions = Decisions(**find_scaling(evidence), threshold=0.4, class_thresholds=(0.3, 0.4, 0.5))
    model = SimpleNamespace(decisions=decisions, class_names=NAMES)
    of_image = SimpleNamespace(crowd=torch.zeros(4, dtype=torch.bool))
    evaluation = SimpleNamespace(answers=[of_image] * 100)
    told = DetectionDeciding().told(evidence, evaluation, model, times)
    found = int(evidence.truth.sum())
    everything = told["all_answers"]
    assert everything["answers_per_image"] == 6
    assert everything["f1"] == pytest.approx(2 * found / (600 + 400))
    assert (evidence.logits >= 0).sum() == told["own_scores_from_half"]["answers_per_image"] * 100
    for way in ("all_answers", "own_scores_from_half", "found_thresholds"):
        for name, (low, high) in told[way]["intervals"].items():
            assert low < told[way][name] < high
    best = told["found_thresholds"]["f1"]
    for other in ("all_answers", "own_scores_from_half"):
        low, high = told["intervals"][f"f1_gained_over_{other}"]
        assert low < best - told[other]["f1"] < high
    numbers = before_and_after(evidence, decisions)
    console = Console(width=200, file=io.StringIO())
    show_calibration({"calibration": {**numbers, **told}}, console)
    said = console.file.getvalue()
    assert f"F1 at IoU 0.5: {best:.3f} [" in said
    assert "of the network's own scores from 0.5 on" in said


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
