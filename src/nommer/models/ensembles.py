"""Ensembles: the models of several folds as one, whose answers are the mean of theirs.

An ensemble is a network whose members are models, so everything that answers with a network answers
with it too.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from nommer.errors import InputError
from nommer.models.decisions import Decisions
from nommer.models.recogniser import Recogniser


def folds_of(folder: Path) -> list[Path]:
    """Return the run folders of a finished training in folds; none of any other folder.

    Raises:
        InputError: it is not finished.
    """
    if not (folder / "fold-0").is_dir():
        return []
    try:
        return [folder / f"fold-{one['fold']}" for one in _told(folder)["folds"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder}: is a training in folds that has not finished; go on with it by --resume, "
            "or give one of its folds, such as fold-0 in it"
        ) from error


def with_thresholds_of(folder: Path, together: Recogniser) -> Recogniser:
    """Give an ensemble the thresholds that were found on the answers of all its folds, if any.

    Raises:
        InputError: they are damaged.
    """
    told = {**_told(folder), "class_names": together.class_names}
    if "decisions" in told:
        try:
            together.decisions = Decisions.of(told)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"{folder / 'result.json'}: damaged decisions ({error}); delete it, and go on with "
                "the folds by --resume, which writes it again"
            ) from error
    return together


def _told(folder: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return told


def ensemble_of(members: Sequence[Recogniser], names: Sequence[Path]) -> Recogniser:
    """Return models as one, of the kind that they are.

    Args:
        members: of one task, in evaluation mode.
        names: their folders, for errors.

    Raises:
        InputError: models that differ in classes or in how images are prepared.
    """
    first = members[0]
    if first.ensemble_network is None:
        raise InputError(f"{names[0]}: answers nothing, so there is no ensemble of such models")
    for other, name in zip(members, names, strict=True):
        mine, its = (
            {
                "task": one.task,
                "classes": list(one.class_names),
                "preprocessing": one.preprocessing.to_dict(),
            }
            for one in (first, other)
        )
        for what, value in mine.items():
            if its[what] != value:
                raise InputError(
                    f"{name}: has another {what} than {names[0]}, {its[what]} in the place of "
                    f"{value}; an ensemble is of models of one training"
                )
    description = {
        "class_names": first.class_names,
        "preprocessing": first.preprocessing.to_dict(),
        **first.labels(),
    }
    together = type(first).of(first.ensemble_network(members), description)
    together.decisions = _decisions([one.decisions for one in members])
    return together.eval()


def _decisions(each: Sequence[Decisions]) -> Decisions:
    """Return the mean of the members' thresholds; their temperatures are applied before."""
    thresholds = [one.threshold for one in each if one.threshold is not None]
    classes = [one.class_thresholds for one in each]
    of_classes = zip(*classes, strict=True) if all(classes) else ()
    return Decisions(
        threshold=mean(thresholds) if len(thresholds) == len(each) else None,
        class_thresholds=tuple(map(mean, of_classes)),
        images=sum(one.images for one in each),
    )
