"""Values that come from Python are checked as those of the command line are."""

from dataclasses import fields, is_dataclass
from pathlib import Path

import numpy as np
import pytest

import nommer
from nommer.backbone.variants import VARIANTS
from nommer.cli.commands import COMMANDS
from nommer.errors import InputError
from nommer.settings import network
from nommer.settings.augmentation import Augmentation
from nommer.settings.detection import DetectionOptions
from nommer.settings.own_parts import OwnParts, TrainCall
from nommer.settings.predict import PredictSettings
from nommer.settings.rcnn import RCNNProtocol
from nommer.settings.schema import Settings
from nommer.settings.train import TrainSettings


def refused(**given):
    with pytest.raises(InputError) as caught:
        TrainSettings("data", **given)
    return str(caught.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cache": "mem"}, "--cache must be none, ram or disk, got 'mem'"),
        ({"sync_norms": True}, "--sync-norms must be auto, on or off, got True"),
        ({"precision": 16}, "--precision must be auto, 32, bf16 or 16, got 16"),
        ({"epochs": "3"}, "--epochs must be a whole number, got '3'"),
        ({"epochs": 3.0}, "--epochs must be a whole number, got 3.0"),
        ({"epochs": True}, "--epochs must be a whole number, got True"),
        ({"epochs": None}, "--epochs must be a whole number, got None"),
        ({"batch_size": "all"}, "--batch-size must be a whole number or auto, got 'all'"),
        ({"lr": "1e-3"}, "--lr must be a number, got '1e-3'"),
        ({"resume": 1}, "--resume must be true or false, got 1"),
        ({"out": 3}, "--out must be a path, got 3"),
        ({"loggers": "tensorboard"}, "--loggers must be a list of wandb or mlflow, got 'tensorb"),
        ({"optim": "adamw"}, "--optim must be Optim or a dictionary of its fields, got 'adamw'"),
        ({"optim": {"nam": "sgd"}}, "--optim: there is no option 'nam'; did you mean name?"),
        ({"optim": {"eps": "small"}}, "optim.eps must be a number, got 'small'"),
        ({"augment": {"scale": 0.5}}, "augment.scale must be two numbers, got 0.5"),
        ({"augment": {"scale": (0.5,)}}, "augment.scale must be two numbers, got (0.5,)"),
        (
            {"detection": {"protocol": {"nms": 2}}},
            "nms must be from 0 to 1, got 2",
        ),
        ({"detection": {"augment": {"short_sides": [64, "x"]}}}, "detection.augment.short_sides"),
    ],
)
def test_a_value_that_does_not_fit_is_named(given, message):
    assert message in refused(**given)


def test_what_is_said_of_a_long_value_is_short():
    assert len(refused(epochs=list(range(10_000)))) < 300


def test_a_name_that_is_none_is_no_keyword():
    with pytest.raises(TypeError, match="epoch"):
        nommer.train("data", epoch=3)


def test_groups_are_taken_as_mappings():
    settings = TrainSettings(
        "data",
        optim={"name": "sgd", "betas": [0.8, 0.9]},
        augment={"scale": [0.5, 1]},
        detection={"protocol": {"nms": 0.4}, "augment": {"hflip": 0.0}},
        loggers="wandb",
    )
    assert (settings.optim.name, settings.optim.betas) == ("sgd", (0.8, 0.9))
    assert settings.augment == Augmentation(scale=(0.5, 1))
    assert settings.detection.protocol == RCNNProtocol(nms=0.4)
    assert settings.detection == DetectionOptions(
        protocol=RCNNProtocol(nms=0.4), augment={"hflip": 0.0}
    )
    assert settings.loggers == ("wandb",)
    assert settings.data == Path("data")


def test_numbers_of_numpy_and_paths_are_numbers_and_text():
    settings = TrainSettings("data", epochs=np.int64(3), lr=np.float32(0.5))
    assert (type(settings.epochs), type(settings.lr)) == (int, float)
    assert PredictSettings("model", Path("a.png")).images == ("a.png",)
    assert PredictSettings("model", [Path("a.png"), "b.png"]).images == ("a.png", "b.png")


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_every_group_is_a_frozen_schema_of_its_own(command):
    assert command.settings.__dataclass_params__.frozen
    for one in fields(command.settings):
        if is_dataclass(one.type):
            assert issubclass(one.type, Settings)
            assert one.default == one.type()


def test_the_table_of_names_is_the_familys():
    assert set(network.VARIANTS) == set(VARIANTS)


def test_own_parts_stand_beside_the_settings():
    def transform(image):
        return image

    call = TrainCall("data", epochs=3, transform=transform)
    assert call.settings() == TrainSettings("data", epochs=3)
    assert call.own_parts() == OwnParts(transform=transform)
    assert call.own_parts().names == ("transform",)
    assert OwnParts().names == ()
    with pytest.raises(InputError, match="needs data or datasets, got neither"):
        TrainCall()
    with pytest.raises(InputError, match="needs data or datasets, got both"):
        TrainCall("data", datasets={})
