"""Sections of a study's report on whether nominations matter: interventions, decisions, curves."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from torchvision.transforms.v2.functional import to_pil_image

from nommer.intervals import RESAMPLES
from nommer.report import Page
from nommer.studies import wording
from nommer.studies.effects import AS_IT_IS, EVERYWHERE
from nommer.studies.examples import spread
from nommer.studies.figures import (
    curves_figure,
    matrix_figure,
    sensitivity_figure,
)
from nommer.studies.found import Found, with_interval


def tell_effects(page: Page, found: Found) -> None:
    """Add the model's number with other nominations."""
    rows, facts = found.tables["interventions"], found.facts
    parts = tuple(dict.fromkeys(row["part"] for row in rows if row["part"] != EVERYWHERE))
    told = {name: facts[name] for name in ("fusion", "images_judged", "seed", "measure_name")}
    page.section("Does it matter?", wording.effects(**told, parts=parts, resamples=RESAMPLES))
    changed = [row for row in rows if row["block"] != AS_IT_IS]
    places = list(dict.fromkeys(_place(row) for row in changed))
    kinds = list(dict.fromkeys(row["intervention"] for row in changed))
    changes = np.full((len(places), len(kinds)), np.nan)
    for row in changed:
        changes[places.index(_place(row)), kinds.index(row["intervention"])] = row["change"]
    page.figure(
        matrix_figure(places, changes, columns=kinds, label=f"change of {facts['measure_name']}"),
        caption=f"Change of {facts['measure_name']} when a block, or all of them, nominate "
        "something else.",
        alt="; ".join(
            f"{_place(row)}, {row['intervention']}: {with_interval(row, 'change')}"
            for row in changed
        ),
    )
    named = dict.fromkeys(name for row in changed for name in row if not name.endswith(_ENDS))
    numbers = [name for name in named if name not in ("block", "part", "intervention")]
    page.table(
        ["block", "nominated instead", *(name.replace("_", " ") for name in numbers)],
        [
            [
                _place(row),
                row["intervention"],
                *(with_interval(row, n) if n in row else None for n in numbers),
            ]
            for row in rows
        ],
        caption="The first row is the model as it is: interventions.csv.",
    )


def _place(row: Mapping[str, Any]) -> str:
    """The blocks, and the part of the images, that nominate otherwise."""
    return str(row["block"]) if row["part"] == EVERYWHERE else f"{row['block']}, {row['part']}"


def tell_decisions(page: Page, found: Found) -> None:
    """Add maps of the nominations that single answers hang on."""
    decisions = found.decisions
    if decisions is None or found.normalisation is None:
        return
    page.section("Which nominations a decision hangs on", wording.DECISIONS)
    pictures = [
        (
            to_pil_image(found.normalisation.denormalise(decisions.images[index])),
            decisions.sensitivities[index],
            f"{decisions.samples[index].path.name}: {found.class_names[decisions.answers[index]]}",
        )
        for index in spread(len(decisions.answers), _EXAMPLES)
    ]
    page.figure(
        sensitivity_figure(pictures),
        caption="Red: without the nominations made here the answer is less probable; blue: more. "
        "All: sensitivity.csv.",
        alt="; ".join(
            f"{caption}: at most {float(map_.max()):+.3f}" for _, map_, caption in pictures
        ),
    )


def tell_curves(page: Page, found: Found) -> None:
    """Add deletion and insertion curves of those maps and others."""
    if "curves" not in found.tables:
        return
    rows = found.tables["areas"]
    page.section(
        "Do maps of nominations tell what matters?", wording.CURVES.format(images=rows[0]["images"])
    )
    page.figure(
        curves_figure(found.tables["curves"]),
        caption="Mean probability of the answers while cells are deleted, and inserted: "
        "curves.csv.",
        alt="; ".join(f"{row['order']}, {row['way']}: area {row['area']:.3f}" for row in rows),
    )
    page.table(
        ["order of the cells", "way", "area", "difference to random order"],
        [
            [
                row["order"],
                row["way"],
                with_interval(row, "area"),
                with_interval(row, "against_random"),
            ]
            for row in rows
        ],
        caption="Area under the curve. Deletion: the smaller, the better the map; insertion: the "
        "larger. areas.csv",
    )


_ENDS = ("_low", "_high")

_EXAMPLES = 6
