"""`nommer demo`: every verb on real images that come with a dependency."""

from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from sklearn.datasets import load_sample_images

from nommer import zoo
from nommer.data.digits import write_digits
from nommer.exporting.delivery import ExportResult, export_to_file
from nommer.extras import lacking
from nommer.inference.evaluate import EvaluationResult, evaluate_model
from nommer.inference.prediction import PredictionResult, predict_images
from nommer.recipes import read_recipe
from nommer.runs.results import prepare_folder
from nommer.settings.demo import DemoSettings
from nommer.settings.evaluate import EvaluateSettings
from nommer.settings.explain import ExplainSettings
from nommer.settings.export import ExportSettings
from nommer.settings.predict import PredictCall
from nommer.settings.train import TrainSettings
from nommer.streams.result import StreamResult
from nommer.studies.explaining import ExplanationResult, explain_files
from nommer.training.conclusion import TrainingResult
from nommer.training.train import train_model

BALANCED = "nommer_nano64.tiny_imagenet_200_balanced"
"""The entry of the zoo that nominates all three contexts."""


@dataclass(frozen=True)
class DemoResult:
    """The result of every verb."""

    training: TrainingResult
    evaluation: EvaluationResult
    prediction: PredictionResult | StreamResult
    explanation: ExplanationResult
    export: ExportResult | None
    """None where the packages of the extra `export` are not installed."""
    photographs: ExplanationResult | None
    """Two photographs, explained by an entry of the zoo; None where there is none."""
    seconds: float
    """Duration of the training."""


def run_demo(settings: DemoSettings) -> DemoResult:
    """Run every verb on the digits, as `nommer.demo` describes.

    Raises:
        InputError: the folder exists, or holds another run than the demo's.
    """
    out = settings.out
    prepare_folder(out, overwrite=settings.overwrite, replaced=out / "run")
    data = write_digits(out / "digits")
    started = perf_counter()
    recipe = read_recipe("digits_nommer_pico") | {"epochs": settings.epochs}
    trained = train_model(TrainSettings(data, out=out / "run", **recipe))
    seconds = perf_counter() - started
    run = trained.out
    images = [str(next(iter(sorted((data / "val" / str(digit)).iterdir())))) for digit in range(10)]
    return DemoResult(
        trained,
        evaluate_model(EvaluateSettings(run)),
        predict_images(PredictCall(run, images)),
        explain_files(ExplainSettings(run, images)),
        None if lacking("export") else export_to_file(ExportSettings(run)),
        explain_photographs(out / "photographs"),
        seconds,
    )


def explain_photographs(out: Path) -> ExplanationResult | None:
    """Explain the two photographs that come with scikit-learn (a palace, a flower; CC BY 2.0)."""
    entry = zoo.find_entry(BALANCED) or zoo.default_entry()
    if entry is None:
        return None
    return explain_files(ExplainSettings(entry.name, load_sample_images().filenames, out=out))
