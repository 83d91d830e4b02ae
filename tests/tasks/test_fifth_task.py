"""A fifth task, whole in this file: the brightness of images. Verbs work once it is registered."""

import csv
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import nommer
from nommer.data.audit import Audited, read_images
from nommer.data.formats.labelled import LabelledImages, split_randomly
from nommer.data.images import decode
from nommer.data.module import ImageData, ImageDataset
from nommer.data.transforms import Preprocessing
from nommer.files import write_csv, write_json
from nommer.models import kinds
from nommer.models.evaluation_mode import evaluating
from nommer.models.networks import build_network as build_described
from nommer.models.networks import describe_network
from nommer.models.recogniser import Recogniser
from nommer.settings.optim import Optim
from nommer.tasks.checking import TaskCheck
from nommer.tasks.data import TaskData
from nommer.tasks.exporting import ScoresExport
from nommer.tasks.model import TaskModel
from nommer.tasks.module import TaskModule
from nommer.tasks.networks import build_network, resolve_network
from nommer.tasks.registry import TASKS, register
from nommer.tasks.resolve import loading_of
from nommer.tasks.results import TaskResults
from nommer.tasks.task import Task

TABLE = "brightness.csv"


class Measured(NamedTuple):
    """An image and its brightness, 0 to 1."""

    path: Path
    brightness: float
    error: str | None = None


@dataclass(frozen=True)
class MeasuredImages(LabelledImages[Measured]):
    target: ClassVar[str] = "brightness"

    def target_of(self, sample):
        return str(sample.brightness)


class Batch(NamedTuple):
    images: Tensor
    brightness: Tensor
    indices: Tensor


class MeasuredDataset(ImageDataset):
    def decode(self, index):
        return (decode(self.samples[index].path),)

    def load(self, index):
        (image,) = self.decoded(index)
        return Batch(self.transform(image), self.samples[index].brightness, index)


class BrightnessSource(TaskData):
    def recognises(self, source):
        return (source.root / TABLE).is_file()

    def read(self, source, class_names=None):
        root = source.root
        with (root / TABLE).open(newline="") as stream:
            rows = [
                Measured(root / row["file"], float(row["brightness"]))
                for row in csv.DictReader(stream)
            ]
        return MeasuredImages(root, ("brightness",), {"train": tuple(rows)})

    def split(self, data, *, fraction, seed):
        return split_randomly(data, fraction=fraction, seed=seed)

    def inspect(self, data):
        return read_images([sample.path for sample in data.samples()], whole=True)

    def audit(self, data, how):
        return Audited(data, short_side=32)

    def training(self, settings, data, model):
        return self._batches(data.splits["train"], data.splits["val"], model, loading_of(settings))

    def evaluation(self, data, model, loading):
        return self._batches(data.samples(), data.samples(), model, loading)

    def _batches(self, train, val, model, loading):
        parts = (
            MeasuredDataset(part, model.preprocessing, reading=model.preprocessing.reading)
            for part in (train, val)
        )
        return ImageData(*parts, loading=loading)


@dataclass(frozen=True)
class Brightness:
    """The answer to one image."""

    source: str
    value: float

    def headline(self):
        return [f"{self.value:.2f}"]


class Photometer(Recogniser):
    """A network with one output."""

    tasks = ("brightness",)
    preprocessing_kind = Preprocessing
    one_size = True

    @classmethod
    def build_network(cls, description):
        return build_described(description["architecture"])

    @classmethod
    def of(cls, network, description):
        preprocessing = Preprocessing(**description["preprocessing"])
        return cls(network, class_names=description["class_names"], preprocessing=preprocessing)

    def architecture(self):
        return {"architecture": describe_network(self.network)}

    def forward(self, images):
        return self.network(images)

    @torch.inference_mode()
    def answer(self, view, name):
        with evaluating(self) as model:
            value = model(view.prepared[None].to(self.device))[0, 0].item()
        return Brightness(name, value) if np.isfinite(value) else None


class BrightnessModel(TaskModel):
    kind = Photometer

    def fill_in(self, settings, found):
        side = settings.image_size or found.short_side
        return replace(
            settings,
            image_size=side,
            network=resolve_network(settings.network, settings.model, side),
            optim=settings.optim.resolved(schedule="cosine", label_smoothing=0.0),
        )

    def build(self, settings, data):
        preprocessing = Preprocessing(image_size=settings.image_size, crop_mode="squash")
        network = build_network(settings, num_classes=1)
        return Photometer(network, class_names=data.class_names, preprocessing=preprocessing)


@dataclass(frozen=True)
class BrightnessReport:
    class_measure: ClassVar[str] = "closeness"

    images: int
    loss: float
    """Mean squared error."""
    closeness: float
    """1 without any error."""

    def summary(self):
        return dict(vars(self))

    def per_class(self, names):
        return [{"class": names[0], "images": self.images, "closeness": self.closeness}]


class BrightnessModule(TaskModule):
    measure, measure_name = "closeness", "closeness"
    curves: ClassVar = {"closeness": "closeness"}

    @classmethod
    def for_training(cls, settings, model, *, lr, found):
        return cls(model, optim=settings.optim, lr=lr, seed=settings.seed)

    @classmethod
    def for_evaluation(cls, model, data, inference):
        return cls(model, optim=Optim(), lr=1.0)

    def _errors(self, batch):
        return self.model(batch.images)[:, 0].float() - batch.brightness.float()

    def training_step(self, batch, batch_idx):
        return self.log_loss(self._errors(batch).square().mean(), len(batch.images))

    def validation_step(self, batch, batch_idx):
        errors = self._errors(batch).cpu()
        self.answers.update(zip(batch.indices.tolist(), errors.tolist(), strict=True))

    def on_validation_epoch_end(self):
        loss = float(np.mean(np.square(list(self.answers.values()))))
        self.finish_validation(BrightnessReport(len(self.answers), loss, 1 / (1 + loss)))


class BrightnessResults(TaskResults):
    plots = "curves.png"
    answer_options = frozenset({"batch_size"})

    def save_evaluation(self, evaluation, model, data, out, *, facts):
        write_json(out / "result.json", {**facts, **evaluation.report.summary()})

    def save_training_batch(self, data, model, path):
        Image.new("RGB", (8, 8)).save(path)

    def save_answers(self, model, paths, folder, settings):
        def answer(name, image):
            return model.answer(model.view(image), name)

        answers = list(model.answer_each(paths, answer))
        write_csv(
            folder / "predictions.csv", [{"image": a.source, "value": a.value} for a in answers]
        )
        return answers


class BrightnessCheck(TaskCheck):
    unit = "images"

    def key(self, sample, report):
        return sample.brightness

    def count(self, data, samples, facts):
        return np.array([len(samples)])

    def draw(self, data, sample):
        return decode(sample.path), str(sample.brightness)


class BrightnessExport(ScoresExport):
    outputs = ("logits",)
    parity_images = 4
    batches = (1, 3)

    def left_out(self, model, size):
        return ()


BRIGHTNESS = Task(
    name="brightness",
    data=BrightnessSource(),
    model=BrightnessModel(),
    module=BrightnessModule,
    results=BrightnessResults(),
    checking=BrightnessCheck(),
    exporting=BrightnessExport(),
)


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(kinds, "_KINDS", [*kinds._KINDS])
    register(BRIGHTNESS)
    yield
    del TASKS["brightness"]


@pytest.fixture
def lamps(tmp_path):
    """Grey images, each with its brightness in a table."""
    root, lines = tmp_path / "lamps", ["file,brightness"]
    root.mkdir()
    for number in range(16):
        Image.new("RGB", (32, 32), (16 * number,) * 3).save(root / f"{number}.png")
        lines.append(f"{number}.png,{number / 16}")
    (root / TABLE).write_text("\n".join(lines))
    return root


@pytest.mark.usefixtures("registered")
def test_every_verb_knows_a_registered_task(lamps, tmp_path):
    run = tmp_path / "run"
    options = {"model": "nommer_micro", "epochs": 1, "batch_size": 4, "workers": 0, "device": "cpu"}
    trained = nommer.train(data=lamps, out=run, **options)
    assert trained.task == "brightness"
    assert json.loads((run / "model" / "model.json").read_text())["task"] == "brightness"
    assert type(nommer.load(run)) is Photometer

    found = nommer.evaluate(run, out=tmp_path / "evaluated", workers=0, device="cpu")
    assert found.report.images == 3
    assert found.report.closeness == pytest.approx(trained.report.closeness, abs=1e-6)

    answered = nommer.predict(run, [str(lamps / "3.png")], out=tmp_path / "answers", device="cpu")
    (answer,) = answered.predictions
    assert isinstance(answer, Brightness)
    assert (tmp_path / "answers" / "predictions.csv").is_file()

    checked = nommer.check(lamps, out=tmp_path / "checked")
    assert checked.task == "brightness"
    assert checked.summary["images"] == 16


@pytest.mark.usefixtures("registered")
def test_a_name_is_given_once():
    register(BRIGHTNESS)
    with pytest.raises(ValueError, match="a task called 'brightness' already"):
        register(replace(BRIGHTNESS))


def test_without_registering_its_models_are_not_known(lamps):
    with pytest.raises(nommer.InputError, match="for the task 'brightness', which this nommer"):
        kinds.kind_for("brightness")
