"""`Segmenter.predict`: whatever comes in, each image gets its own answer, at its own size."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from nommer import InputError
from nommer.models.networks import build_timm
from nommer.models.segmentation import Segmenter
from nommer.models.upernet import UPerNet
from nommer.predictions import Failure, Segmentation
from nommer.settings.inference import Inference

SIZES = [(64, 48), (31, 77), (500, 33), (33, 500), (1, 1), (2, 90), (130, 97)]


@pytest.fixture(scope="module")
def images(tmp_path_factory, noisy):
    """Images of all kinds of sizes (width, height), as files."""
    folder = tmp_path_factory.mktemp("images")
    paths = [folder / f"{width} x {height} ü.png" for width, height in SIZES]
    for seed, (path, size) in enumerate(zip(paths, SIZES, strict=True)):
        noisy((40 * seed, 220 - 30 * seed, 90), size=size, seed=seed).save(path)
    return paths


def test_every_image_is_answered_at_its_own_size(tiny_segmenter, images):
    model = tiny_segmenter()
    for path, (width, height), answer in zip(images, SIZES, model.predict(images), strict=True):
        assert answer.source == str(path)
        assert answer.labels.shape == (height, width)
        assert answer.labels.dtype == np.uint8
        assert answer.labels.max() < 3
        assert answer.class_names == model.class_names == ("ground", "ball", "sky")
        assert answer.colours == model.colours


def test_an_answer_is_the_most_probable_class_of_every_pixel(tiny_segmenter, images):
    model = tiny_segmenter()
    seen = set()
    for path in images:
        with Image.open(path) as image, torch.no_grad():
            scores = model(model.preprocessing(image)[None])[0]
        (answer,) = model.predict(path)
        best = (
            scores.max(0).values
            - scores.gather(0, torch.as_tensor(answer.labels[None].astype(int)))[0]
        )
        assert best.abs().max() < 1e-5
        seen |= set(np.unique(answer.labels))
    assert len(seen) > 1, "an answer that is everywhere the same would show nothing"


def test_an_answer_does_not_depend_on_the_others(tiny_segmenter, images):
    model = tiny_segmenter()
    together = model.predict(images)
    for path, answer in zip(images, together, strict=True):
        assert (model.predict(path)[0].labels == answer.labels).all()
    backwards = model.predict(images[::-1])[::-1]
    assert all(
        (one.labels == other.labels).all() for one, other in zip(together, backwards, strict=True)
    )


def test_paths_text_images_and_arrays_get_the_same_answer(tiny_segmenter, images):
    model, path = tiny_segmenter(), images[1]
    with Image.open(path) as image:
        image.load()
        sources = [path, str(path), image, np.asarray(image)]
    alone = [model.predict(source)[0] for source in sources]
    together = model.predict(sources)
    assert all((answer.labels == alone[0].labels).all() for answer in alone + together)
    assert [answer.source for answer in together] == [str(path), str(path), "image", "image"]


def test_one_bad_image_does_not_break_the_others(tiny_segmenter, images, tmp_path):
    model = tiny_segmenter()
    (tmp_path / "cut.png").write_bytes(images[0].read_bytes()[:200])
    answers = model.predict(
        [images[0], tmp_path / "cut.png", images[1], "nowhere.png", np.zeros((3, 3)), images[2]]
    )
    assert [type(answer) for answer in answers] == [
        Segmentation,
        Failure,
        Segmentation,
        Failure,
        Failure,
        Segmentation,
    ]
    assert "truncated" in answers[1].error
    assert answers[3] == Failure("nowhere.png", "file does not exist")
    assert answers[4].error.startswith("expected (H, W, 3) uint8")
    for index, path in ((0, images[0]), (2, images[1]), (5, images[2])):
        assert (answers[index].labels == model.predict(path)[0].labels).all()
    assert model.predict([]) == []


def test_scores_that_are_no_numbers_are_a_failure(tiny_segmenter, images):
    model = tiny_segmenter()
    model.network.classifier[1].bias.data[1] = torch.nan
    assert model.predict(images[0]) == [
        Failure(str(images[0]), "the model's scores are NaN or infinite")
    ]


@pytest.mark.parametrize(
    "options", [{"short_side": 40}, {"short_side": 20, "long_side": 64}, {"long_side": 30}]
)
def test_resized_images_are_answered_at_their_own_size(tiny_segmenter, images, options):
    model = tiny_segmenter(**options)
    for path, (width, height), answer in zip(images, SIZES, model.predict(images), strict=True):
        assert answer.labels.shape == (height, width)
        assert model.prepare(path).shape[1:] == model.preprocessing.size(height, width)


@pytest.mark.parametrize(
    "inference",
    [
        Inference(mode="slide"),
        Inference(mode="slide", window=64, overlap=0.5),
        Inference(scales=(0.5, 1.5), flip=True),
    ],
)
def test_every_way_of_going_over_an_image_answers_at_its_own_size(
    tiny_segmenter, images, inference
):
    model = tiny_segmenter()
    for path, (width, height) in zip(images, SIZES, strict=True):
        (answer,) = model.predict(path, inference=inference)
        assert answer.labels.shape == (height, width)
        scores = model.scores(model.prepare(path)[None], size=(height, width), inference=inference)
        assert (scores.argmax(0).numpy() == answer.labels).all()


def test_a_small_image_gets_the_same_answer_from_a_window(tiny_segmenter, images):
    model = tiny_segmenter(image_size=96)
    for path in images[:2]:
        whole, slide = (
            model.predict(path, inference=Inference(mode=mode))[0] for mode in ("whole", "slide")
        )
        assert (whole.labels == slide.labels).all()


def test_peers_predict_like_nommers(tiny_segmenter, images):
    model = tiny_segmenter(backbone=build_timm("test_convnext", num_classes=0))
    assert [answer.labels.shape for answer in model.predict(images)] == [
        (height, width) for width, height in SIZES
    ]


def test_the_model_stays_in_the_mode_it_was_in(tiny_segmenter, images):
    model = tiny_segmenter()
    (expected,) = model.predict(images[0])
    model.train()
    assert (model.predict(images[0])[0].labels == expected.labels).all(), (
        "predicted in evaluation mode"
    )
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_names": ["a", "b"]}, "the network has 3 outputs but 2 class names were given"),
        ({"colours": [(0, 0, 0)]}, "the network has 3 outputs but 1 colours were given"),
    ],
)
def test_as_many_names_and_colours_as_outputs(tiny_segmenter, changes, message):
    model = tiny_segmenter()
    given = {name: getattr(model, name) for name in ("class_names", "colours", "preprocessing")}
    with pytest.raises(InputError, match=message):
        Segmenter(model.network, **(given | changes))


def test_more_classes_than_labels_have_values_are_refused(tiny_segmenter):
    backbone = tiny_segmenter().network.backbone
    network = UPerNet(backbone, num_classes=256, decoder_channels=8, auxiliary_channels=0)
    with pytest.raises(InputError, match="at most 255 classes apart, got 256"):
        Segmenter(
            network,
            class_names=[str(i) for i in range(256)],
            colours=[(0, 0, 0)] * 256,
            preprocessing=tiny_segmenter().preprocessing,
        )


@pytest.mark.parametrize("precision", ["half", "bfloat16", "double"])
def test_a_model_of_another_precision_answers(tiny_segmenter, images, precision):
    model = tiny_segmenter()
    (expected,) = model.predict(images[0])
    (found,) = getattr(model, precision)().predict(images[0])
    assert (found.labels == expected.labels).mean() > 0.9


def test_threads_answer_with_a_model_that_is_being_trained_and_leave_it_so(tiny_segmenter, images):
    model = tiny_segmenter()
    (expected,) = model.predict(images[0])
    model.train()
    model.network.backbone.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    flips = []

    def watch(_, __):
        flips.append([module.training for module in model.modules()] != modes)

    with model.network.register_forward_pre_hook(watch), ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(model.predict, [images[0]] * 12))
    assert all((answer.labels == expected.labels).all() for (answer,) in answers)
    assert not any(flips), "nobody sees the model in another mode, not even for a moment"
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_who_trains_while_others_answer_is_not_overruled(tiny_segmenter, images):
    """The mode that a thread gives a model while another answers with it is kept."""
    model = tiny_segmenter().train()
    (expected,) = tiny_segmenter().predict(images[0])
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(model.predict, images[0]) for _ in range(8)]
        model.network.backbone.eval()
        found = [answer.result()[0] for answer in answers]
    assert all((answer.labels == expected.labels).all() for answer in found)
    assert model.training
    assert not model.network.backbone.training
