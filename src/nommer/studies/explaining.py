"""Explaining images with a model that is on disk: pictures of nominations, and numbers."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from torch import Tensor

from nommer.data.image_paths import find_images
from nommer.errors import InputError
from nommer.figures import save_figure
from nommer.files import write_json
from nommer.inference.inputs import load_to, read_list
from nommer.models.classification import Classifier
from nommer.models.storage import Model, nommer_of
from nommer.nominations.explanation import Explanation, ExplanationSummary
from nommer.nominations.faithfulness import sensitivity
from nommer.nominations.images import explain_images
from nommer.nominations.tokens import parse_pixels
from nommer.predictions import Classification, Failure
from nommer.progress import track
from nommer.runs.results_folder import results_folder
from nommer.settings.explain import ExplainSettings
from nommer.studies.figures import sensitivity_figure
from nommer.tasks.names import unique_names

if TYPE_CHECKING:
    from nommer.studies.study import StudyResult


@dataclass(frozen=True)
class ExplanationResult:
    """Summaries of images in their order, or the study of a data set, and their folder."""

    explanations: list[ExplanationSummary | Failure]
    """Answer and shares of each image, without the maps.

    The maps are in the pictures in `out`; in Python, `nommer.nominations.images.explain_images`
    gives them image by image.
    """
    out: Path
    study: "StudyResult | None" = None
    """Study of the data set, where one was given."""


def explain_files(settings: ExplainSettings) -> ExplanationResult:
    """Explain image files, as `nommer.explain` describes; holds the maps of one image at a time."""
    tokens = parse_pixels(settings.token)
    model, paths = (
        load_to(settings.model, settings.device),
        list(find_images(read_list(settings.images))),
    )
    nommer_of(model, settings.model)
    if settings.sensitivity and not model.has_one_answer:
        raise InputError(
            "--sensitivity: follows the probability of one answer per image, but the model does "
            f"{model.task}; leave it out"
        )
    folder = results_folder(
        Path(settings.model), "explain", settings.out, overwrite=settings.overwrite, images=paths
    )
    explanations = track(
        explain_images(model, paths, tokens=tokens), total=len(paths), what="explaining"
    )
    results: list[ExplanationSummary | Failure] = []
    written = []
    for name, result in zip(unique_names(paths), explanations, strict=True):
        written.append(result.to_dict())
        if isinstance(result, Failure):
            results.append(result)
            continue
        results.append(result.summary())
        _save_pictures(result, folder, name)
        if settings.sensitivity:
            written[-1]["sensitivity"] = _save_sensitivity(model, result, folder, name).tolist()
    write_json(folder / "result.json", written)
    return ExplanationResult(results, folder)


def _save_pictures(result: Explanation, folder: Path, name: str) -> None:
    save_figure(result.plot(), folder / f"{name}.png")
    if result.tokens:
        (folder / "tokens").mkdir(exist_ok=True)
        save_figure(result.plot_tokens(), folder / "tokens" / f"{name}.png")


def _save_sensitivity(model: Model, result: Explanation, folder: Path, name: str) -> Tensor:
    """Return and draw (8, 8) drops of the answer's probability by second choices in a cell."""
    answer = result.prediction
    if not isinstance(answer, Classification):
        raise TypeError(f"{answer.source}: has no single answer")
    image = model.preprocessing.normalise(result.image).to(next(model.parameters()).device)
    found = sensitivity(cast("Classifier", model), image, answer.class_names.index(answer.name))
    caption = f"{name}: {answer.name} ({answer.probability:.0%})"
    (folder / "sensitivity").mkdir(exist_ok=True)
    figure = sensitivity_figure([(result.image, found, caption)])
    figure.supxlabel(
        "by how much the answer is less probable\nwhere tokens nominate their second choice",
        fontsize=8,
    )
    save_figure(figure, folder / "sensitivity" / f"{name}.png")
    return found
