"""`Detector.predict`: whatever comes in, each image gets its own answer, at its own size."""

import numpy as np
import pytest
import torch
from PIL import Image

from nommer import InputError
from nommer.models.detection import Detector
from nommer.predictions import Detections, Failure

SIZES = [(64, 48), (31, 77), (300, 33), (33, 300), (1, 1), (2, 90), (130, 97)]


@pytest.fixture(scope="module")
def images(tmp_path_factory, noisy):
    """Images of all kinds of sizes (width, height), as files."""
    folder = tmp_path_factory.mktemp("images")
    paths = [folder / f"{width} x {height} ü.png" for width, height in SIZES]
    for seed, (path, size) in enumerate(zip(paths, SIZES, strict=True)):
        noisy((30 * seed, 220 - 30 * seed, 90), size=size, seed=seed).save(path)
    return paths


def assert_same(one, other):
    for name in ("boxes", "scores", "labels"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name
    assert one.masks == other.masks
    assert one.size == other.size


@pytest.mark.parametrize("options", [{}, {"masks": True}, {"masks": True, "cascade": True}])
def test_every_image_is_answered_at_its_own_size(tiny_detector, images, options):
    model, found = tiny_detector(**options), 0
    for path, (width, height), answer in zip(images, SIZES, model.predict(images), strict=True):
        assert answer.source == str(path)
        assert answer.size == (height, width)
        assert answer.class_names == model.class_names == ("cell", "ring")
        assert (answer.boxes >= 0).all()
        assert (answer.boxes <= [width, height, width, height]).all()
        assert (answer.boxes[:, 2:] > answer.boxes[:, :2]).all()
        assert (np.diff(answer.scores) <= 0).all()
        assert set(answer.labels) <= {0, 1}
        assert (answer.masks is not None) == bool(options)
        for index in range(len(answer)):
            assert answer.mask(index).shape == (height, width)
        found += len(answer)
    assert found > 20, "an answer that is always empty would show nothing"


def test_boxes_and_masks_are_those_of_the_network_in_pixels_of_the_file(tiny_detector, images):
    model = tiny_detector(masks=True)
    for path, (width, height) in zip(images, SIZES, strict=True):
        (answer,) = model.predict(path)
        prepared = model.prepare(path)
        with torch.no_grad():
            (found,) = model([prepared])
        scales = np.array([width / prepared.shape[2], height / prepared.shape[1]] * 2)
        assert np.allclose(answer.boxes, found["boxes"].numpy() * scales, atol=1e-3)
        assert np.allclose(answer.scores, found["scores"].numpy())
        assert (answer.labels == found["labels"].numpy() - 1).all()
        for index, (left, upper, right, lower) in enumerate(answer.boxes):
            outside = answer.mask(index)
            outside[int(upper) : int(np.ceil(lower)), int(left) : int(np.ceil(right))] = False
            assert not outside.any()


def test_an_answer_does_not_depend_on_the_others(tiny_detector, images):
    model = tiny_detector(masks=True, cascade=True)
    together = model.predict(images)
    for path, answer in zip(images, together, strict=True):
        assert_same(model.predict(path)[0], answer)
    backwards = model.predict(images[::-1])[::-1]
    for one, other in zip(together, backwards, strict=True):
        assert_same(one, other)


def test_paths_text_images_and_arrays_get_the_same_answer(tiny_detector, images):
    model, path = tiny_detector(masks=True), images[1]
    with Image.open(path) as image:
        image.load()
        sources = [path, str(path), image, np.asarray(image)]
    alone = [model.predict(source)[0] for source in sources]
    for answer in alone + model.predict(sources):
        assert_same(answer, alone[0])
    assert [answer.source for answer in alone] == [str(path), str(path), "image", "image"]


def test_one_bad_image_does_not_break_the_others(tiny_detector, images, tmp_path):
    model = tiny_detector()
    (tmp_path / "cut.png").write_bytes(images[0].read_bytes()[:200])
    answers = model.predict(
        [images[0], tmp_path / "cut.png", images[1], "nowhere.png", np.zeros((3, 3))]
    )
    assert [type(answer) for answer in answers] == [
        Detections,
        Failure,
        Detections,
        Failure,
        Failure,
    ]
    assert "truncated" in answers[1].error
    assert answers[3] == Failure("nowhere.png", "file does not exist")
    assert isinstance(model.prepare("nowhere.png"), Failure)
    assert_same(answers[2], model.predict(images[1])[0])
    assert model.predict([]) == []


def test_scores_that_are_no_numbers_are_a_failure(tiny_detector, images):
    model = tiny_detector()
    model.network.roi_heads.stages[0].predictor.cls_score.bias.data[1] = torch.nan
    assert model.predict(images[0]) == [
        Failure(str(images[0]), "the model's scores are NaN or infinite")
    ]


def test_threshold_and_most_take_the_best(tiny_detector, images):
    model = tiny_detector(masks=True)
    (every,) = model.predict(images[6])
    threshold = every.scores[5]
    (sure,), (few,) = (
        model.predict(images[6], threshold=threshold),
        model.predict(images[6], most=3),
    )
    assert len(few) == 3
    assert 0 < len(sure) < len(every)
    for answer in (sure, few):
        assert np.array_equal(answer.boxes, every.boxes[: len(answer)])
        assert answer.masks == every.masks[: len(answer)]
    (everything,) = model.predict(images[6], threshold=0.0, most=10**6)
    assert len(everything) > len(sure)
    assert len(model.predict(images[6], threshold=1.0)[0]) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": -0.1}, "threshold must be from 0 to 1, got -0.1"),
        ({"threshold": 1.1}, "threshold must be from 0 to 1, got 1.1"),
        ({"most": 0}, "most must be 1 or more, got 0"),
    ],
)
def test_values_out_of_range_are_refused(tiny_detector, images, options, message):
    with pytest.raises(InputError, match=message):
        tiny_detector().predict(images[0], **options)


@pytest.mark.parametrize("backbone", ["test_resnet", "test_convnext"])
def test_peers_predict_like_nommers(tiny_detector, images, backbone):
    model = tiny_detector(backbone=backbone)
    assert [answer.size for answer in model.predict(images)] == [
        (height, width) for width, height in SIZES
    ]


def test_the_model_stays_in_the_mode_it_was_in(tiny_detector, images):
    model = tiny_detector()
    (expected,) = model.predict(images[0])
    model.train()
    assert_same(model.predict(images[0])[0], expected)
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_names": ["a"]}, "the network has 2 classes but 1 class names were given"),
        ({"category_ids": [1, 2, 3]}, "the network has 2 classes but 3 category ids were given"),
        ({"category_ids": [4, 4]}, r"every class must have a category id of its own, got \[4, 4\]"),
    ],
)
def test_as_many_names_and_ids_as_classes(tiny_detector, changes, message):
    model = tiny_detector()
    given = {
        name: getattr(model, name) for name in ("class_names", "category_ids", "preprocessing")
    }
    with pytest.raises(InputError, match=message):
        Detector(model.network, **(given | changes))


@pytest.mark.parametrize("precision", ["half", "bfloat16", "double"])
@pytest.mark.parametrize("masks", [False, True])
def test_a_model_of_another_precision_answers(tiny_detector, precision, masks):
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    whole = tiny_detector(masks=masks)
    (expected,) = whole.predict(image)
    (found,) = getattr(whole, precision)().predict(image)
    assert len(found) == pytest.approx(len(expected), abs=20)
    assert found.scores.max() == pytest.approx(expected.scores.max(), abs=0.05)
