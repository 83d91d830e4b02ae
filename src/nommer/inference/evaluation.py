"""Evaluating a model that is on disk, on labelled images that are too."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import lightning as L

from nommer.data.formats.labelled import Split, read_split
from nommer.data.formats.source import Source
from nommer.data.module import Loading
from nommer.data.remote import where
from nommer.distributed.devices import one_device
from nommer.distributed.trainer import quiet_lightning
from nommer.errors import InputError
from nommer.files import real_path
from nommer.inference.inputs import data_of_run
from nommer.inference.precision import precision_for
from nommer.models.features import refusal
from nommer.models.storage import Model, load
from nommer.progress import notice
from nommer.runs.folder import RunFolder, run_of
from nommer.runs.results import check_outside
from nommer.settings.addresses import written
from nommer.settings.choices import Precision, SplitChoice
from nommer.settings.evaluate import EvaluateSettings
from nommer.settings.labels import LabelOptions
from nommer.settings.train_defaults import default_workers
from nommer.tasks.data import Data
from nommer.tasks.evaluation import Evaluation, evaluate
from nommer.tasks.registry import task_for, task_of
from nommer.tasks.task import Task


def classes_for(settings: EvaluateSettings, root: Path, run: RunFolder) -> Path | None:
    """Return the file of class names and colours.

    The one asked for, or for a run's own data the run's own.
    """
    trained = run.settings()
    own = trained is not None and real_path(trained.data) == real_path(root)
    return trained.classes if settings.classes is None and trained and own else settings.classes


def labels_for(settings: EvaluateSettings, root: Path, run: RunFolder) -> LabelOptions:
    """Return how labels are read: as asked for, or for a run's own data as the run read them."""
    trained = run.settings()
    if settings.labels != LabelOptions() or trained is None:
        return settings.labels
    return trained.labels if real_path(trained.data) == real_path(root) else settings.labels


def loading_of(settings: EvaluateSettings, run: RunFolder, largest_batch: int) -> Loading:
    """Return how batches are put together.

    As in the run, for the size of a batch changes how sums are rounded.
    """
    workers = default_workers() if settings.workers is None else settings.workers
    trained = run.settings()
    of_run = trained.images_per_step if trained and trained.batch_size else largest_batch
    return Loading(batch_size=settings.batch_size or of_run, workers=workers)


@dataclass(frozen=True)
class Opened:
    """A model and the audited data that it is to be evaluated on."""

    model: Model
    task: Task
    run: RunFolder
    root: Path
    """Of the data."""
    split: str
    data: Data
    precision: Precision
    """In which it is computed; never auto."""

    @property
    def facts(self) -> dict[str, str]:
        """The data and their split, for the results."""
        return {"data": written(self.root), "split": self.split}

    def notice(self) -> None:
        """Say what is used."""
        absent = self.task.data.absent_hint(self.data)
        notice(
            f"{len(self.data.samples())} images of {written(self.root)} "
            f"({self.split}){issues_hint(self.data)}{absent}"
        )

    def evaluate(
        self,
        data: Data,
        settings: EvaluateSettings,
        out: Path,
        *,
        callbacks: Sequence[L.Callback] = (),
    ) -> Evaluation:
        """Evaluate the model on `data`, all of the opened data or a part of it."""
        module = self.task.module.for_evaluation(self.model, data, settings.inference)
        module.finds_decisions = settings.calibrate
        with quiet_lightning():
            return evaluate(
                module,
                self.task.data.evaluation(
                    data,
                    self.model,
                    loading_of(settings, self.run, self.task.largest_default_batch),
                ),
                device=one_device(settings.device),
                precision=self.precision,
                out=out,
                callbacks=callbacks,
            )


def open_model_and_data(settings: EvaluateSettings) -> Opened:
    """Load the model, find its data and read every sample once.

    Raises:
        InputError: anything that does not fit.
    """
    model = load(settings.model)
    task = task_of(model)
    task.check_inference(settings.inference)
    run = run_of(settings.model)
    precision = precision_for(model, settings.precision, run, settings.device)
    root = settings.data or data_of_run(run)
    if settings.overwrite and settings.out:
        check_outside(root, settings.out)
    source = Source(root, classes_for(settings, root, run), labels_for(settings, root, run))
    check_task(source, task)
    read = read_for(model, task, source)
    name, chosen = choose_split(without_known_issues(read, run), settings.split, run=run)
    check_unseen(settings, name, root, run)
    data = task.data.audit(chosen, task.data.auditing_for(model, settings.on_bad_sample)).data
    return Opened(model, task, run, root, name, data, precision)


def read_for(model: Model, task: Task, source: Source) -> Data:
    """Find labelled images whose classes are the model's, by name or, where it has ids too, by id.

    Raises:
        InputError: nothing there that fits a layout, or classes that the model lacks.
    """
    usual, *others = model.names_in_data
    try:
        return task.data.read(source, usual)
    except InputError:
        for names in others:
            with suppress(InputError):
                read = task.data.read(source, names)
                return replace(read, class_names=usual)
        raise


def check_task(source: Source, task: Task) -> None:
    """Refuse data of another task than the model's.

    Raises:
        InputError: what the data is for, and what the model does; or it answers nothing.
    """
    if not task.answers:
        raise InputError(refusal())
    found = task_for(source).name
    if found != task.name:
        raise InputError(f"{source.root}: is laid out for {found}, but the model does {task.name}")


def issues_hint(data: Data) -> str:
    """Say how many issues there are and where they are listed; nothing where there are none."""
    count = len(data.issues)
    return (
        f"; {count} issues, {data.left_out} files left out: see data_issues.jsonl" if count else ""
    )


def is_data_of_run(data: Data, run: RunFolder) -> bool:
    """Tell if the run was trained on this folder.

    The same place, or every file that the run wrote down.
    """
    if not run.split.is_file():
        return False
    trained = run.settings()
    if trained is not None and real_path(where(trained.data)) == real_path(data.root):
        return True
    listed = {path for paths in read_split(data.root, run.split).values() for path in paths}
    return listed == {sample.path for sample in data.samples()}


def without_known_issues(data: Data, run: RunFolder) -> Data:
    """The run's own data without the images that training left out, each listed again.

    Other data as it is.
    """
    if not is_data_of_run(data, run):
        return data
    trained = run.settings()
    trained_on = replace(data, root=where(trained.data) if trained else data.root)
    left_out = [issue for issue in run.read_issues() if issue.done.startswith("left out")]
    known = {trained_on.name_of(Path(issue.file)): issue for issue in left_out}
    names = {sample.path: data.name_of(sample.path) for sample in data.samples()}
    again = [
        replace(known[name], file=str(path), done="left out, as in training")
        for path, name in names.items()
        if name in known
    ]
    splits = {
        split: tuple(s for s in part if names[s.path] not in known)
        for split, part in data.splits.items()
    }
    return replace(data, splits=splits, issues=(*data.issues, *again))


def choose_split(data: Data, split: SplitChoice, *, run: RunFolder) -> tuple[str, Data]:
    """The name of the split to evaluate on, and the data with nothing but that split.

    "auto" is "val" where the data has it, or where the run split this data itself; otherwise
    everything.

    Raises:
        InputError: the data has no such split.
    """
    splits = with_split_of_run(data, run).splits
    if split == "all" or (split == "auto" and "val" not in splits):
        return "all", data
    chosen: Split = "val" if split == "auto" else split
    if chosen not in splits:
        raise InputError(
            f"{data.root}: has no split {chosen!r}; found {', '.join(splits)}; choose with --split"
        )
    return chosen, replace(data, splits={chosen: splits[chosen]})


def check_unseen(settings: EvaluateSettings, split: str, root: Path, run: RunFolder) -> None:
    """Refuse to evaluate an ensemble of folds, unasked, on images that its members learned from.

    Raises:
        InputError: they are those of its training, and there are no others.
    """
    trained = run.settings()
    if trained is None or not trained.several_runs or real_path(trained.data) != real_path(root):
        return
    if settings.split == "auto" and split == "all":
        raise InputError(
            f"{run.path}: is an ensemble of folds, and each image of {root} was learned from by "
            "all of them but one; give other images with --data. Its numbers on images that each "
            "fold held back are in result.json there"
        )


def with_split_of_run(data: Data, run: RunFolder) -> Data:
    """Data without splits of its own, split as the run that was trained on it wrote down."""
    if set(data.splits) != {"train"} or not is_data_of_run(data, run):
        return data
    held = read_split(data.root, run.split).get("val", set())
    val = tuple(sample for sample in data.splits["train"] if sample.path in held)
    if not val:
        return data
    train = tuple(sample for sample in data.splits["train"] if sample.path not in held)
    return replace(data, splits={"train": train, "val": val})
