"""`nommer demo`: every verb on real images that come with a dependency."""

from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from nommer.api import evaluate, explain, export, predict, train
from nommer.data.digits import write_digits
from nommer.exporting.delivery import ExportResult
from nommer.inference.evaluation import EvaluationResult
from nommer.inference.prediction import PredictionResult
from nommer.recipes import read_recipe
from nommer.runs.results import prepare_folder
from nommer.settings.augmentation import Augmentation
from nommer.studies.explaining import ExplanationResult
from nommer.training.conclusion import TrainingResult


@dataclass(frozen=True)
class DemoResult:
    """What the demo made: each verb's result."""

    training: TrainingResult
    evaluation: EvaluationResult
    prediction: PredictionResult
    explanation: ExplanationResult
    export: ExportResult
    seconds: float
    """Duration of the training."""


def demo(
    out: Path | str = Path("runs/demo"), epochs: int = 10, overwrite: bool = False
) -> DemoResult:
    """Train, evaluate, predict, explain and export on 1,797 scans of handwritten digits that come
    with scikit-learn.

    Args:
        out: folder for the images, the run and its results.
        epochs: times that the training images are gone through.
        overwrite: delete an earlier demo in `out`.

    Returns:
        The result of every verb.

    Raises:
        InputError: `out` exists, or holds another run than the demo's.
    """
    out = Path(out)
    prepare_folder(out, overwrite=overwrite, replaced=out / "run")
    data = write_digits(out / "digits")
    started = perf_counter()
    recipe = read_recipe("digits_nommer_pico") | {"epochs": epochs}
    recipe["augment"] = Augmentation(**recipe["augment"])
    trained = train(data=data, out=out / "run", **recipe)
    seconds = perf_counter() - started
    images = [str(next(iter(sorted((data / "val" / str(digit)).iterdir())))) for digit in range(10)]
    evaluated = evaluate(trained.out)
    predicted, explained = predict(trained.out, images), explain(trained.out, images)
    return DemoResult(trained, evaluated, predicted, explained, export(trained.out), seconds)
