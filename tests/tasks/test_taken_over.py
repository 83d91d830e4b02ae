"""A run that starts from another model prepares pixels as that one has learned them."""

from dataclasses import replace

import pytest

from nommer.data.transforms import Preprocessing
from nommer.errors import InputError
from nommer.models.storage import save_model
from nommer.settings.pixels import PixelOptions
from nommer.settings.train import TrainSettings
from nommer.tasks.taken_over import pixels_like_pretrained

DARK = {"mean": (0.3, 0.3, 0.3), "std": (0.05, 0.05, 0.05), "background": (0, 0, 0)}


@pytest.fixture
def settings(tiny_classifier, tmp_path):
    model = tiny_classifier()
    model.preprocessing = Preprocessing(image_size=32, interpolation="nearest", **DARK)
    save_model(tmp_path / "model", model, metrics={}, version="0")
    return make_settings(tmp_path, pretrained=tmp_path / "model")


def make_settings(folder, **changes):
    given = {"data": folder, "model": "nommer_micro", "out": folder / "run", "classes": None}
    given |= {"epochs": 1, "epoch_steps": None, "batch_size": 6, "image_size": 32, "lr": 1e-3}
    given |= {"device": "cpu", "devices": 1, "precision": "32", "seed": 0, "workers": 0}
    given |= {"cache": "none", "compile": False, "accumulate": 1, "checkpoint_minutes": 30.0}
    given |= {"val_fraction": 0.2, "on_bad_sample": "auto", "reinit_head": False}
    given |= {"resume": False, "overwrite": False}
    return TrainSettings(**(given | changes))


def test_what_is_not_given_is_taken_over(settings, capsys):
    taken = pixels_like_pretrained(settings, crops=True).pixels
    assert {name: getattr(taken, name) for name in DARK} == DARK
    assert taken.interpolation == "nearest"
    assert "mean [0.3, 0.3, 0.3]" in capsys.readouterr().err.replace("\n", " ")


def test_the_interpolation_of_another_kind_of_task_is_not(settings):
    taken = pixels_like_pretrained(settings, crops=False).pixels
    assert taken.mean == DARK["mean"]
    assert taken.interpolation is None


def test_other_values_are_refused_unless_the_head_is_new(settings, capsys):
    other = replace(settings, pixels=PixelOptions(mean=(0.5, 0.5, 0.5)))
    with pytest.raises(InputError, match=r"--pixels.mean \(0.5, 0.5, 0.5\): .* has learned"):
        pixels_like_pretrained(other, crops=True)
    taken = pixels_like_pretrained(replace(other, reinit_head=True), crops=True).pixels
    assert taken.mean == (0.5, 0.5, 0.5)
    assert "has learned from images with (0.3, 0.3, 0.3)" in capsys.readouterr().err.replace(
        "\n", " "
    )


def test_the_same_values_are_no_difference(settings):
    same = replace(settings, pixels=PixelOptions(**DARK))
    assert pixels_like_pretrained(same, crops=True).pixels.std == DARK["std"]
