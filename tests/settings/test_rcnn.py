"""The published numbers, and numbers that make no sense."""

import json
from dataclasses import asdict, replace

import pytest

from nommer import InputError
from nommer.settings.rcnn import PUBLISHED, RCNNProtocol, StageProtocol


def test_the_published_numbers():
    published = asdict(PUBLISHED)
    assert published["anchor_scale"] == 8
    assert published["anchor_ratios"] == (0.5, 1, 2)
    assert [published[f"rpn_{name}"] for name in ("samples", "positive_share", "nms")] == [
        256,
        0.5,
        0.7,
    ]
    assert [published[name] for name in ("candidates_train", "proposals_train")] == [2000, 1000]
    assert [published[name] for name in ("candidates_test", "proposals_test")] == [1000, 1000]
    assert [published[name] for name in ("roi_samples", "roi_positive_share")] == [512, 0.25]
    assert [published[name] for name in ("box_cells", "mask_cells", "aligned", "box_beta")] == [
        7,
        14,
        True,
        0,
    ]
    assert [published[name] for name in ("box_loss", "giou_weight", "box_convolutions")] == [
        "l1",
        10,
        0,
    ]
    assert [published[name] for name in ("threshold", "nms", "most", "mask_threshold")] == [
        0.05,
        0.5,
        100,
        0.5,
    ]


def test_stages():
    assert PUBLISHED.stages(cascade=False) == (StageProtocol(0.5, (0.1, 0.1, 0.2, 0.2), 1.0),)
    assert PUBLISHED.stages(cascade=True) == (
        StageProtocol(0.5, (0.1, 0.1, 0.2, 0.2), 1.0),
        StageProtocol(0.6, (0.05, 0.05, 0.1, 0.1), 0.5),
        StageProtocol(0.7, (0.033, 0.033, 0.067, 0.067), 0.25),
    )


def test_comes_back_from_json():
    changed = replace(PUBLISHED, anchor_ratios=(1.0,), cascade_ious=(0.4,) * 3)
    assert RCNNProtocol(**json.loads(json.dumps(asdict(changed)))) == changed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"most": 0}, "most must be 1 or more, got 0"),
        ({"roi_samples": -1}, "roi_samples must be 1 or more, got -1"),
        ({"nms": 1.5}, "nms must be from 0 to 1, got 1.5"),
        (
            {"cascade_ious": (0.5, 6.0, 0.7)},
            r"cascade_ious must be from 0 to 1, got \(0.5, 6.0, 0.7\)",
        ),
        ({"box_convolutions": -1}, "box_convolutions must not be negative, got -1"),
        ({"box_beta": -1.0}, "box_beta must not be negative, got -1"),
        (
            {"anchor_scale": 0.0},
            "anchor_scale and anchor_ratios must be above 0, at least one ratio",
        ),
        (
            {"anchor_ratios": ()},
            "anchor_scale and anchor_ratios must be above 0, at least one ratio",
        ),
        (
            {"rpn_negative_iou": 0.8},
            r"rpn_negative_iou \(0.8\) must not be above rpn_positive_iou \(0.7\)",
        ),
        ({"cascade_weights": (1.0,)}, "must have one entry per stage each, got 3, 3 and 1"),
        ({"box_deviations": (1.0, 1.0, 0.0, 1.0)}, "must be four numbers above 0"),
        ({"cascade_deviations": ((1.0, 1.0, 1.0, -1.0),) * 3}, "must be four numbers above 0"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        RCNNProtocol(**changes)


@pytest.mark.usefixtures("unchecked")
def test_another_loss_is_refused():
    with pytest.raises(InputError, match="box_loss must be l1 or giou, got 'GIoU'"):
        RCNNProtocol(box_loss="GIoU")
