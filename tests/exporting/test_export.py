"""Exported segmenters: the same answers from another runtime, with the same windows.

Classifiers: tests/cli.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from onnxruntime import InferenceSession

from nommer import InputError, load
from nommer.exporting import export as module
from nommer.exporting.capture import capture
from nommer.exporting.export import Format, export_model
from nommer.exporting.parity import compare, parity_images, prepare_some
from nommer.models.segmentation import Segmenter
from nommer.models.storage import network_of, save_model
from nommer.predictions import Failure
from nommer.settings.inference import Inference
from nommer.tasks.image_size import ImageSize
from nommer.tasks.registry import TASKS, task_of

DENSE_BATCHES = TASKS["segmentation"].exporting.batches


@pytest.fixture(scope="module")
def pictures(tmp_path_factory, noisy):
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(9):
        noisy(
            (25 * number, 200 - 20 * number, 90),
            size=(50 + 9 * number, 70 - 5 * number),
            seed=number,
        ).save(folder / f"{number}.png")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def exported(tmp_path_factory, tiny_segmenter, pictures):
    """A segmenter whose size is not a multiple of its stride, its exported file, and the report."""
    model, folder = tiny_segmenter(image_size=37), tmp_path_factory.mktemp("exported")
    report = export_model(model, parity_images(model, pictures), folder)
    return model, folder, report


def test_the_report_is_about_every_pixel_of_real_images(exported):
    _model, folder, report = exported
    assert report.passed
    assert json.loads((folder / "parity.json").read_text()) == json.loads(
        json.dumps(report.to_dict())
    )
    assert report.images == 4
    assert report.runs == 4 * 38**2 * len(DENSE_BATCHES)
    assert report.same_top1 >= 0.999 * report.runs
    assert [path.name for path in sorted(folder.iterdir())] == ["model.onnx", "parity.json"]


def test_the_file_gives_the_scores_of_pixels_and_cells_for_any_batch(exported):
    model, folder, _ = exported
    session = InferenceSession(folder / "model.onnx")
    for batch in (1, 3):
        images = torch.randn(batch, 3, 38, 38)
        pixels, cells = session.run(["logits", "cells"], {"images": images.numpy()})
        with torch.no_grad():
            assert np.allclose(pixels, model(images), atol=1e-5)
            assert np.allclose(cells, model.network.scores(images), atol=1e-5)


def test_it_loads_with_everything_that_prediction_needs(exported):
    model, folder, _ = exported
    loaded = load(folder / "model.onnx")
    assert isinstance(loaded, Segmenter)
    for name in ("class_names", "colours", "preprocessing"):
        assert getattr(loaded, name) == getattr(model, name)
    assert (loaded.network.fixed_size, loaded.network.stride) == (38, 2)


def test_it_answers_as_the_model_does_with_a_sliding_window(exported, pictures):
    model, folder, _ = exported
    loaded, large = load(folder / "model.onnx"), [pictures[0], pictures[3]]
    for options in ({}, {"overlap": 0.6, "scales": (1.0, 1.5), "flip": True}):
        expected = model.predict(large, inference=Inference(mode="slide", **options))
        for one, other in zip(
            expected, loaded.predict(large, inference=Inference(**options)), strict=True
        ):
            assert (one.labels != other.labels).mean() < 1e-3
            assert one.source == other.source


def test_it_answers_images_of_any_size_and_says_that_it_pads_small_ones(exported, pictures, capsys):
    loaded = load(exported[1] / "model.onnx")
    answers = loaded.predict([*pictures, "nowhere.png", np.zeros((1, 90, 3), np.uint8)])
    assert isinstance(answers[-2], Failure)
    assert answers[-1].labels.shape == (1, 90)
    assert [answer.labels.shape for answer in answers[:2]] == [(70, 50), (65, 59)]
    assert capsys.readouterr().err.count("smaller ones are padded with zeros") == 1


def test_it_says_what_it_cannot_do(exported, pictures, tmp_path):
    loaded = load(exported[1] / "model.onnx")
    with pytest.raises(InputError, match="takes windows of 38 x 38 pixels"):
        loaded.predict(pictures[0], inference=Inference(mode="whole"))
    for refused in (
        lambda: network_of(loaded, "a.onnx"),
        lambda: save_model(tmp_path, loaded, metrics={}, version=""),
    ):
        with pytest.raises(InputError, match="is an exported model; give the run folder"):
            refused()


def test_a_model_that_answers_otherwise_is_not_delivered(
    tiny_segmenter, pictures, tmp_path, monkeypatch
):
    model = tiny_segmenter()
    images = parity_images(model, pictures)

    def write(_captured, _description, path):
        path.write_bytes(b"")
        return tiny_segmenter(seed=1)

    monkeypatch.setitem(module.FORMATS, "onnx", Format(".onnx", write))
    with pytest.raises(
        InputError, match=r"parity.json: the exported model differs by .* no model was delivered"
    ):
        export_model(model, images, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["parity.json"]
    assert not json.loads((tmp_path / "parity.json").read_text())["passed"]


@pytest.mark.parametrize(("rows", "passed"), [(0, True), (4, True), (5, False)])
def test_a_few_odd_pixels_are_allowed_and_reported_but_no_more(tiny_segmenter, rows, passed):
    model, off, images = (
        tiny_segmenter(image_size=64),
        tiny_segmenter(image_size=64),
        torch.randn(2, 3, 64, 64),
    )
    odd = torch.zeros(64, 64)
    odd[:rows, 0] = 0.01
    off.network.register_forward_hook(lambda _module, _inputs, scores: scores + odd)
    report = compare(model, off, images, task_of(model).exporting.image_size(model, dynamic=False))
    assert report.passed == passed
    assert report.runs - report.within_tolerance == rows * 2 * len(DENSE_BATCHES)
    assert (report.largest_difference > report.tolerance) == (rows > 0)


def test_images_for_the_comparison_are_evenly_chosen_and_readable(
    tiny_segmenter, tiny_classifier, pictures, tmp_path
):
    (tmp_path / "broken.png").write_bytes(b"no image")
    for model, count in ((tiny_segmenter(), 4), (tiny_classifier(), 9)):
        images = parity_images(model, [tmp_path / "broken.png", *pictures])
        assert images.shape == (count, 3, 32, 32)
        with pytest.raises(
            InputError, match="none of the images looked at can be read; give --data"
        ):
            parity_images(model, [tmp_path / "broken.png"])


@pytest.mark.parametrize(("count", "wanted"), [(63, 32), (255, 128), (33, 32), (10, 32), (1, 4)])
def test_images_are_chosen_over_the_whole_range(tiny_classifier, monkeypatch, count, wanted):
    """The files of a folder are in the order of their classes."""
    model, paths = tiny_classifier(), [Path(f"{number}.png") for number in range(count)]
    monkeypatch.setattr(model, "prepare", lambda path: torch.zeros(3, 32, 32))
    numbers = [int(path.stem) for path in prepare_some(model, paths, wanted)]
    assert len(numbers) == min(count, wanted)
    gaps = np.diff([*numbers, count])
    assert gaps.max() - gaps.min() <= 1


def test_what_cannot_be_read_is_replaced_from_the_whole_range_too(tiny_classifier, monkeypatch):
    model, paths = tiny_classifier(), [Path(f"{number}.png") for number in range(100)]
    looked_at = []

    def prepare(path):
        looked_at.append(int(path.stem))
        return Failure(str(path), "cut") if len(looked_at) <= 10 else torch.zeros(3, 32, 32)

    monkeypatch.setattr(model, "prepare", prepare)
    assert len(prepare_some(model, paths, 10)) == 10
    assert looked_at == [*range(0, 100, 10), *range(1, 100, 10)]


@pytest.mark.long
@pytest.mark.slow
def test_a_program_for_any_size_answers_whole_images(
    tiny_segmenter, pictures, tmp_path, unchecked_shapes
):
    model = tiny_segmenter(image_size=37)
    with unchecked_shapes():
        report = export_model(
            model,
            parity_images(model, pictures),
            tmp_path,
            format_name="torch_export",
            dynamic_size=True,
        )
    assert report.passed
    assert report.sizes[0] == (38, 38)
    assert len(set(report.sizes)) == 3
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["model.pt2", "parity.json"]
    program = torch.export.load(tmp_path / "model.pt2").module(check_guards=False)
    for sides in ((38, 38), (57, 49)):
        images = torch.randn(2, 3, *sides)
        pixels, cells = program(images)
        with torch.no_grad(), unchecked_shapes():
            assert torch.allclose(pixels, model(images), atol=1e-5)
            assert torch.allclose(cells, model.network.scores(images), atol=1e-5)


def test_a_program_is_proved_from_the_very_bytes_that_are_delivered(
    tiny_classifier, pictures, tmp_path, monkeypatch
):
    """Reading a program runs it, so this is the only one that is read, and from memory."""
    read = []
    usual = torch.export.load
    monkeypatch.setattr(torch.export, "load", lambda file: usual(read.append(file) or file))
    model = tiny_classifier()
    images = parity_images(model, pictures)
    assert export_model(model, images, tmp_path, format_name="torch_export").passed
    (stream,) = read
    assert stream.getvalue() == (tmp_path / "model.pt2").read_bytes()


def test_a_program_that_answers_otherwise_is_not_delivered(
    tiny_classifier, pictures, tmp_path, monkeypatch
):
    model, other = tiny_classifier(), tiny_classifier(seed=1)
    write = module.FORMATS["torch_export"].write

    def write_other(captured, description, path):
        size = task_of(other).exporting.image_size(other, dynamic=False)
        return write(module.Captured(*capture(other, size), captured.opset), description, path)

    monkeypatch.setitem(module.FORMATS, "torch_export", Format(".pt2", write_other))
    with pytest.raises(InputError, match="no model was delivered"):
        export_model(model, parity_images(model, pictures), tmp_path, format_name="torch_export")
    assert [path.name for path in tmp_path.iterdir()] == ["parity.json"]


@pytest.mark.long
@pytest.mark.slow
def test_the_smallest_patches_are_traced_for_any_size(tiny_classifier, unchecked_shapes):
    """Their smallest size is less than the number that makes the traced sides odd."""
    model = tiny_classifier(patch_size=1, window_size=7, block_sizes=(8, 4))
    size = task_of(model).exporting.image_size(model, dynamic=True)
    assert size.smallest == 15
    with unchecked_shapes(), torch.no_grad():
        program = capture(model, size)[0].module()
        for sides in ((15, 15), (40, 31)):
            images = torch.randn(1, 3, *sides)
            assert torch.allclose(program(images), model(images), atol=1e-5)


@pytest.mark.parametrize("smallest", [15, 17, 29, 57])
def test_no_side_is_traced_below_the_smallest(smallest):
    assert smallest <= min(ImageSize(32, smallest).traced)
