"""The model zoo: entries made by their script, loaded by name, verified each time.

And the entries of this checkout.
"""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import timm
import torch
from safetensors.torch import load_file

import nommer
from nommer import InputError, zoo
from nommer.cli import main
from nommer.models.rcnn import RCNN
from nommer.models.storage import load_backbone
from tests.tiny_imagenet import IDS, write_tiny_imagenet

pytestmark = pytest.mark.usefixtures("sketched")

NAMES = ("goldfish", "bullfrog", "tabby", "wok", "alp", "acorn")
NAME = "nommer_micro.tiny_imagenet_200"


@pytest.fixture(scope="module")
def tiny_imagenet(tmp_path_factory, write_classes):
    """Tiny ImageNet's layout in miniature."""
    return write_tiny_imagenet(tmp_path_factory.mktemp("data") / "tiny", write_classes)


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny_imagenet, train_options, script):
    """A run on it, and a zoo with the entry that the script makes of it; to be read only."""
    folder = tmp_path_factory.mktemp("zoo")
    run = folder / "run"
    told = ["train", "--data", str(tiny_imagenet), "--out", str(run), *train_options, "--epochs=1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["nommer", *told])
        assert main(told) == 0
    home = folder / "zoo"
    home.mkdir()
    (home / "manifest.json").write_text("{}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zoo, "HOMES", (home, folder / "beside"))
        options = ["--origin", "tiny_imagenet_200", "--workers", "0", "--bound", "1"]
        patch.setattr(sys, "argv", ["x", str(run), "--data", str(tiny_imagenet), *options])
        script("make_zoo_entry").main()
    return SimpleNamespace(run=run, home=home, entry=home / NAME, data=tiny_imagenet)


def test_an_entry_is_half_the_size_and_says_what_it_is(made):
    whole, half = load_file(made.run / "model" / zoo.WEIGHTS), load_file(made.entry / zoo.WEIGHTS)
    assert {value.dtype for value in half.values() if value.ndim > 1} == {torch.float16}
    assert all(
        value.dtype == torch.float32 for name, value in half.items() if name.endswith("running_var")
    )
    assert all(
        torch.allclose(whole[name].float(), half[name].float(), atol=1e-2, rtol=1e-3)
        for name in whole
    )
    card = (made.entry / zoo.CARD).read_text()
    assert "ImageNet's terms allow non-commercial research" in card
    assert "nommer train --data TINY --out runs/tiny_imagenet --model=nommer_micro" in card
    assert "## Limits" in card
    listed = json.loads((made.home / "manifest.json").read_text())[NAME]
    assert all(f"`{file}` {checksum}" in card for file, checksum in listed["sha256"].items())
    assert f"top-1, top-5 of the 18 validation images | {listed['score']:.2%}" in card


def test_names_load_the_same_network_everywhere(of_made):
    images = torch.randn(2, 3, 32, 32)
    model = nommer.load(NAME)
    assert model.class_names == NAMES
    assert model.class_ids == tuple(IDS)
    with torch.no_grad():
        expected = model.network(images)
        for name in ("nommer_micro", NAME):
            assert torch.equal(timm.create_model(name, pretrained=True).eval()(images), expected)
            assert torch.equal(nommer.load(name).network(images), expected)
    cfg = timm.create_model("nommer_micro", pretrained=True).pretrained_cfg
    assert (cfg["num_classes"], cfg["input_size"], cfg["label_names"]) == (6, (3, 32, 32), NAMES)


def test_pretrained_weights_suit_other_uses(of_made):
    other = timm.create_model(
        "nommer_micro", pretrained=True, num_classes=7, img_size=64, in_chans=1, drop_path_rate=0.1
    )
    assert other(torch.randn(2, 1, 64, 64)).shape == (2, 7)
    entry = load_file(of_made.entry / zoo.WEIGHTS)
    assert torch.equal(other.stages[3].cls_token, entry["stages.3.cls_token"].float())
    maps = timm.create_model("nommer_micro", pretrained=True, features_only=True)(
        torch.randn(1, 3, 32, 32)
    )
    assert [tuple(one.shape[-2:]) for one in maps] == [(16, 16), (8, 8), (4, 4), (2, 2)]
    assert timm.create_model("nommer_micro").config.patch_size == 4, (
        "without weights it is the published network"
    )


def test_a_changed_file_is_refused_at_each_load(of_made, refused, image):
    nommer.load(NAME)
    weights = of_made.entry / zoo.WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0" + b"\0")
    message = f"{weights}: is damaged or was changed: its SHA-256 is "
    for load in (nommer.load, lambda name: timm.create_model(name, pretrained=True)):
        with pytest.raises(InputError, match="is damaged or was changed"):
            load(NAME)
    assert refused("predict", NAME, image).startswith(message)
    assert refused("predict", image).endswith(
        "install nommer again, or take the file from the repository"
    )
    weights.unlink()
    with pytest.raises(InputError, match=f"{zoo.WEIGHTS}: cannot be read: No such file"):
        nommer.load(NAME)
    for damage in ("", "[]", '{"a": {}}'):
        (of_made.home / zoo.MANIFEST).write_text(damage)
        with pytest.raises(InputError, match=r"manifest\.json: is damaged, or was changed by hand"):
            nommer.load(NAME)


def test_an_entry_beside_the_package_is_found_and_its_absence_explained(of_made, tmp_path):
    shutil.move(of_made.entry, tmp_path / "beside" / NAME)
    assert nommer.load(NAME).class_names[0] == "goldfish"
    shutil.rmtree(tmp_path / "beside")
    with pytest.raises(
        InputError,
        match=f"{NAME}: its weights .* do not come with the package; they lie in the repos",
    ):
        nommer.load(NAME)
    with pytest.raises(
        InputError, match=f"nowhere: does not exist; .*; in the zoo there are {NAME}"
    ):
        nommer.load("nowhere")


def test_predict_needs_no_model(of_made, run, refused, image, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    printed = run("predict", image)
    assert f"no model is given, so it is {NAME} of the zoo: whatever an image shows" in printed.err
    assert (
        f"the weights of {NAME} are for non-commercial research and education only" in printed.err
    )
    assert any(name in printed.out for name in NAMES)
    assert (tmp_path / "runs" / "predict" / "predictions.csv").is_file()
    (tmp_path / "photos").mkdir()
    for number in (1, 2):
        shutil.copy(image, tmp_path / "photos" / f"{number}.jpg")
    assert len(nommer.predict("photos").predictions) == 2
    assert len(nommer.predict(image, [str(tmp_path / "photos" / "1.jpg")]).predictions) == 2
    assert len(nommer.predict(NAME, [str(image)]).predictions) == 1
    (of_made.home / "manifest.json").write_text("{}")
    assert "no model is given and none comes with this installation" in refused("predict", image)


def test_a_training_starts_from_an_entry_and_takes_its_sizes(of_made, run, coloured, tmp_path):
    options = (
        "--model nommer_micro --epochs 1 --image-size 64 --batch-size 6 --workers 0 --device cpu "
        "--out",
        tmp_path / "a",
    )
    printed = run("train --data", coloured, "--pretrained", NAME, "--reinit-head", *options)
    network = nommer.load(tmp_path / "a").network
    assert (network.config.window_size, network.config.block_sizes, network.config.img_size) == (
        4,
        (4, 4),
        (64, 64),
    )
    assert printed.err.count("are for non-commercial research and education only") == 1, (
        "it is told once"
    )
    assert f"pretrained: {NAME}" in (tmp_path / "a" / "config.yaml").read_text()


def test_segmentation_and_detection_take_its_backbone(
    of_made, run, scenes, segment_options, tmp_path
):
    options = ("--epochs=1 --out", tmp_path / "run")
    printed = run(
        "train --data", scenes, *segment_options, *options, "--pretrained", "nommer_micro"
    )
    assert "stages.0" in printed.err
    assert nommer.load(tmp_path / "run").network.backbone.config.patch_size == 2
    config = replace(nommer.load(NAME).network.config, num_classes=0, img_size=64)
    detector = RCNN(nommer.NomMer(config), num_classes=2, fpn_channels=8, box_channels=8)
    loaded, left = load_backbone(detector, Path(NAME))
    assert "stages.3.cls_token" in loaded
    assert set(left) == {"norm.weight", "norm.bias", "head.weight", "head.bias"}


def test_classes_are_matched_by_name_and_by_id(of_made, write_classes, tmp_path):
    by_id = write_classes(tmp_path / "ids", dict.fromkeys(reversed(IDS), 2))
    by_name = write_classes(tmp_path / "names", dict.fromkeys(reversed(NAMES), 2))
    options = {"workers": 0, "device": "cpu"}
    first, second = (
        nommer.evaluate(NAME, data=data, out=tmp_path / data.name / "e", **options)
        for data in (by_id, by_name)
    )
    assert first.report.images == 12
    assert [row["class"] for row in first.per_class] == list(NAMES)
    assert torch.equal(first.report.confusion, second.report.confusion)
    write_classes(tmp_path / "others", {"n01": 1, "n09": 1})
    with pytest.raises(InputError, match="class n01, n09 is not among the model's classes"):
        nommer.evaluate(NAME, data=tmp_path / "others", **options)


# ---- the entries of this checkout
# ------------------------------------------------------------------------------------


def test_timm_knows_which_networks_have_weights():
    here = {entry.name for entry in zoo.classifiers() if entry.folder}
    assert set(timm.list_models("nommer*", pretrained=True)) == here


@pytest.mark.parametrize("entry", zoo.entries(), ids=lambda entry: entry.name)
def test_every_entry_is_whole_has_a_card_and_real_names(entry):
    if entry.folder is None:
        pytest.skip(f"{entry.name} is not in this checkout")
    folder, description = entry.verified(), entry.description()
    assert (folder / zoo.WEIGHTS).stat().st_size == entry.size <= 50e6
    assert entry.size <= 10e6 or folder.parent == zoo.HOMES[1], (
        "large weights lie beside the package"
    )
    assert not any(name.startswith("n0") for name in description["class_names"])
    card = (folder / zoo.CARD).read_text()
    assert all(checksum in card for checksum in entry.sha256.values())
    names, model = description["class_names"], nommer.load(entry.name)
    assert model.class_names == tuple(names)
    assert len(set(names)) == len(names)
    assert model.task == entry.task
    if entry.task == "classification":
        network = timm.create_model(entry.name, pretrained=True)
        assert network.num_classes == len(names)
        assert network.config == model.network.config
    else:
        with pytest.raises(RuntimeError, match="Invalid pretrained tag"):
            timm.create_model(entry.name, pretrained=True)
