"""Answers under interventions, on answers small enough to count by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nommer.backbone.contexts import CONTEXTS
from nommer.nominations.faithfulness import GRID
from nommer.nominations.intervention import KINDS
from nommer.studies.effects import (
    ALL_BLOCKS,
    Comparison,
    Intervention,
    _row,
    possible_interventions,
)
from nommer.studies.faithfulness import RANDOM, SENSITIVITY, _curves
from nommer.tasks.classification.studying import ChangedClasses
from nommer.tasks.detection.matching import ImageAnswer
from nommer.tasks.detection.studying import ChangedObjects
from nommer.tasks.evaluation import Evaluation
from nommer.tasks.networks import network_config
from nommer.tasks.segmentation.metrics import SegmentationMetrics
from nommer.tasks.segmentation.studying import ChangedPixels
from nommer.tasks.studying import Part


def evaluated(answers, samples=None, **numbers):
    """A evaluation of so many answers, in whose report stand these numbers."""
    samples = [None] * len(answers) if samples is None else samples
    return Evaluation(SimpleNamespace(summary=lambda: numbers), tuple(samples), tuple(answers))


def test_changed_classes_are_counted_image_by_image():
    samples = [SimpleNamespace(label=label) for label in (0, 0, 1, 1)]
    before = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.7, 0.3]])
    after = torch.tensor([[0.4, 0.6], [0.6, 0.4], [0.4, 0.6], [0.7, 0.3]])
    changes = Comparison(ChangedClasses(), measure="top1", seed=0)
    first = changes.compare(evaluated(before, samples, top1=0.5))
    assert first["top1"] == 0.5
    assert set(first) == {"top1", "top1_low", "top1_high"}
    found = changes.compare(evaluated(after, samples, top1=0.5))
    assert found["changed_answers"] == 0.5
    assert found["change"] == 0, "one right answer lost, one won"
    assert found["probability_change"] == pytest.approx((-0.5 - 0.4) / 4)
    assert found["change_low"] < 0 < found["change_high"]
    same = changes.compare(evaluated(before, samples, top1=0.5))
    assert {same[name] for name in ("change", "changed_answers", "probability_change")} == {0}
    assert (same["change_low"], same["change_high"]) == (0, 0), (
        "paired: the same images before and after"
    )


def test_changed_pixels_are_a_share_of_each_image():
    pixels, masks = ChangedPixels(), [torch.zeros(4, 5), torch.ones(2, 2)]
    changes = Comparison(pixels, measure="miou", seed=0)

    def look(labels, miou):
        scores = []
        for index, (mask, truth) in enumerate(zip(labels, masks, strict=True)):
            batch = SimpleNamespace(indices=torch.tensor([index]))
            pixels.on_validation_batch_end(None, None, mask, batch)
            scores.append(SegmentationMetrics(4).update(mask, truth, torch.zeros(())))
        return changes.compare(evaluated(scores, miou=miou))

    assert look(masks, 1.0) == {"miou": 1.0, "miou_low": 1.0, "miou_high": 1.0}
    other = [mask.clone() for mask in masks]
    other[0][0, :4], other[1][:] = 3, 0
    found = look(other, (16 / 24 + 0 + 0) / 3)
    assert found["changed_pixels"] == pytest.approx((4 / 20 + 1) / 2)
    assert found["change"] == pytest.approx(16 / 72 - 1)
    assert (found["miou_low"], found["miou_high"]) == (0.0, pytest.approx(16 / 20 / 2)), (
        "either image twice"
    )
    assert look(masks, 1.0)["changed_pixels"] == 0


def found_objects(boxes, scores, labels):
    """A detector's answer to an image without objects."""
    boxes = torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4)
    nothing = (
        torch.zeros(0, 4, dtype=torch.float64),
        torch.zeros(0, dtype=torch.int64),
        torch.zeros(0, dtype=torch.bool),
    )
    return ImageAnswer(1, boxes, torch.tensor(scores), torch.tensor(labels), *nothing)


def test_kept_objects_are_sure_of_the_same_class_and_at_the_same_place():
    before = found_objects(
        [[0, 0, 10, 10], [20, 20, 30, 30], [5, 5, 9, 9]], [0.9, 0.8, 0.2], [0, 1, 0]
    )
    changes, first = ChangedObjects(), evaluated([before])
    assert changes.difference(first, first)["answers_kept"] == 1, "the unsure one does not count"
    moved = found_objects([[0, 0, 10, 9], [22, 22, 32, 32]], [0.9, 0.9], [0, 1])
    assert changes.difference(first, evaluated([moved]))["answers_kept"] == 0.5
    other_class = found_objects([[0, 0, 10, 10], [20, 20, 30, 30]], [0.9, 0.4], [1, 1])
    assert changes.difference(first, evaluated([other_class]))["answers_kept"] == 0
    nothing = evaluated([found_objects([], [], [])])
    assert changes.difference(nothing, first)["answers_kept"] is None


def test_every_block_and_all_of_them_with_every_kind(tiny_classifier):
    jobs = [(job.block, job.kind) for job in possible_interventions(tiny_classifier())]
    everywhere = [
        (block, kind)
        for block in ("stage 1 block 1", "stage 2 block 1", ALL_BLOCKS)
        for kind in KINDS
    ]
    assert jobs == everywhere
    parts = [Part("objects", "part", (0,)), Part("background", "part", (1,))]
    jobs = [
        (job.block, job.kind, job.part) for job in possible_interventions(tiny_classifier(), parts)
    ]
    assert jobs == [(*job, None) for job in everywhere] + [
        (ALL_BLOCKS, kind, part) for part in parts for kind in KINDS
    ]


def test_a_context_that_a_network_lacks_is_not_forced():
    from nommer import NomMer  # noqa: PLC0415
    from nommer.settings.network import NetworkOptions  # noqa: PLC0415

    options = NetworkOptions(contexts=("convolution", "global")).for_image_size(32)
    network = NomMer(network_config(options, "nommer_micro", num_classes=2, image_size=32))
    kinds = {job.kind for job in possible_interventions(network)}
    assert kinds & set(CONTEXTS) == {"convolution", "global"}


@pytest.mark.parametrize(
    ("before", "after", "change"), [(0.5, 0.25, -0.25), (None, None, None), (0.5, None, None)]
)
def test_a_measure_that_is_not_there_has_no_change(before, after, change):
    class Measured(ChangedObjects):
        def resampled(self, evaluation, drawn):
            return {"box_ap": np.full(len(drawn), np.nan)}

    nothing = found_objects([], [], [])
    changes = Comparison(Measured(), measure="box_ap", seed=0)
    as_it_is = _row(None, changes.compare(evaluated([nothing] * 2, box_ap=before)))
    row = _row(
        Intervention("stage 1 block 1", "mean"),
        changes.compare(evaluated([nothing] * 2, box_ap=after)),
    )
    assert row["change"] == change
    assert list(as_it_is)[:4] == list(row)[:4] == ["block", "part", "intervention", "box_ap"]
    assert (row["change_low"], row["change_high"]) == (None, None)


def test_maps_of_a_context_that_a_network_lacks_are_not_compared(tiny_classifier):
    model, images = tiny_classifier(contexts=("convolution", "window")), torch.randn(2, 3, 32, 32)
    orders = {
        name
        for name, _ in _curves(model, images, torch.tensor([0, 1]), torch.rand(2, GRID, GRID), 0)
    }
    assert not {name for name in orders if "global" in name}
    assert {SENSITIVITY, RANDOM} <= orders
