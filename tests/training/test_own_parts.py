"""People's own callbacks, transforms and losses, and own training scripts."""

import json
import re
import warnings
from pathlib import Path

import lightning as L
import pytest
import torch
from torchvision.transforms import v2

import nommer
from nommer.errors import InputError

EXTEND = Path(__file__).resolve().parents[2] / "docs" / "extend.md"
OPTIONS = {"model": "nommer_micro", "epochs": 1, "batch_size": 6, "image_size": 32, "workers": 0,
           "device": "cpu"}  # fmt: skip


class Counting(L.Callback):
    def __init__(self):
        self.steps = 0

    def on_train_batch_end(self, *_):
        self.steps += 1


class Doubled(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, scores, targets):
        self.seen.append(tuple(scores.shape))
        return 2 * torch.nn.functional.cross_entropy(scores, targets)


def test_callbacks_transform_and_loss_take_their_place_and_are_recorded(coloured, tmp_path, capsys):
    counting, loss, sizes = Counting(), Doubled(), []

    def transform(image):
        sizes.append(image.size)
        return v2.RandomHorizontalFlip()(image)

    given = {"callbacks": [counting], "loss": loss, "transform": transform, **OPTIONS}
    out = tmp_path / "run"
    assert nommer.train(coloured, out=out, **given).report.images == 9
    assert counting.steps == 3
    assert loss.seen == [(6, 3)] * 3
    assert sizes[0] == (48, 40)
    recorded = json.loads((out / "own_parts.json").read_text())
    assert recorded.keys() == {"callbacks", "loss", "transform"}
    assert recorded["loss"].endswith(".Doubled")
    nommer.train(coloured, out=out, resume=True, **(given | {"epochs": 2, "loss": None}))
    said = capsys.readouterr().err.replace("\n", " ")
    assert "--resume can neither compare nor reproduce" in said
    assert "not given now: loss" in said


def test_data_sets_are_for_own_scripts(tmp_path):
    with pytest.raises(InputError, match=r"docs/extend\.md shows"):
        nommer.train(datasets={"train": [], "val": []}, out=tmp_path / "run", **OPTIONS)


def test_the_script_of_the_page_runs():
    (script,) = re.findall(r"```python\n(.*?)```", EXTEND.read_text(), flags=re.DOTALL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's advice on workers
        exec(script, {"__name__": "script"})
