"""Evaluating a model that is on disk, or two on the same images: `nommer evaluate`."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nommer.acceleration.compile import check_compiler, compile_inference
from nommer.acceleration.fuse import fuse
from nommer.errors import InputError
from nommer.files import write_json
from nommer.inference.comparison import Difference, compare
from nommer.inference.evaluation import Opened, open_model_and_data
from nommer.inference.precision import computation_of
from nommer.models.saved_decisions import save_decisions
from nommer.models.storage import network_of
from nommer.progress import notice
from nommer.runs.folder import RunFolder
from nommer.runs.results_folder import results_folder
from nommer.settings.evaluate import EvaluateSettings
from nommer.tasks.decided import Decided, find_decisions, save_decided
from nommer.tasks.module import Report

AGAINST = "against"
"""Folder inside the results with those of the second model."""


@dataclass(frozen=True)
class EvaluationResult:
    """An evaluation, and where it is written."""

    task: str
    """The task of the model, such as "classification"."""
    report: Report
    per_class: list[dict[str, Any]]
    """One row per class."""
    out: Path
    decided: Mapping[str, Any] = field(default_factory=dict)
    """By name: the model's "decisions", "calibration" before and after them, and the 95 %
    "intervals" of the main numbers of the report.
    """
    against: "EvaluationResult | None" = None
    """The second model's evaluation, where there is one."""
    comparison: tuple[Difference, ...] = ()
    """The better one, by each of the main numbers; the task's own comes first."""

    @property
    def intervals(self) -> Mapping[str, list[float]]:
        """The ends of the 95 % interval of each of the main numbers, by its name in the report."""
        return self.decided.get("intervals", {})


def evaluate_model(settings: EvaluateSettings) -> EvaluationResult:
    """Evaluate a model on disk, or two, as `nommer.evaluate` describes."""
    if settings.compile:
        check_compiler()
    opened = open_model_and_data(settings)
    other = None if settings.against is None else open_other(settings, opened)
    if settings.compile or settings.calibrate:
        network_of(opened.model, settings.model)  # an exported one is none
    folder = results_folder(settings.model, "evaluate", settings.out, overwrite=settings.overwrite)
    opened.notice()
    mine = _evaluate(opened, settings.model, settings, folder)
    if other is None or settings.against is None:
        return mine.result
    beside = folder / AGAINST
    beside.mkdir()
    its = _evaluate(other, settings.against, settings, beside)
    compared = compare(mine.decided, its.decided, (settings.model, settings.against), opened.task)
    write_json(folder / "comparison.json", [row.to_dict() for row in compared])
    return replace(mine.result, against=its.result, comparison=compared)


@dataclass(frozen=True)
class _Evaluated:
    result: EvaluationResult
    decided: Decided


def _evaluate(
    opened: Opened, path: Path | str, settings: EvaluateSettings, folder: Path
) -> _Evaluated:
    """Evaluate one model, and write its results into a folder."""
    RunFolder(folder).write_issues(opened.data.issues)
    own, opened = opened.model, replace(opened, model=fuse(opened.model))
    if settings.compile:
        compile_inference(opened.model)
    computation = computation_of(opened.model, opened.precision, settings.device)
    computation.notice()
    evaluation = opened.evaluate(opened.data, settings, folder)
    if settings.calibrate:
        opened.model.decisions = find_decisions(opened.task, evaluation, opened.model)
        save_decisions(Path(path), folder / "model", own, opened.model.decisions)
        said = opened.model.decisions.in_words(own.class_names) or "nothing that pays"
        notice(f"found on these images: {said}; the model with it: {folder / 'model'}")
    facts = {"model": str(path), **opened.facts, **computation.to_dict()}
    decided = save_decided(opened.task, evaluation, opened.model, opened.data, folder, facts=facts)
    per_class = evaluation.report.per_class(opened.model.class_names)
    result = EvaluationResult(opened.task.name, evaluation.report, per_class, folder, decided.facts)
    return _Evaluated(result, decided)


def open_other(settings: EvaluateSettings, first: Opened) -> Opened:
    """Open the second model on the images of the first one.

    Raises:
        InputError: it is for another task, or there are other images for it.
    """
    chosen: Any = {"model": settings.against, "data": first.root, "split": first.split}
    other = open_model_and_data(replace(settings, **chosen))
    names = [{one.data.name_of(s.path) for s in one.data.samples()} for one in (first, other)]
    if names[0] != names[1]:
        odd = sorted(names[0] ^ names[1])
        raise InputError(
            f"{settings.against}: is evaluated on other images than {settings.model}: {len(odd)} "
            f"are for one of them alone, such as {odd[0]}; leave them out of the data"
        )
    return other
