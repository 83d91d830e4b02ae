"""`Classifier.predict`: whatever comes in, each image gets its own answer."""

import numpy as np
import pytest
import torch
from PIL import Image

from nommer import Classifier, InputError
from nommer.predictions import Classification, Failure


@pytest.fixture
def files(tmp_path, noisy):
    """Five images of several sizes and formats."""
    paths = [tmp_path / name for name in ("a.png", "b ü.jpg", "c.gif", "d.bmp", "e.webp")]
    for index, path in enumerate(paths):
        noisy(
            (40 * index, 200 - 40 * index, 90), size=(30 + 10 * index, 64 - 6 * index), seed=index
        ).save(path)
    return paths


def test_paths_text_images_and_arrays_get_the_same_answer(tiny_classifier, files):
    model, path = tiny_classifier(), files[0]
    with Image.open(path) as image:
        image.load()
        sources = [path, str(path), image, np.asarray(image)]
        answers = [model.predict(source) for source in sources]
        together = model.predict(sources)
    assert all(len(answer) == 1 for answer in answers)
    assert {answer[0].probabilities for answer in answers} == {answers[0][0].probabilities}
    assert [a.source for a in together] == [str(path), str(path), "image", "image"]


def test_an_answer_is_the_softmax_of_the_networks_scores(tiny_classifier, files):
    model = tiny_classifier()
    (answer,) = model.predict(files[1])
    with Image.open(files[1]) as image:
        scores = model(model.preprocessing(image.convert("RGB"))[None])
    assert torch.allclose(torch.tensor(answer.probabilities), scores.softmax(-1)[0], atol=1e-6)
    assert sum(answer.probabilities) == pytest.approx(1, abs=1e-6)
    assert answer.class_names == model.class_names


def test_alone_or_in_a_batch_of_any_size(tiny_classifier, files):
    model = tiny_classifier()
    alone = [model.predict(path)[0] for path in files]
    for batch_size in (1, 2, 3, 32):
        together = model.predict(files, batch_size=batch_size)
        assert [answer.source for answer in together] == [str(path) for path in files]
        for one, other in zip(alone, together, strict=True):
            assert np.allclose(one.probabilities, other.probabilities, atol=1e-5)


def test_one_bad_image_does_not_break_the_batch(tiny_classifier, files, tmp_path):
    model = tiny_classifier()
    good = model.predict(files)
    (tmp_path / "cut.png").write_bytes(files[0].read_bytes()[:200])
    mixed = [files[0], tmp_path / "cut.png", files[1], "nowhere.png", np.zeros((3, 3)), *files[2:]]
    answers = model.predict(mixed, batch_size=3)
    failures = {
        index: answer for index, answer in enumerate(answers) if isinstance(answer, Failure)
    }
    assert set(failures) == {1, 3, 4}
    assert "truncated" in failures[1].error
    assert failures[3] == Failure("nowhere.png", "file does not exist")
    assert failures[4].error.startswith("expected (H, W, 3) uint8")
    answered = [answer for answer in answers if isinstance(answer, Classification)]
    for one, other in zip(good, answered, strict=True):
        assert one.source == other.source
        assert np.allclose(one.probabilities, other.probabilities, atol=1e-5)


def test_a_batch_of_bad_images_and_no_images_at_all(tiny_classifier):
    model = tiny_classifier()
    assert [type(answer) for answer in model.predict(["x.png", "y.png"])] == [Failure, Failure]
    assert model.predict([]) == []


def test_the_model_stays_in_the_mode_it_was_in(tiny_classifier, files):
    model = tiny_classifier()
    expected = model.predict(files[0])
    model.train()
    assert model.predict(files[0]) == expected, "predicted in evaluation mode"
    assert model.training
    assert all(module.training for module in model.modules())
    assert next(model.parameters()).grad_fn is None


def test_what_was_held_in_evaluation_while_training_stays_so(tiny_classifier, files):
    model = tiny_classifier().train()
    held = next(module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d))
    held.eval()
    model.predict(files[0])
    assert [module for module in model.modules() if not module.training] == [held]


@pytest.mark.parametrize("batch_size", [0, -1])
def test_batches_have_images(tiny_classifier, files, batch_size):
    with pytest.raises(InputError, match=f"batch-size must be 1 or more, got {batch_size}"):
        tiny_classifier().predict(files, batch_size=batch_size)


def test_as_many_names_as_outputs(tiny_classifier):
    model = tiny_classifier()
    with pytest.raises(InputError, match="the network has 3 outputs but 2 class names were given"):
        Classifier(model.network, class_names=["a", "b"], preprocessing=model.preprocessing)


@pytest.mark.parametrize("precision", ["half", "bfloat16", "double"])
def test_a_model_of_another_precision_answers(tiny_classifier, files, precision):
    model = tiny_classifier()
    expected = model.predict(files)
    found = getattr(model, precision)().predict(files)
    for one, other in zip(expected, found, strict=True):
        assert np.allclose(one.probabilities, other.probabilities, atol=0.02)


def test_bytes_and_open_files_are_one_image(tiny_classifier, files):
    model, content = tiny_classifier(), files[0].read_bytes()
    expected = model.predict(files[0])[0].probabilities
    with files[0].open("rb") as stream:
        answers = [model.predict(source) for source in (content, stream)]
    assert [[answer.probabilities for answer in one] for one in answers] == [[expected]] * 2
