"""`nommer prune` on models of every task, through the command line or Python."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import nommer
from nommer.cli import main
from nommer.models.storage import load, save_model
from nommer.pruning.surgery import contexts_of, mixers_of

pytestmark = pytest.mark.usefixtures("sketched")

OPTIONS = ["--workers", "0", "--device", "cpu"]


@pytest.fixture(scope="module")
def convinced(tmp_path_factory):
    """Save a model whose stage 1 nominates the convolution alone, stage 2 anything but windows."""

    def save(model):
        first, second = (mixer.nominator.score for mixer in mixers_of(model.backbone).values())
        with torch.no_grad():
            first.bias.copy_(torch.tensor([1e4, 0.0, 0.0]))
            torch.nn.init.normal_(second.weight)
            second.bias.copy_(torch.tensor([0.0, -1e4, 0.0]))
        folder = tmp_path_factory.mktemp("convinced")
        save_model(folder, model, metrics={}, version="0")
        return folder

    return save


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr("nommer.pruning.gain.ROUNDS", 1)
    monkeypatch.setattr("nommer.pruning.gain.IMAGES", 2)


def test_a_classifier_is_pruned_and_used(convinced, tiny_classifier, coloured, tmp_path, capsys):
    model, out = convinced(tiny_classifier()), tmp_path / "out"
    given = ["prune", str(model), "--data", str(coloured), "--out", str(out), *OPTIONS]
    assert main([*given, "--cost", "-1"]) == 0
    told = capsys.readouterr()
    assert "stage 1 block 1 without window and global (0.00% of its tokens)" in told.err
    assert "no difference can be told" in told.out
    result = json.loads((out / "result.json").read_text())
    assert result["kept"]["stage 1 block 1"] == ["convolution"]
    assert result["removed"] == sum(3 - len(left) for left in result["kept"].values())
    assert result["comparison"][0]["measure"] == "top1"
    assert result["costs"]["giga_macs_ratio"] > 1
    assert result["parity"]["difference"] < 1e-6
    assert (
        "| stage 1 block 1 | convolution, window, global | convolution |"
        in (out / "report.md").read_text()
    )
    assert load(out).class_names == ("blue", "green", "red")
    numbers = json.loads((out / "model" / "model.json").read_text())["metrics"]
    assert numbers["top1"] == result["comparison"][0]["first"]
    image = next(coloured.rglob("*.png"))
    assert main(["predict", str(out), str(image), "--out", str(tmp_path / "answers")]) == 0


@pytest.mark.slow
def test_what_is_left_is_explained_and_exported(convinced, tiny_classifier, coloured, tmp_path):
    model, image = convinced(tiny_classifier()), str(next(coloured.rglob("*.png")))
    nommer.prune(model, data=coloured, out=tmp_path / "out", workers=0, device="cpu", cost=-1)
    left = contexts_of(load(tmp_path / "out").backbone)
    assert len(left["stage 1 block 1"]) == 1 < len(left["stage 2 block 1"])
    given = ["explain", str(tmp_path / "out"), image, "--token", "8,8", "--device", "cpu"]
    assert main([*given, "--out", str(tmp_path / "explained")]) == 0
    nommer.export(tmp_path / "out", data=coloured, out=tmp_path / "exported")
    answers = [
        nommer.load(path).predict(image)
        for path in (tmp_path / "out", tmp_path / "exported" / "model.onnx")
    ]
    np.testing.assert_allclose(*(one[0].probabilities for one in answers), atol=1e-4)


def test_a_segmenter_loses_what_costs_nothing(convinced, tiny_segmenter, scenes, tmp_path):
    model = convinced(tiny_segmenter())
    result = nommer.prune(
        model, data=scenes, out=tmp_path / "out", workers=0, device="cpu", cost=100
    )
    assert all(len(left) == 1 for left in result.kept.values())
    assert result.comparison[0].measure == "miou"
    assert load(tmp_path / "out").task == "segmentation"


def test_a_detector_is_pruned(convinced, tiny_detector, tmp_path):
    data = tmp_path / "data"
    for kind in ("images", "labels"):
        (data / kind / "train").mkdir(parents=True)
        (data / kind / "val").mkdir()
    told = {"train": "images/train", "val": "images/val", "names": ["cell", "ring"]}
    (data / "data.yaml").write_text(json.dumps(told))
    for index, split in enumerate(("train", "val", "val")):
        pixels = np.random.default_rng(index).integers(0, 255, (48, 64, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(data / "images" / split / f"{index}.png")
        boxes = "0 0.3 0.3 0.3 0.3\n1 0.7 0.6 0.3 0.4"
        (data / "labels" / split / f"{index}.txt").write_text(boxes)
    result = nommer.prune(
        convinced(tiny_detector()), data=data, out=tmp_path / "out", workers=0, device="cpu"
    )
    assert result.kept["stage 1 block 1"] == ("convolution",)
    assert result.comparison[0].measure == "box_ap"
    assert result.parity.difference < 1e-6


def test_nothing_to_prune_is_said(tiny_classifier, coloured, tmp_path, capsys):
    model = tmp_path / "model"
    save_model(model, tiny_classifier(), metrics={}, version="0")
    result = nommer.prune(
        model, data=coloured, out=tmp_path / "out", workers=0, device="cpu", share=0, cost=-1
    )
    assert result.removed == 0
    assert "no context may go" in capsys.readouterr().err
    assert not (tmp_path / "out" / "model").exists()


def test_mistakes_are_one_sentence(tiny_classifier, coloured, tmp_path, capsys):
    model = tmp_path / "model"
    save_model(model, tiny_classifier(contexts=("window",)), metrics={}, version="0")
    assert main(["prune", str(model), "--data", str(coloured), *OPTIONS]) == 2
    assert "nothing nominates in its network" in capsys.readouterr().err
    assert main(["prune", str(model), "--data", str(coloured), "--share", "2"]) == 2
    assert "--share must be from 0 to 1" in capsys.readouterr().err
