"""Tokens named by pixels of image files.

Found again in the network's input, and explained in the file's pixels.
"""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from nommer import NomMer
from nommer.backbone.variants import VARIANTS
from nommer.data.box_transforms import BoxPreprocessing
from nommer.data.transforms import Preprocessing
from nommer.errors import InputError
from nommer.models import segmentation
from nommer.models.detection import Detector
from nommer.models.rcnn import RCNN
from nommer.nominations.attention_maps import ATTENTION
from nommer.nominations.images import explain_images
from nommer.nominations.intervention import intervene
from nommer.nominations.tokens import (
    Frame,
    OutsideError,
    parse_pixels,
    tokens_with_half,
    typical_pixels,
)
from nommer.predictions import Failure

BLOCKS = ["stage 1 block 1", "stage 2 block 1"]


@pytest.fixture
def tiny_detector():
    torch.manual_seed(0)
    network = RCNN(
        NomMer(VARIANTS["nommer_micro"]),
        num_classes=2,
        masks=False,
        fpn_channels=8,
        box_channels=16,
    )
    preprocessing = BoxPreprocessing(short_side=40, long_side=90)
    return Detector(
        network, class_names=["a", "b"], category_ids=[1, 2], preprocessing=preprocessing
    ).eval()


def test_pixels_are_read_as_x_and_y():
    assert parse_pixels(["120,80", " 3 , 4 "]) == [(120, 80), (3, 4)]
    assert parse_pixels([]) == []
    for wrong in ("120", "1,2,3", "a,b", "1.5,2", "-1,2", "", ","):
        with pytest.raises(
            InputError, match=r"--token .*: must be the x and y of a pixel of the image"
        ):
            parse_pixels([wrong])


def test_typical_tokens_lie_in_the_middle_of_what_nominates_each_context():
    first, second = torch.zeros(8, 12, dtype=torch.uint8), torch.zeros(4, 6, dtype=torch.uint8)
    first[2:7, 6:11] = 2  # the middle is the token at row 4, column 8
    first[0, 0] = 2
    second[3, 5] = 2  # a smaller share
    frame = Frame((96, 64), (0.0, 0.0, 96.0, 64.0), (16, 24))
    pixels = typical_pixels({"a": first, "b": second}, {"a": 2.0, "b": 4.0}, frame)
    assert len(pixels) == 2, "no token nominates the window"
    assert pixels[1] == (8.5 * 8, 4.5 * 8)
    row, column = frame.place(pixels[0])
    assert second[row // 4, column // 4] == 0, "in the block that nominates it for the larger share"
    assert typical_pixels(
        {"a": torch.ones(3, 5)}, {"a": 2.0}, Frame((10, 6), (0.0, 0.0, 10.0, 6.0), (6, 10))
    ) == [(5, 3)]


@st.composite
def framed(draw, *, smallest):
    """A preprocessing, and the frame of an image of any size that it sees."""
    width, height = draw(st.integers(smallest, 300)), draw(st.integers(smallest, 300))
    size, crop_pct = draw(st.integers(32, 96)), draw(st.sampled_from([0.5, 0.875, 1.0]))
    preprocessing = Preprocessing(image_size=size, crop_pct=crop_pct, interpolation="bilinear")
    return preprocessing, Frame((width, height), preprocessing.seen(height, width), (size, size))


@given(made=framed(smallest=5), data=st.data())
def test_a_point_of_the_input_has_a_pixel_that_is_seen(made, data):
    preprocessing, frame = made
    size = preprocessing.image_size
    row, column = (data.draw(st.integers(0, size - 1)) + 0.5 for _ in range(2))
    found = frame.place(frame.pixel(row, column))
    pixel = size / min(frame.box[2] - frame.box[0], frame.box[3] - frame.box[1])
    assert all(
        abs(at + 0.5 - wanted) <= 1 + 1.5 * pixel
        for at, wanted in zip(found, (row, column), strict=True)
    )


@given(made=framed(smallest=20), data=st.data())
def test_a_pixel_is_found_where_the_crop_puts_it(made, data):
    preprocessing, frame = made
    (width, height), size = frame.image, preprocessing.image_size
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    marked = np.zeros((height, width, 3), np.uint8)
    marked[y, x] = 255
    cropped = np.asarray(preprocessing.crop(Image.fromarray(marked)).convert("L")).astype(float)
    try:
        row, column = frame.place((x, y))
    except OutsideError:
        assert cropped.sum() < 400, "at most a rest at the border"
        return
    assert 0 <= row < size
    assert 0 <= column < size
    assert cropped.sum() == 0 or cropped[row, column] >= 0.3 * cropped.max(), (
        "0 where a large image is shrunk much"
    )
    back = frame.to_image(row + 0.5, column + 0.5)
    for at, wanted, first, last in zip(back, (x, y), frame.box[:2], frame.box[2:], strict=True):
        assert abs(at - (wanted + 0.5)) <= (last - first) / size / 2 + 1e-6


def test_what_lies_outside_is_refused_with_what_there_is():
    frame = Frame((100, 50), Preprocessing(image_size=32).seen(50, 100), (32, 32))
    with pytest.raises(
        OutsideError, match="token 100,10: lies outside the image, which is 100 x 50 pixels"
    ):
        frame.place((100, 10))
    with pytest.raises(
        OutsideError, match=r"token 20,10: .* cuts away; choose x from 25 to 74 and y from 0 to 49"
    ):
        frame.place((20, 10))
    for x in (25, 74):
        for y in (0, 49):
            frame.place((x, y))
    for x in (24, 75):
        with pytest.raises(OutsideError):
            frame.place((x, 10))


def test_half_of_the_weight():
    assert tokens_with_half(torch.tensor([[0.5, 0.25], [0.25, 0.0]])) == 1
    assert tokens_with_half(torch.tensor([0.4, 0.3, 0.3])) == 2
    assert tokens_with_half(torch.full((10,), 0.1)) == 5


def test_a_classifiers_tokens(tiny_classifier, noisy):
    model, image = tiny_classifier(), noisy((120, 90, 60), size=(64, 48))
    (explanation,) = explain_images(model, [image], tokens=[(20, 10), (40, 40)])
    (plain,) = explain_images(model, [image])
    assert plain.tokens == ()
    assert "tokens" not in plain.to_dict()
    assert plain.prediction == explanation.prediction
    for token, pixel in zip(explanation.tokens, [(20, 10), (40, 40)], strict=True):
        assert token.pixel == pixel
        left, top, right, bottom = model.preprocessing.seen(48, 64)
        assert token.place == (
            int((pixel[1] + 0.5 - top) / (bottom - top) * 32),
            int((pixel[0] + 0.5 - left) / (right - left) * 32),
        )
        for view in token.views[:2]:
            context = int(explanation.maps[view.block][view.place])
            assert view.kind == ("convolution", "window", "global")[context]
        assert list(token.fields) == BLOCKS
        assert all(
            field.shape == (32, 32) and field[token.place] for field in token.fields.values()
        )
        assert token.gradient.sum() == pytest.approx(1)
    assert [view.block for view in explanation.class_token] == ["stage 4 block 1"]
    described = json.loads(json.dumps(explanation.to_dict()))
    assert [(token["x"], token["y"]) for token in described["tokens"]] == [(20, 10), (40, 40)]
    first = described["tokens"][0]
    assert [block["block"] for block in first["blocks"]] == [
        *BLOCKS,
        "stage 3 block 1",
        "stage 4 block 1",
    ]
    assert list(first["receptive_field"]) == BLOCKS
    assert described["class_token"][0]["sees_by"] == ATTENTION


@pytest.mark.parametrize(("kind", "side"), [("convolution", 3), ("window", 4), ("global", 16)])
def test_fields_are_told_in_pixels_of_the_file(tiny_classifier, noisy, kind, side):
    model, image = (
        tiny_classifier(),
        noisy((120, 90, 60), size=(64, 64)),
    )  # seen at half of its size, 2 pixels a token
    with intervene(model, kind):
        (explanation,) = explain_images(model, [image], tokens=[(20, 10)])
    block = explanation.tokens[0].to_dict()["blocks"][0]
    assert block["sees_by"] == kind
    assert block["tokens_seen"] == side**2
    left, top, right, bottom = block["box"]
    assert (right - left, bottom - top) == (4 * side, 4 * side)
    assert left <= 20 < right
    assert top <= 10 < bottom
    assert ("largest_weight" in block) == (kind != "convolution")
    if kind != "convolution":
        assert block["padding_weight"] == pytest.approx(0, abs=1e-5)
        assert left <= block["largest_weight_at"][0] <= right


def test_a_segmenters_tokens_lie_in_the_file_also_where_it_is_shrunk(
    tiny_segmenter, noisy, monkeypatch
):
    model, image = tiny_segmenter(), noisy((120, 90, 60), size=(100, 81))
    (whole,) = explain_images(model, [image], tokens=[(99, 80)])
    assert whole.tokens[0].place == (80, 99)
    monkeypatch.setattr(segmentation, "WHOLE_PIXELS", 50 * 40)
    (shrunk,) = explain_images(model, [image], tokens=[(99, 80)])
    assert shrunk.image.size == (49, 40)
    assert shrunk.tokens[0].place == (39, 48)
    assert shrunk.tokens[0].fields[BLOCKS[0]].shape == (40, 49)
    box = shrunk.tokens[0].to_dict()["blocks"][-1]["box"]
    assert box == [0, 0, 100, 81]
    assert shrunk.plot_tokens().get_suptitle() == "image, shrunk from 100 x 81"


def test_a_detectors_tokens_tell_what_padding_gets(tiny_detector, noisy):
    (explanation,) = explain_images(
        tiny_detector.train(), [noisy((120, 90, 60), size=(61, 47))], tokens=[(30, 20)]
    )
    assert all(module.training for module in tiny_detector.modules())
    (token,) = explanation.tokens
    height, width = tiny_detector.preprocessing.size(47, 61)
    assert token.frame.size == (height, width)
    blocks = token.to_dict()["blocks"]
    assert [block["block"] for block in blocks if block["sees_by"] == ATTENTION] == [
        f"stage {n} block 1" for n in (3, 4)
    ]
    for view, block in zip(
        token.views[2:3], blocks[2:3], strict=True
    ):  # in stage 4 every token holds some image
        rows, columns = math.ceil(height / view.stride), math.ceil(width / view.stride)
        assert view.weights.shape != (rows, columns), "the network sees padding"
        on_image = view.weights[:rows, :columns].sum() + view.class_weight
        assert block["padding_weight"] == pytest.approx(1 - on_image.item(), abs=1e-6)
        assert block["padding_weight"] > 0


@pytest.mark.parametrize(
    "options", [{"contexts": ["window", "global"]}, {"contexts": ["convolution", "window"]}]
)
def test_networks_with_fewer_contexts(tiny_classifier, noisy, options):
    (explanation,) = explain_images(
        tiny_classifier(**options), [noisy((1, 2, 3))], tokens=[(20, 10)]
    )
    for view in explanation.tokens[0].views[:2]:
        assert view.kind in options["contexts"]
    explanation.plot_tokens()
    explanation.plot()


def test_a_mixture_of_contexts_sees_all_of_them(tiny_classifier, noisy):
    (explanation,) = explain_images(
        tiny_classifier(fusion="softmax"), [noisy((1, 2, 3))], tokens=[(20, 10)]
    )
    token = explanation.tokens[0]
    for view in token.views[:2]:
        probabilities = explanation.probabilities[view.block][view.place]
        assert view.share == pytest.approx(probabilities.max().item(), abs=1e-6)
        assert 1 / 3 <= view.share < 1
    assert all(field.all() for field in token.fields.values()), "a part of everything is global"
    shown = [axes.get_title() for axes in explanation.plot_tokens().axes]
    assert (
        f"{token.views[0].block}: {token.views[0].kind} ({token.views[0].share:.0%} of it)" in shown
    )


def test_images_without_a_token_do_not_stop_the_others(tiny_segmenter, noisy):
    small, large = noisy((120, 90, 60), size=(40, 40)), noisy((120, 90, 60), size=(64, 48))
    first, second = explain_images(tiny_segmenter(), [small, large], tokens=[(60, 10)])
    assert first == Failure("image", "token 60,10: lies outside the image, which is 40 x 40 pixels")
    assert second.tokens[0].place == (10, 60)
