"""Judging a model that is on disk, on labelled images that are too."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import yaml

from nommer.data.audit import audit
from nommer.data.classification import ClassificationData, Loading
from nommer.data.formats.folders import ClassFolders, Split, read_class_folders, read_split
from nommer.data.transforms import Augmentation
from nommer.engine.judging import Judgement, judge, save_judgement
from nommer.engine.run import RunFolder, results_folder
from nommer.engine.settings import LARGEST_DEFAULT_BATCH, default_workers
from nommer.engine.trainer import quiet_lightning
from nommer.errors import InputError
from nommer.heads.storage import load
from nommer.progress import notice

SplitChoice = Literal["auto", "train", "val", "test", "all"]


def evaluate_classifier(
    model: Path,
    *,
    data: Path | None,
    split: SplitChoice,
    out: Path | None,
    batch_size: int | None,
    device: str,
    precision: str,
    workers: int | None,
    on_bad_sample: str,
    overwrite: bool,
) -> tuple[Judgement, Path]:
    """Judge as `nommer.evaluate` describes; returns the judgement and the folder where it is written."""
    classifier = load(model)
    root = data or data_of_run(model)
    name, chosen = choose_split(read_class_folders(root, classifier.class_names), split, run=RunFolder(model))
    found = audit(chosen, on_bad_sample=on_bad_sample, needs_every_class=False).data
    samples = found.samples()
    folder = results_folder(model, "evaluate", out, overwrite=overwrite)
    RunFolder(folder).write_issues(found.issues)
    left_out = len(found.issues)
    notice(f"{len(samples)} images of {root} ({name})" + (f", {left_out} issues: see data_issues.jsonl" if left_out else ""))
    module = ClassificationData(
        samples,
        samples,
        preprocessing=classifier.preprocessing,
        augmentation=Augmentation(),
        loading=Loading(
            batch_size=batch_size or LARGEST_DEFAULT_BATCH, workers=default_workers() if workers is None else workers
        ),
    )
    with quiet_lightning():
        judgement = judge(classifier, module, device=device, precision=precision, out=folder)
    save_judgement(judgement, classifier, folder, facts={"model": str(model), "data": str(root), "split": name})
    return judgement, folder


def data_of_run(model: Path) -> Path:
    """The data that the run in `model` was trained on.

    Raises:
        InputError: not a run folder.
    """
    config = RunFolder(model).config
    if not config.is_file():
        raise InputError(f"{model}: is no run folder, so it does not say what data to use; give --data")
    return Path(yaml.safe_load(config.read_text(encoding="utf-8"))["data"])


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
    if set(data.splits) != {"train"} or not run.split.is_file():
        return data
    held = read_split(data.root, run.split).get("val", set())
    val = tuple(sample for sample in data.splits["train"] if sample.path in held)
    if not val:
        return data
    train = tuple(sample for sample in data.splits["train"] if sample.path not in held)
    return replace(data, splits={"train": train, "val": val})
