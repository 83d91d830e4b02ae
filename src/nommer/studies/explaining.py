"""Explaining images with a model that is on disk: pictures of nominations, and numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

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
from nommer.nominations.tokens import Pixel, parse_pixels
from nommer.nominations.trace import nominates
from nommer.predictions import Classification, Failure
from nommer.progress import track
from nommer.runs.results_folder import results_folder
from nommer.settings.explain import ExplainSettings
from nommer.studies.attributing import attribute_files
from nommer.studies.figures import sensitivity_figure
from nommer.studies.page import check_page, write_page
from nommer.tasks.names import unique_names

if TYPE_CHECKING:
    from nommer.studies.study import StudyResult


@dataclass(frozen=True)
class ExplanationResult:
    """Summaries of images in their order, or the study of a data set, and their folder."""

    explanations: list[ExplanationSummary | Failure]
    """Answer and shares of each image, without the maps; no shares where nothing nominates.

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
    _check_asked(settings, model, len(paths))
    folder = results_folder(
        Path(settings.model), "explain", settings.out, overwrite=settings.overwrite, images=paths
    )
    if not nominates(model):
        results, written = attribute_files(model, paths, folder)
    else:
        results, written = _explained(settings, model, paths, tokens, folder)
    write_json(folder / "result.json", written)
    if settings.page:
        write_page(model, paths, folder / "page.html", name=Path(settings.model).name)
    return ExplanationResult(results, folder)


def _check_asked(settings: ExplainSettings, model: Model, images: int) -> None:
    """Refuse what the model has nothing to answer with.

    Raises:
        InputError: the first such option.
    """
    if settings.sensitivity and not model.has_one_answer:
        raise InputError(
            "--sensitivity: follows the probability of one answer per image, but the model does "
            f"{model.task}; leave it out"
        )
    if (settings.token or settings.sensitivity) and not nominates(model):
        nommer_of(model, settings.model)  # says what it is instead
        raise InputError(
            f"{settings.model}: nothing nominates in it; leave out --token and --sensitivity"
        )
    if settings.page:
        check_page(images)


def _explained(
    settings: ExplainSettings,
    model: Model,
    paths: Sequence[Path],
    tokens: Sequence[Pixel],
    folder: Path,
) -> tuple[list[ExplanationSummary | Failure], list[dict[str, Any]]]:
    """Return summaries and plain values of images whose nominations are drawn."""
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
    return results, written


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
