"""Facts that a run takes over with the weights that it starts from."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch

from nommer import InputError
from nommer.data.transforms import Preprocessing
from nommer.models.storage import save_model
from nommer.settings.pixels import PixelOptions
from nommer.settings.train import TrainSettings
from nommer.tasks import pretrained as module
from nommer.tasks.pretrained import is_timms
from nommer.tasks.pretrained_settings import like_pretrained
from tests.settings.test_train import DEFAULTS


def settings(**changes):
    return TrainSettings(**{**DEFAULTS, "data": Path("data"), "out": Path("out"), **changes})


@pytest.fixture
def file(tmp_path):
    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "a.pth")
    return tmp_path / "a.pth"


def test_without_weights_everything_is_the_usual():
    plain = settings()
    assert like_pretrained(plain, image_size=224, crops=True) == plain
    assert plain.pixels.values.mean == (0.485, 0.456, 0.406)


def test_of_a_file_pixels_are_as_timm_has_them_for_the_name(file, capsys):
    taken = like_pretrained(
        settings(model="timm:test_resnet", pretrained=file), image_size=224, crops=True
    )
    expected = PixelOptions(
        mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), interpolation="bilinear", crop_pct=0.95
    )
    assert taken.pixels == expected
    said = " ".join(capsys.readouterr().err.split())
    for part in ("mean [0.5, 0.5, 0.5]", "std [0.5, 0.5, 0.5]", "bilinear", "crop_pct 0.95"):
        assert part in said


def test_small_images_are_not_cropped(file):
    taken = like_pretrained(
        settings(model="timm:test_resnet", pretrained=file), image_size=64, crops=True
    )
    assert taken.pixels.crop_pct is None


def test_a_config_beside_the_file_is_the_weights_own(file):
    config = {"mean": [0.1, 0.2, 0.3], "std": [1, 1, 1], "interpolation": "bilinear"}
    (file.parent / "config.json").write_text(json.dumps({"pretrained_cfg": config}))
    taken = like_pretrained(
        settings(model="timm:test_resnet", pretrained=file), image_size=224, crops=True
    )
    assert taken.pixels == PixelOptions(
        mean=(0.1, 0.2, 0.3), std=(1, 1, 1), interpolation="bilinear"
    )


@pytest.mark.parametrize(
    "text", ["[", "[]", '{"pretrained_cfg": 3}', "[" * 100_000, "{}", "\udcff"]
)
def test_another_config_beside_the_file_says_nothing(file, text):
    (file.parent / "config.json").write_text(text, errors="surrogateescape")
    taken = like_pretrained(
        settings(model="timm:test_resnet", pretrained=file), image_size=224, crops=True
    )
    assert taken.pixels.mean == (0.5, 0.5, 0.5)


def test_a_config_that_cannot_be_is_refused(file):
    config = {"pretrained_cfg": {"mean": [float("nan")] * 3}}
    (file.parent / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        InputError, match=r"config.json: mean must be from -10000 to 10000, got nan"
    ):
        like_pretrained(
            settings(model="timm:test_resnet", pretrained=file), image_size=224, crops=True
        )


def test_what_is_given_stays_and_is_said(file, capsys):
    given = PixelOptions(mean=(0.4, 0.4, 0.4), crop_pct=1.0)
    start = settings(model="timm:test_resnet", pretrained=file, pixels=given)
    taken = like_pretrained(start, image_size=224, crops=True).pixels
    assert (taken.mean, taken.crop_pct, taken.std) == ((0.4, 0.4, 0.4), 1.0, (0.5, 0.5, 0.5))
    said = " ".join(capsys.readouterr().err.split())
    assert "as given: mean [0.4, 0.4, 0.4], there [0.5, 0.5, 0.5]; crop_pct 1, there 0.95" in said


def test_of_timm_the_tag_chooses_the_weights():
    tagged = settings(model="timm:resnet18.a1_in1k", pretrained="timm")
    assert is_timms(tagged)
    assert like_pretrained(tagged, image_size=224, crops=True).pixels.crop_pct == 0.95
    assert tagged.with_whole_paths().pretrained == Path("timm")
    with pytest.raises(InputError, match=r"timm has no such weights; known: resnet18\.\w+"):
        like_pretrained(
            settings(model="timm:resnet18.nobodys", pretrained="timm"), image_size=224, crops=True
        )
    with pytest.raises(
        InputError, match=r"names weights of timm; take them with --pretrained timm"
    ):
        like_pretrained(settings(model="timm:resnet18.a1_in1k"), image_size=224, crops=True)


def test_timms_weights_are_not_for_a_nommer():
    with pytest.raises(
        InputError, match=r"--pretrained timm: is for networks of timm, got --model"
    ):
        settings(model="nommer_micro", pretrained="timm")


def test_a_models_own_pixels_are_taken_over(tmp_path, tiny_classifier, capsys):
    model = tiny_classifier()
    save_model(tmp_path, model, metrics={}, version="1")
    start = settings(pretrained=tmp_path)
    taken = like_pretrained(start, image_size=32, crops=True)
    assert taken.network.patch_size == model.network.config.patch_size
    assert taken.pixels.mean == model.preprocessing.mean
    assert "pixels as the weights" not in capsys.readouterr().err, "they are the usual ones"


DARK = {
    "mean": (0.3, 0.3, 0.3),
    "std": (0.05, 0.05, 0.05),
    "background": (0, 0, 0),
    "range": "12bit",
}


@pytest.fixture
def dark(tiny_classifier, tmp_path):
    """Settings of a run that starts from a classifier of dark images."""
    model = tiny_classifier()
    model.preprocessing = Preprocessing(
        image_size=32, interpolation="nearest", crop_mode="squash", **DARK
    )
    save_model(tmp_path / "model", model, metrics={}, version="0")
    return settings(pretrained=tmp_path / "model")


def test_what_is_not_given_is_taken_over(dark, capsys):
    taken = like_pretrained(dark, image_size=32, crops=True).pixels
    assert {name: getattr(taken, name) for name in DARK} == DARK
    assert (taken.interpolation, taken.crop_mode) == ("nearest", "squash")
    assert "mean [0.3, 0.3, 0.3]" in capsys.readouterr().err.replace("\n", " ")


def test_the_crop_and_interpolation_of_another_kind_of_task_are_not(dark, file):
    taken = like_pretrained(dark, image_size=512, crops=False).pixels
    assert taken.mean == DARK["mean"]
    assert (taken.interpolation, taken.crop_pct, taken.crop_mode) == (None, None, "center")
    start = settings(model="timm:test_resnet", pretrained=file)
    taken = like_pretrained(start, image_size=512, crops=False)
    assert taken.pixels == PixelOptions(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    assert taken.for_whole_images("segmentation").pixels.interpolation == "bilinear"


def test_other_values_are_refused_unless_the_head_is_new(dark, capsys):
    other = replace(dark, pixels=PixelOptions(mean=(0.5, 0.5, 0.5)))
    with pytest.raises(
        InputError,
        match=r"--pixels: .* has learned otherwise than given: mean \[0.5, 0.5, 0.5\], there "
        r"\[0.3, 0.3, 0.3\]; leave the options out",
    ):
        like_pretrained(other, image_size=32, crops=True)
    taken = like_pretrained(replace(other, reinit_head=True), image_size=32, crops=True).pixels
    assert taken.mean == (0.5, 0.5, 0.5)
    assert "mean [0.5, 0.5, 0.5], there [0.3, 0.3, 0.3]" in " ".join(
        capsys.readouterr().err.split()
    )


def test_the_same_values_are_no_difference(dark):
    same = replace(dark, pixels=PixelOptions(**DARK))
    assert like_pretrained(same, image_size=32, crops=True).pixels.std == DARK["std"]


def test_nothing_is_fetched_that_was_not_asked_for(monkeypatch, file):
    def fetch(name):
        raise AssertionError(name)

    monkeypatch.setattr(module, "fetch_weights", fetch)
    start = settings(model="timm:test_resnet", pretrained=file)
    network = timm.create_model("test_resnet", num_classes=2)
    network.timm_options = {}
    module.start_classifier(network, ("a", "b"), start)
    with pytest.raises(AssertionError, match=r"test_resnet.r160_in1k"):
        module.start_classifier(
            network, ("a", "b"), settings(model="timm:test_resnet.r160_in1k", pretrained="timm")
        )
