"""The study of a data set: nominations, where, and whether they matter; tables and a report."""

import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nommer.errors import InputError
from nommer.files import write_csv, write_json
from nommer.inference.evaluation import Opened, open_model_and_data
from nommer.models.storage import nommer_of
from nommer.nominations.explanation import Explanation
from nommer.nominations.trace import holds_nominations
from nommer.progress import notice
from nommer.runs.folder import RunFolder
from nommer.runs.results_folder import results_folder
from nommer.settings.explain import ExplainSettings
from nommer.studies.effects import draw_images, measure_effects
from nommer.studies.examples import explain_examples, token_rows
from nommer.studies.faithfulness import Faithfulness, measure_faithfulness
from nommer.studies.found import Found
from nommer.studies.pattern import Rows, observe
from nommer.studies.report import save_report
from nommer.tasks.data import Data
from nommer.tasks.module import Report

MOST_IMAGES = 200
"""Images on which interventions are evaluated, by default."""


@dataclass(frozen=True)
class StudyResult:
    """Findings about a data set, and the folder they are written to."""

    task: str
    measure: str
    """Number of the report by which effects are told."""
    report: Report
    """The evaluation of the model as it is, on all images."""
    tables: dict[str, Rows]
    """By name, each also a CSV file of this name: "blocks", "interventions" and so on."""
    absent: dict[str, str] = field(default_factory=dict)
    """Tables that could not be had, and why."""
    out: Path = Path()


def study_data(settings: ExplainSettings) -> StudyResult:
    """Study what a model nominates on a data set, as `nommer.explain` describes."""
    opened = open_model_and_data(settings.evaluation())
    path = settings.model
    nommer_of(opened.model, path)
    opened.task.study()
    if not holds_nominations(opened.model):
        raise InputError(
            f"{path}: this network has no nominator, so there are no nominations to study"
        )
    folder = results_folder(path, "explain", settings.out, overwrite=settings.overwrite)
    with whole_or_gone(folder):
        RunFolder(folder).write_issues(opened.data.issues)
        opened.notice()
        chosen = draw_images(opened.data, settings.most_images or MOST_IMAGES, seed=settings.seed)
        notice(
            f"nominations on all images; interventions on {len(chosen.samples())} of them "
            "(--most-images), drawn with "
            f"seed {settings.seed}"
        )
        return _study(opened, chosen, settings, folder)


def _study(opened: Opened, chosen: Data, settings: ExplainSettings, folder: Path) -> StudyResult:
    seed, how = settings.seed, settings.evaluation()
    pattern, evaluation = observe(opened, how, folder, seed=seed)
    effects = measure_effects(opened, chosen, how, folder, seed=seed)
    faithfulness = measure_faithfulness(opened, chosen, how, seed=seed)
    examples = explain_examples(opened.model, chosen.samples())
    tokens = token_rows(examples, str(opened.root))
    tables = {**pattern.tables, "interventions": effects.rows, **faithfulness.tables}
    tables |= {"tokens": tokens} if tokens else {}
    absent = {**pattern.absent, **effects.absent, **faithfulness.absent}
    result = StudyResult(
        opened.task.name, opened.task.module.measure, evaluation.report, tables, absent, folder
    )
    config = nommer_of(opened.model, settings.model).config
    facts = {
        "model": str(settings.model),
        **opened.facts,
        "task": result.task,
        "images": len(opened.data.samples()),
        "images_judged": len(chosen.samples()),
        "shrunk": pattern.shrunk,
        "token": pattern.token,
        "seed": seed,
        "contexts": list(config.contexts),
        "fusion": config.fusion,
        "measure": opened.task.module.measure,
        "measure_name": opened.task.module.measure_name,
    }
    _write(result, opened, examples, faithfulness, facts)
    return result


def _write(
    result: StudyResult,
    opened: Opened,
    examples: Sequence[Explanation],
    faithfulness: Faithfulness,
    facts: dict[str, Any],
) -> None:
    for name, rows in result.tables.items():
        write_csv(result.out / f"{name}.csv", rows)
    numbers = {
        **facts,
        "judgement": result.report.summary(),
        "tables": result.tables,
        "absent": result.absent,
    }
    write_json(result.out / "result.json", numbers)
    found = Found(
        result.tables,
        result.absent,
        opened.task.study().wording,
        facts,
        command=_command(),
        explanations=examples,
        decisions=faithfulness.decisions,
        normalisation=opened.model.preprocessing,
        class_names=opened.model.class_names,
    )
    save_report(found, result.out / "report.html")


def _command() -> str:
    """As it was typed, without the folder that the program is in."""
    program = Path(sys.argv[0]).name
    return shlex.join(["nommer" if program == "__main__.py" else program, *sys.argv[1:]])


@contextmanager
def whole_or_gone(folder: Path) -> Iterator[None]:
    """Make a folder for results, deleted again where they cannot be finished or are stopped."""
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
