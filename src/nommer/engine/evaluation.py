"""Judging a model that is on disk, on labelled images that are too."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from nommer.data.audit import audit
from nommer.data.classification import ClassificationData, Loading
from nommer.data.formats.folders import ClassFolders, Split, read_class_folders, read_split, shorten
from nommer.data.transforms import Augmentation
from nommer.engine.judging import judge, save_judgement
from nommer.engine.metrics import ClassificationReport
from nommer.engine.run import RunFolder, check_outside, results_folder, run_of
from nommer.engine.settings import LARGEST_DEFAULT_BATCH, default_workers
from nommer.engine.trainer import Precision, one_device, quiet_lightning
from nommer.errors import InputError, check_minimum
from nommer.heads.storage import load
from nommer.progress import notice

SplitChoice = Literal["auto", "train", "val", "test", "all"]


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """The arguments of `nommer.evaluate`; see there."""

    model: Path
    data: Path | None
    split: SplitChoice
    out: Path | None
    batch_size: int | None
    device: str
    precision: Precision
    workers: int | None
    on_bad_sample: Literal["error", "skip"]
    overwrite: bool

    def __post_init__(self) -> None:
        for name in ("model", "data", "out"):  # text is as good where the call comes from Python
            if getattr(self, name) is not None:
                object.__setattr__(self, name, Path(getattr(self, name)))
        check_minimum("batch-size", self.batch_size, 1)
        check_minimum("workers", self.workers, 0)

    def loading(self, run: RunFolder) -> Loading:
        """How batches are put together: as in the run, for the size of a batch changes how sums are rounded."""
        workers = default_workers() if self.workers is None else self.workers
        batch_size = self.batch_size or run.read_config().get("batch_size") or LARGEST_DEFAULT_BATCH
        return Loading(batch_size=batch_size, workers=workers)

    def precision_of(self, run: RunFolder) -> Precision:
        """The number format asked for; "auto" is the run's own, so that the numbers are too."""
        recorded: Precision = run.read_config().get("precision", "auto")
        return recorded if self.precision == "auto" else self.precision


@dataclass(frozen=True)
class EvaluationResult:
    """A judgement, and where it is written."""

    report: ClassificationReport
    per_class: list[dict[str, Any]]
    """One row per class: images, recall, precision, F1, most frequent confusion."""
    out: Path


def evaluate_classifier(settings: EvaluationSettings) -> EvaluationResult:
    """Judge a model on disk, as `nommer.evaluate` describes."""
    model = load(settings.model)
    run = run_of(settings.model)
    root = settings.data or data_of_run(run)
    if settings.overwrite and settings.out:
        check_outside(root, settings.out)
    found = without_known_issues(read_class_folders(root, model.class_names), run)
    name, chosen = choose_split(found, settings.split, run=run)
    data = audit(chosen, on_bad_sample=settings.on_bad_sample, needs_every_class=False).data
    folder = results_folder(settings.model, "evaluate", settings.out, overwrite=settings.overwrite)
    RunFolder(folder).write_issues(data.issues)
    notice(f"{len(data.samples())} images of {root} ({name}){issues_hint(data)}{absent_hint(data)}")
    module = ClassificationData(
        data.samples(),
        data.samples(),
        preprocessing=model.preprocessing,
        augmentation=Augmentation(),
        loading=settings.loading(run),
    )
    with quiet_lightning():
        judgement = judge(
            model, module, device=one_device(settings.device), precision=settings.precision_of(run), out=folder
        )
    facts = {"model": str(settings.model), "data": str(root), "split": name}
    save_judgement(judgement, model, folder, facts=facts)
    return EvaluationResult(judgement.report, judgement.report.per_class(model.class_names), folder)


def issues_hint(data: ClassFolders) -> str:
    """How many issues there are and where they are listed; nothing where there are none."""
    count = len(data.issues)
    return f"; {count} issues, {data.left_out} files left out: see data_issues.jsonl" if count else ""


def absent_hint(data: ClassFolders) -> str:
    """Which of the model's classes the images lack; nothing where none is lacking."""
    present = {sample.label for sample in data.samples()}
    absent = [name for label, name in enumerate(data.class_names) if label not in present]
    return f"; {len(absent)} of the model's classes do not occur: {shorten(absent)}" if absent else ""


def is_data_of_run(data: ClassFolders, run: RunFolder) -> bool:
    """Whether the run was trained on this folder: the same place, or every file that the run wrote down."""
    if not run.split.is_file():
        return False
    trained_on = run.read_config().get("data")
    if trained_on is not None and Path(trained_on).resolve() == data.root.resolve():
        return True
    listed = {path for paths in read_split(data.root, run.split).values() for path in paths}
    return listed == {sample.path for sample in data.samples()}


def without_known_issues(data: ClassFolders, run: RunFolder) -> ClassFolders:
    """The run's own data without the images that training left out, each listed again; other data as it is."""
    if not is_data_of_run(data, run):
        return data
    known = {issue.file: issue for issue in run.read_issues() if issue.done.startswith("left out")}
    again = [
        replace(known[str(s.path)], done="left out, as in training") for s in data.samples() if str(s.path) in known
    ]
    splits = {split: tuple(s for s in part if str(s.path) not in known) for split, part in data.splits.items()}
    return replace(data, splits=splits, issues=(*data.issues, *again))


def data_of_run(run: RunFolder) -> Path:
    """The data that a run was trained on.

    Raises:
        InputError: not a run folder.
    """
    config = run.read_config()
    if "data" not in config:
        raise InputError(f"{run.path}: is no run folder, so it does not say what data to use; give --data")
    return Path(config["data"])


def choose_split(data: ClassFolders, split: SplitChoice, *, run: RunFolder) -> tuple[str, ClassFolders]:
    """The name of the split to judge, and the data with nothing but that split.

    "auto" is "val" where the data has it, or where the run split this data itself; otherwise everything.

    Raises:
        InputError: the data has no such split.
    """
    splits = with_split_of_run(data, run).splits
    if split == "all" or (split == "auto" and "val" not in splits):
        return "all", data
    chosen: Split = "val" if split == "auto" else split
    if chosen not in splits:
        raise InputError(f"{data.root}: has no split {chosen!r}; found {', '.join(splits)}; choose with --split")
    return chosen, replace(data, splits={chosen: splits[chosen]})


def with_split_of_run(data: ClassFolders, run: RunFolder) -> ClassFolders:
    """Data without splits of its own, split as the run that was trained on it wrote down."""
    if set(data.splits) != {"train"} or not is_data_of_run(data, run):
        return data
    held = read_split(data.root, run.split).get("val", set())
    val = tuple(sample for sample in data.splits["train"] if sample.path in held)
    if not val:
        return data
    train = tuple(sample for sample in data.splits["train"] if sample.path not in held)
    return replace(data, splits={"train": train, "val": val})
