"""`nommer prune`: contexts that are not needed leave a trained network, and what that does."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nommer.acceleration.fuse import fuse
from nommer.distributed.devices import torch_device
from nommer.errors import InputError
from nommer.files import write_json, write_text
from nommer.inference.comparison import compare as compare_numbers
from nommer.inference.evaluation import Opened, open_model_and_data
from nommer.inference.precision import computation_of
from nommer.models.storage import Model, nommer_of, read_model, save_model
from nommer.nominations.trace import NominationTrace, holds_nominations
from nommer.progress import notice
from nommer.pruning.gain import Seen, compare, measure
from nommer.pruning.report import report
from nommer.pruning.result import PruningResult
from nommer.pruning.search import Evaluated, Step, search
from nommer.pruning.surgery import ContextMeans, Kept, Means, contexts_of, pruned_model
from nommer.runs.folder import RunFolder
from nommer.runs.results_folder import results_folder
from nommer.settings.prune import PruneSettings
from nommer.tasks.decided import Decided, save_decided
from nommer.tasks.evaluation import Evaluation

MODEL, BEFORE, AFTER = "model", "before", "after"
"""Folders inside the results: the pruned model, and both evaluations."""


@dataclass(frozen=True)
class _Seen:
    """Findings of the evaluation of the model as it is."""

    evaluation: Evaluation
    evaluated: Evaluated
    means: Means
    images: list[Any]


def prune_model(settings: PruneSettings) -> PruningResult:
    """Prune as `nommer.prune` describes."""
    how = settings.evaluation()
    opened = open_model_and_data(how)
    network = nommer_of(opened.model, settings.model)
    folder = results_folder(settings.model, "prune", settings.out, overwrite=settings.overwrite)
    RunFolder(folder).write_issues(opened.data.issues)
    opened.notice()
    computation_of(opened.model, opened.precision, settings.device).notice()
    before = contexts_of(network)
    first = _look(opened, settings, folder)

    def evaluate(kept: Kept) -> Evaluated:
        model = pruned_model(opened.model, kept, first.means)
        return _evaluate(_with(opened, fuse(model)), settings, folder)[1]

    limits: dict[str, float] = {"share": settings.share, "cost": settings.cost}
    kept, steps = search(before, first.evaluated, evaluate, told=_tell, **limits)
    result = PruningResult(steps, before, kept, folder)
    if result.removed:
        result = _deliver(result, opened, first, settings)
    else:
        notice("no context may go, so there is no pruned model; see --share and --cost")
    write_json(folder / "result.json", _facts(result, opened, settings))
    write_text(folder / "report.md", report(result, opened.task.module.measure_name))
    return result


def _with(opened: Opened, model: Model) -> Opened:
    return replace(opened, model=model)


def _look(opened: Opened, settings: PruneSettings, folder: Path) -> _Seen:
    """Evaluate the model as it is: its nominations, the means of its contexts, its images."""
    fused = _with(opened, fuse(opened.model))
    means, seen = ContextMeans(fused.model.backbone), Seen(fused.model.backbone)
    evaluation, evaluated = _evaluate(fused, settings, folder)
    return _Seen(evaluation, evaluated, means.close(), seen.close())


def _evaluate(
    opened: Opened, settings: PruneSettings, folder: Path
) -> tuple[Evaluation, Evaluated]:
    """Evaluate a fused model on all images, and note what it nominates.

    Raises:
        InputError: the data have nothing to measure.
    """
    how, shares = settings.evaluation(), {}
    if holds_nominations(opened.model):
        with NominationTrace(opened.model) as trace:
            evaluation = opened.evaluate(opened.data, how, folder)
        shares = trace.shares()
    else:
        evaluation = opened.evaluate(opened.data, how, folder)
    measured = evaluation.report.summary()[opened.task.module.measure]
    if measured is None:
        raise InputError(
            f"{opened.root}: {opened.task.module.measure_name} cannot be told on these images, so "
            "no removal can be evaluated; give others with --data or --split"
        )
    return evaluation, Evaluated(measured, shares)


def _tell(step: Step) -> None:
    removal = step.removal
    notice(
        f"{removal.block} without {' and '.join(removal.contexts)} ({removal.share:.2%} of its "
        f"tokens): {step.change:+.2f} points in all, {'removed' if step.accepted else 'kept'}, "
        f"{step.why}"
    )


def _deliver(
    result: PruningResult, opened: Opened, first: _Seen, settings: PruneSettings
) -> PruningResult:
    """Compare, save and evaluate the pruned model as it was saved."""
    pruned = pruned_model(opened.model, result.kept, first.means)
    parity = compare(opened.model, pruned, result.kept, first.means, first.images)
    save_model(result.out / MODEL, pruned, metrics={}, version=version("nommer"))
    loaded = _with(opened, read_model(result.out / MODEL))
    evaluation, _ = _evaluate(_with(opened, fuse(loaded.model)), settings, result.out)
    metrics = evaluation.report.summary()
    save_model(result.out / MODEL, loaded.model, metrics=metrics, version=version("nommer"))
    after = _save(loaded, evaluation, result.out, AFTER, settings)
    before = _save(opened, first.evaluation, result.out, BEFORE, settings)
    differences = compare_numbers(after, before, (result.out, settings.model), opened.task)
    device = torch_device(settings.device)
    paths = [sample.path for sample in opened.data.samples()]
    models = (opened.model.to(device), loaded.model.to(device))
    cost = measure(*models, first.images, paths)
    return replace(result, comparison=differences, cost=cost, parity=parity)


def _save(
    opened: Opened, evaluation: Evaluation, out: Path, name: str, settings: PruneSettings
) -> Decided:
    folder = out / name
    folder.mkdir()
    where = settings.model if name == BEFORE else out
    computation = computation_of(opened.model, opened.precision, settings.device)
    facts: Mapping[str, Any] = {"model": str(where), **opened.facts, **computation.to_dict()}
    return save_decided(opened.task, evaluation, opened.model, opened.data, folder, facts=facts)


def _facts(result: PruningResult, opened: Opened, settings: PruneSettings) -> dict[str, Any]:
    return {
        "model": str(settings.model),
        **opened.facts,
        "task": opened.task.name,
        "images": len(opened.data.samples()),
        "measure": opened.task.module.measure,
        "share": settings.share,
        "cost_in_points": settings.cost,
        "precision": opened.precision,
        "before": result.before,
        "kept": result.kept,
        "removed": result.removed,
        "steps": [asdict(step) for step in result.steps],
        "comparison": [row.to_dict() for row in result.comparison],
        "costs": result.cost.to_dict() if result.cost else None,
        "parity": result.parity.to_dict() if result.parity else None,
    }
