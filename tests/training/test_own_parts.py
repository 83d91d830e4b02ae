"""People's own callbacks, transforms, losses and data sets, and own training scripts."""

import json
import re
import warnings
from pathlib import Path

import lightning as L
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2
from torchvision.transforms.v2.functional import pil_to_tensor

import nommer
from nommer.data.formats.own_targets import as_image
from nommer.distributed.launch import Launch
from nommer.errors import InputError
from nommer.settings.own_parts import OwnParts
from nommer.settings.train import OWN_DATA, TrainSettings
from nommer.tasks.registry import TASKS
from nommer.training.own_parts import check_own_parts, own_datasets
from nommer.training.preparation import find_first
from tests.run_contents import rows

pytestmark = pytest.mark.usefixtures("sketched")

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


class Made(torch.utils.data.Dataset):
    """Images of one colour, or with a square, and targets of a kind."""

    classes = ("dark", "light")

    def __init__(self, number, kind):
        self.number, self.kind = number, kind

    def __len__(self):
        return self.number

    def __getitem__(self, index):
        image = Image.new("RGB", (40, 36), (9 * index, 200 * (index % 2), 40))
        mask = torch.zeros(36, 40, dtype=torch.int64)
        mask[:18, :20], mask[-1] = 1, 255
        boxes, labels = torch.tensor([[2.0, 2, 20, 20]]), torch.tensor([index % 2])
        return {
            "class": (image, index % 2),
            "several": (pil_to_tensor(image) / 255, torch.tensor([index % 2, 1])),
            "mask": (image, mask),
            "objects": (image, {"boxes": boxes, "labels": labels, "masks": (mask == 1)[None]}),
        }[self.kind]


def own(kind):
    return {"train": Made(8, kind), "val": Made(4, kind)}


def test_data_sets_of_ones_own_take_the_place_of_folders(tmp_path, capsys):
    out = tmp_path / "run"
    result = nommer.train(datasets=own("class"), out=out, **OPTIONS)
    assert (result.task, result.report.images) == ("classification", 4)
    assert result.model.class_names == ("dark", "light")
    listed = (out / "split.csv").read_text().splitlines()
    assert listed[1].startswith("train/000000.ppm,train,dark,")
    assert json.loads((out / "own_parts.json").read_text()).keys() == {"datasets"}
    again = OPTIONS | {"epochs": 2, "resume": True, "out": out}
    assert nommer.train(datasets=own("class"), **again).epoch <= 2
    assert "neither compare nor reproduce" in capsys.readouterr().err.replace("\n", " ")
    with pytest.raises(InputError, match="the data has changed"):
        nommer.train(datasets=own("class") | {"train": Made(9, "class")}, **again)
    with pytest.raises(InputError, match=r"datasets given from Python.*give --data"):
        nommer.evaluate(out)


@pytest.mark.slow
@pytest.mark.long
def test_data_sets_of_ones_own_go_to_the_processes_of_devices(tmp_path):
    out = tmp_path / "run"
    given = OPTIONS | {"batch_size": 2, "devices": 2, "workers": 1}
    result = nommer.train(datasets=own("class"), out=out, **given)
    assert result.report.images == 4
    (row,) = rows(out / "metrics.csv")
    assert int(row["step"]) == 2, "eight images, two per step and process"
    assert float(row["val_top1"]) == pytest.approx(result.report.top1, abs=1e-5)


class Holding(torch.utils.data.Dataset):
    """A data set around something else."""

    def __init__(self, held):
        self.held = held


def test_what_other_processes_cannot_import_is_refused():
    def check(part):
        given = OwnParts(datasets={"train": part}, callbacks=[Counting()])
        check_own_parts(given, TASKS["classification"], Launch(world_size=2, launcher="nommer"))

    check(Holding(torch.nn.CrossEntropyLoss()))
    of_script = type("Mine", (), {"__module__": "__main__"})
    for part in (of_script(), Holding(of_script()), Holding(of_script)):
        with pytest.raises(InputError, match=r"Mine is defined in the script itself.*torchrun"):
            check(part)
    with pytest.raises(InputError, match=r"Holding cannot be given to the processes of --devices"):
        check(Holding(lambda image: image))


@pytest.mark.parametrize(
    ("kind", "task"),
    [
        ("several", "multi-label classification"),
        ("mask", "segmentation"),
        ("objects", "detection"),
    ],
)
def test_targets_tell_the_task_and_are_audited_as_files_are(kind, task, tmp_path):
    given = OwnParts(datasets=own(kind))
    settings = TrainSettings(data=OWN_DATA, out=tmp_path / "run")
    with own_datasets(given):
        found = find_first(settings, given)
    assert found[0].name == task
    data = found[1].data
    assert [len(part) for part in data.splits.values()] == [8, 4]
    assert data.class_names == ("dark", "light")
    first = data.splits["train"][1]
    assert first.path == OWN_DATA / "train" / "000001.ppm"
    if kind == "several":
        assert first.classes == (0, 1)
    elif kind == "mask":
        assert found[1].class_counts.tolist() == [8 * (35 * 40 - 18 * 20), 8 * 18 * 20]
    else:
        assert first.objects.boxes.tolist() == [[2, 2, 20, 20]]
        assert first.objects.have_masks.all()
        assert data.has_masks


@pytest.mark.parametrize(
    ("datasets", "message"),
    [
        ({"val": [1]}, "expected train, maybe val and classes"),
        ({"train": [], "classes": ["a", "b"]}, "is not empty"),
        ({"train": iter("ab"), "classes": ["a", "b"]}, "expected a map-style data set"),
        ({"train": [(None, 0)]}, r"give their names as datasets\['classes'\]"),
        ({"train": [3], "classes": ["a", "b"]}, "item 0 of train is 'int'; expected a pair"),
        ({"train": [(1, "a")], "classes": ["a", "b"]}, "a target is 'a'; expected a class index"),
        ({"train": [(1, 2)], "classes": ["a", "b"]}, "is '2'; expected classes from 0 to 1"),
        ({"train": [(1, [1.0, 3])], "classes": ["a", "b"]}, "expected 2 numbers of 0 and 1"),
    ],
)
def test_data_sets_that_make_no_sense_are_refused(datasets, message, tmp_path):
    with pytest.raises(InputError, match=message):
        nommer.train(datasets=datasets, out=tmp_path / "run", **OPTIONS)
    with pytest.raises(InputError, match="floats from -1 to 0; expected 0 to 1"):
        as_image(torch.tensor([-1.0, 0]).expand(3, 2, 2))


def test_the_scripts_of_the_page_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    scripts = re.findall(r"```python\n(.*?)```", EXTEND.read_text(), flags=re.DOTALL)
    assert len(scripts) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's advice on workers
        for script in scripts:
            exec(script, {"__name__": "script"})
    assert "dark" in capsys.readouterr().out
