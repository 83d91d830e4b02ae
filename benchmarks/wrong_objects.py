"""Labels of boxes and masks spoilt on purpose: how many of them doubts about labels find.

    python benchmarks/wrong_objects.py nommer_nano.bccd --data BCCD --splits val test
    python benchmarks/wrong_objects.py runs/camvid --data CAMVID --splits val test

A model answers images that it did not learn from, once. Then the label of 5 % of the images is
spoilt: one object gets another class, is left out or is moved by half its size; in a mask one class
becomes another. Told is the share of the spoilt ones among the first 5 % of the ranking of
`nommer train --folds`, with other images spoilt each time, and where the images are ranked by how
badly the answer itself was, before anything was spoilt.
"""

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nommer.inference.evaluation import open_model_and_data
from nommer.settings.evaluate import EvaluateSettings
from nommer.tasks.evaluation import Evaluation

SHARE = 0.05


def swapped(one: Any, chance: np.random.Generator, classes: int) -> Any:
    """Give one object another class."""
    at, labels = chance.integers(len(one.true_labels)), one.true_labels.clone()
    labels[at] = (labels[at] + 1 + chance.integers(classes - 1)) % classes
    return replace(one, true_labels=labels)


def left_out(one: Any, chance: np.random.Generator, classes: int) -> Any:
    """Leave out one object."""
    kept = torch.arange(len(one.true_labels)) != int(chance.integers(len(one.true_labels)))
    crowd = one.crowd[kept] if len(one.crowd) else one.crowd
    return replace(
        one, true_labels=one.true_labels[kept], true_boxes=one.true_boxes[kept], crowd=crowd
    )


def moved(one: Any, chance: np.random.Generator, classes: int) -> Any:
    """Move one object by half its size, to the right or to the left."""
    at, boxes = chance.integers(len(one.true_labels)), one.true_boxes.clone()
    width = (boxes[at, 2] - boxes[at, 0]) * float(chance.choice([-0.5, 0.5]))
    boxes[at, [0, 2]] += width
    return replace(one, true_boxes=boxes)


def renamed(one: Any, chance: np.random.Generator, classes: int) -> Any:
    """Give one class of a mask, which has a twentieth of the pixels or more, another name."""
    found, counts = one.truth.unique(return_counts=True)
    large = found[counts >= len(one.truth) / 20].tolist()
    label, truth = int(chance.choice(large)), one.truth.clone()
    truth[one.truth == label] = (label + 1 + int(chance.integers(classes - 1))) % classes
    return one._replace(truth=truth)


def evaluate(model: Path, data: Path, splits: list[str]) -> tuple[Any, Evaluation]:
    """Answer all images of some splits."""
    parts = []
    for split in splits:
        settings = EvaluateSettings(model, data=data, split=split, workers=0, device="cpu")
        opened = open_model_and_data(settings)
        with tempfile.TemporaryDirectory() as out:
            parts.append(opened.evaluate(opened.data, settings, Path(out)))
    names = ("samples", "answers", "evidence")
    joined = {name: sum((getattr(part, name) for part in parts), ()) for name in names}
    return opened, replace(parts[0], **joined)


def main() -> None:
    """Evaluate once, spoil often, and count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--splits", nargs="+", default=["val", "test"])
    parser.add_argument("--times", type=int, default=20)
    told = parser.parse_args()
    opened, evaluation = evaluate(told.model, told.data, told.splits)
    task, model = opened.task, opened.model
    name = "evidence" if task.name == "segmentation" else "answers"
    kinds: list[Callable[..., Any]] = (
        [renamed] if name == "evidence" else [swapped, left_out, moved]
    )
    kept, count = getattr(evaluation, name), len(evaluation.samples)
    first = max(1, round(SHARE * count))

    def order(changed: Evaluation) -> list[str]:
        rows = task.results.held_out(changed, model)
        return [doubt.file for doubt in task.results.doubts(rows, model.class_names)]

    as_it_was = order(evaluation)[:first]
    print(f"{count} images, {first} of them spoilt, {told.times} times; by chance {SHARE:.0%}")
    for kind in kinds:
        found, before = [], []
        for seed in range(told.times):
            chance = np.random.default_rng(seed)
            spoilt = set(chance.choice(count, first, replace=False).tolist())
            changed = tuple(
                kind(one, chance, len(model.class_names)) if at in spoilt else one
                for at, one in enumerate(kept)
            )
            files = {str(evaluation.samples[at].path) for at in spoilt}
            ranked = order(replace(evaluation, **{name: changed}))[:first]
            found.append(len(files & set(ranked)) / first)
            before.append(len(files & set(as_it_was)) / first)
        print(
            f"{kind.__name__}: {np.mean(found):.0%} (between times {np.std(found):.0%}); by the "
            f"answers before anything was spoilt {np.mean(before):.0%}",
            flush=True,
        )


if __name__ == "__main__":
    main()
