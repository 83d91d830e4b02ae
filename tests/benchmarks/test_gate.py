"""Gates before the contexts: parts computed alone are those of the whole, and the study runs."""

import json
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nommer.acceleration.fuse import fuse
from nommer.backbone.network import NomMer
from nommer.backbone.variants import VARIANTS
from nommer.data.transforms import Preprocessing
from nommer.models.classification import Classifier
from nommer.models.storage import save_model


@pytest.fixture(scope="module")
def network():
    """A micro network with batch norms that do something, windows of 4 and blocks of 4 and 2."""
    torch.manual_seed(0)
    changes = {"window_size": 4, "block_sizes": (4, 2), "num_classes": 5, "img_size": 64}
    made = NomMer(replace(VARIANTS["nommer_micro"], **changes)).eval()
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.normal_(module.bias)
    return made


@pytest.fixture(scope="module")
def fused(network):
    return fuse(network)


class Known(nn.Module):
    def __init__(self, choice):
        super().__init__()
        self.choice = choice

    def forward(self, _):
        return F.one_hot(self.choice, 3).float()


def literal(mixer, grid, choice):
    contexts = torch.stack([mixer.convolution(grid), mixer.window(grid), mixer.spectral(grid)], -1)
    return contexts.gather(-1, choice[..., None, None].expand(*grid.shape, 1))[..., 0]


@pytest.mark.parametrize("sides", [(8, 8), (6, 11)])
@pytest.mark.parametrize("dense_from", [0.5, 2.0])
@pytest.mark.parametrize("share", [0.05, 1.0])
def test_what_is_computed_in_parts_is_what_the_whole_gives(
    script, network, fused, sides, dense_from, share
):
    helper = script("gated_mixer")
    for stage in (0, 1):
        grid = torch.randn(3, *sides, network.config.widths[stage])
        other = torch.randint(1, 3, (3, *sides))
        choice = torch.where(torch.rand(3, *sides) < share, other, 0)
        choice[0], choice[1] = 0, 1  # an image that wants one context alone, and another
        mixers = (of.stages[stage].blocks[0].mixer for of in (network, fused))
        with torch.inference_mode():
            wanted = literal(next(mixers), grid, choice)
            made = helper.GatedContext(next(mixers), Known(choice), dense_from)
            made.count()
            torch.testing.assert_close(made(grid), wanted, atol=1e-5, rtol=1e-5)
        shares = made.shares()
        assert shares["window"] >= 1 / 3
        assert shares["global"] <= 2 / 3


def test_gates_are_distilled_and_judged(script, network, image_cache, tmp_path, capsys):
    model = Classifier(
        network, class_names=list("abcde"), preprocessing=Preprocessing(image_size=64)
    )
    save_model(tmp_path / "model", model, metrics={}, version="0")
    gate, out = script("gate"), tmp_path / "out"
    sizes = ["--images", "20", "--judged", "20", "--rounds", "2", "--batches", "1"]
    cache = ["--cache", str(image_cache), "--model", str(tmp_path / "model")]
    gate.main([str(out), *cache, *sizes])
    found = json.loads((out / "result.json").read_text())
    assert json.loads(capsys.readouterr().out)["gated"] == found["gated"]
    blocks = {"stage 1 block 1", "stage 2 block 1"}
    assert set(found["agreement"]) == set(found["gated"]["0.0"]["shares"]) == blocks
    assert found["network"]["giga_macs"] > 0


def test_given_nominations_are_timed_and_counted(script, tmp_path, monkeypatch):
    gate = script("gate")
    monkeypatch.setitem(VARIANTS, "nommer_micro", replace(VARIANTS["nommer_micro"], window_size=4))
    sizes = ["--size", "64", "--rounds", "2", "--batches", "2", "--model", "nommer_micro"]
    gate.main([str(tmp_path), *sizes])
    rows = json.loads((tmp_path / "result.json").read_text())["given, batch 2"]
    counted = [rows[name]["giga_macs"] for name in ("convolution everywhere", "all of the windows")]
    assert 0 < counted[0] < rows["network"]["giga_macs"]
    assert counted[1] < rows["network"]["giga_macs"]
