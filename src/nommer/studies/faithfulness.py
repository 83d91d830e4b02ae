"""Faithfulness of explanations to a classifier's decisions, over some images of a data set."""

from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, cast

import torch
from torch import Tensor

from nommer.distributed.devices import torch_device
from nommer.inference.evaluation import Opened, loading_of
from nommer.intervals import mean_with_interval
from nommer.models.classification import Classifier
from nommer.nominations.faithfulness import (
    STEPS,
    area,
    attributions,
    context_maps,
    probabilities,
    removal_curve,
    sensitivity,
)
from nommer.nominations.trace import nominator_blocks
from nommer.progress import track
from nommer.settings.evaluate import EvaluateSettings
from nommer.studies.effects import draw_images
from nommer.studies.pattern import Rows
from nommer.tasks.data import Data

MOST_IMAGES = 48
"""Images whose decisions are looked into; each takes hundreds of forward passes."""

NOT_CLASSIFICATION = (
    "only a classifier gives one answer per image whose probability could be followed"
)
NO_GLOBAL = "the network has no global context, whose maps are compared"
NO_CAPTUM = (
    "Captum is not installed; pip install 'nommer[explain]' for the attributions to compare with"
)

SENSITIVITY = "nominations that matter"
GLOBAL_SHARE = "share of the global context"
RANDOM = "random order"


@dataclass(frozen=True)
class Decisions:
    """Sensitivity of some decisions, and curves."""

    images: Tensor
    """(n, 3, H, W), prepared, on the CPU."""
    answers: list[int]
    samples: tuple[Any, ...]
    sensitivities: Tensor
    """(n, 8, 8): how much less probable the answer is with second choices nominated in a cell."""


@dataclass(frozen=True)
class Faithfulness:
    """Return deletion and insertion curves by table, reasons for absent ones, and decisions."""

    tables: dict[str, Rows] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    decisions: Decisions | None = None


def measure_faithfulness(
    opened: Opened, data: Data, settings: EvaluateSettings, *, seed: int
) -> Faithfulness:
    """Look into decisions on at most 48 of the images of `data`."""
    model = opened.model
    if not model.has_one_answer:
        return Faithfulness(
            absent=dict.fromkeys(("sensitivity", "curves", "areas"), NOT_CLASSIFICATION)
        )
    classifier = cast("Classifier", model)
    chosen = draw_images(data, MOST_IMAGES, seed=seed)
    batches = opened.task.data.evaluation(chosen, model, loading_of(settings, opened.run, 1)).val
    device = torch_device(settings.device)
    images = torch.stack([batches[index].images for index in range(len(batches))]).to(device)
    model.to(device).eval()
    try:
        answers = probabilities(classifier, images).argmax(1)
        pairs = track(
            zip(images, answers.tolist(), strict=True),
            total=len(images),
            what="changing nominations",
        )
        sensitivities = torch.stack(
            [sensitivity(classifier, image, answer) for image, answer in pairs]
        )
        curves = _curves(classifier, images, answers, sensitivities, seed)
    finally:
        model.cpu()
    decisions = Decisions(images.cpu(), answers.tolist(), chosen.samples(), sensitivities)
    tables = {
        "sensitivity": _sensitivity_rows(decisions),
        "curves": _curve_rows(curves, seed),
        "areas": _area_rows(curves, seed),
    }
    absent = {} if find_spec("captum") else {"attributions": NO_CAPTUM}
    if GLOBAL_SHARE not in {name for name, _ in curves}:
        absent["context_maps"] = NO_GLOBAL
    return Faithfulness(tables, absent, decisions)


Curves = dict[tuple[str, str], Tensor]
"""By order and way ("deletion", "insertion"): (images, 17) probabilities of the answers."""


def _curves(
    model: Classifier, images: Tensor, answers: Tensor, sensitivities: Tensor, seed: int
) -> Curves:
    maps = {SENSITIVITY: sensitivities}
    if all("global" in nomination.contexts for nomination in nominator_blocks(model).values()):
        share, likely = context_maps(model, images)
        maps |= {GLOBAL_SHARE: share, "probability of the global context": likely}
    if find_spec("captum"):
        maps |= attributions(model, images, answers)
    maps[RANDOM] = torch.zeros_like(sensitivities)
    jobs = [(name, way) for name in maps for way in ("deletion", "insertion")]
    return {
        (name, way): removal_curve(
            model, images, answers, maps[name], insert=way == "insertion", seed=seed
        )
        for name, way in track(jobs, total=len(jobs), what="deleting and inserting")
    }


def _sensitivity_rows(decisions: Decisions) -> Rows:
    return [
        {
            "file": str(sample.path),
            "row": row,
            "column": column,
            "less_probable_by": round(value, 6),
        }
        for sample, map_ in zip(decisions.samples, decisions.sensitivities.tolist(), strict=True)
        for row, values in enumerate(map_)
        for column, value in enumerate(values)
    ]


def _curve_rows(curves: Curves, seed: int) -> Rows:
    rows = []
    for (name, way), values in curves.items():
        for step in range(STEPS + 1):
            numbers = _interval("probability", values[:, step], seed)
            rows.append({"order": name, "way": way, "share_of_cells": step / STEPS, **numbers})
    return rows


def _area_rows(curves: Curves, seed: int) -> Rows:
    rows = []
    for (name, way), values in curves.items():
        areas = area(values)
        against = _interval(
            "against_random", areas - area(curves[RANDOM, way]), seed
        )  # paired, image by image
        rows.append(
            {
                "order": name,
                "way": way,
                "images": len(areas),
                **_interval("area", areas, seed),
                **against,
            }
        )
    return rows


def _interval(name: str, values: Tensor, seed: int) -> dict[str, Any]:
    mean, low, high = mean_with_interval(values.double().numpy(), seed=seed)
    return {name: mean, f"{name}_low": low, f"{name}_high": high}
