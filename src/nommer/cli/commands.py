"""The commands: each verb's settings, and the name of the function that shows its result."""

from dataclasses import dataclass
from inspect import getdoc
from typing import Any

from nommer import api
from nommer.settings.benchmark import BenchmarkSettings
from nommer.settings.check import CheckSettings
from nommer.settings.demo import DemoSettings
from nommer.settings.embed import EmbedSettings
from nommer.settings.evaluate import EvaluateSettings
from nommer.settings.explain import ExplainSettings
from nommer.settings.export import ExportSettings
from nommer.settings.predict import PredictSettings
from nommer.settings.pretrain import PretrainSettings
from nommer.settings.prune import PruneSettings
from nommer.settings.replay import ReplaySettings
from nommer.settings.serve import ServeSettings
from nommer.settings.train import TrainSettings


@dataclass(frozen=True)
class Command:
    """A verb on the command line."""

    settings: type[Any]
    show: str | None
    """Name of the function of `screen` that prints its result and returns the exit code; None where
    there is nothing to print, nor any need for what `screen` loads."""


COMMANDS = {
    "check": Command(CheckSettings, "show_check"),
    "train": Command(TrainSettings, "show_training"),
    "pretrain": Command(PretrainSettings, "show_pretraining"),
    "replay": Command(ReplaySettings, "show_replay"),
    "evaluate": Command(EvaluateSettings, "show_evaluation"),
    "predict": Command(PredictSettings, "show_predictions"),
    "embed": Command(EmbedSettings, "show_embedding"),
    "explain": Command(ExplainSettings, "show_explanations"),
    "prune": Command(PruneSettings, "show_pruning"),
    "export": Command(ExportSettings, "show_export"),
    "serve": Command(ServeSettings, None),
    "benchmark": Command(BenchmarkSettings, "show_benchmark"),
    "demo": Command(DemoSettings, "show_demo"),
}


def description(verb: str) -> list[str]:
    """Return the paragraphs of a verb's docstring, without its arguments."""
    text = (getdoc(getattr(api, verb)) or "").partition("\n\nArgs:")[0]
    return [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]
