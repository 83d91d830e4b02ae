"""The report of a study: what was found, for somebody who has not read the paper."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nommer.backbone.contexts import CONTEXTS
from nommer.intervals import RESAMPLES
from nommer.report import Page
from nommer.studies import wording
from nommer.studies.effects import ALL_BLOCKS, EVERYWHERE
from nommer.studies.examples import say_tokens, short_name, shortened
from nommer.studies.figures import (
    MOST_GROUPS,
    epochs_figure,
    matrix_figure,
    shares_figure,
    shown_groups,
)
from nommer.studies.found import Found, with_interval
from nommer.studies.pattern import Rows
from nommer.studies.report_effects import tell_curves, tell_decisions, tell_effects


def save_report(found: Found, path: Path) -> None:
    """Write the page, whole or not at all."""
    facts = found.facts
    where = f"{facts['images']} images of {facts['data']} ({facts['split']})"
    summary = f"What {facts['model']} nominates on {where}."
    page = Page("The working pattern", summary=f"{summary}\n\n{takeaway(found)}")
    page.text(
        wording.introduction(
            contexts=facts["contexts"],
            fusion=facts["fusion"],
            resamples=RESAMPLES,
            seed=facts["seed"],
        )
    )
    if facts["shrunk"]:
        page.text(
            f"{facts['shrunk']} images are too large to be seen whole; they were shrunk to two "
            "million pixels."
        )
    page.command(found.command)
    _tell_shares(page, found)
    _show_examples(page, found)
    for name in wording.FACETS:
        _tell_facet(page, found, name)
    _tell_agreement(page, found)
    tell_effects(page, found)
    tell_decisions(page, found)
    tell_curves(page, found)
    if found.absent:
        page.section("What could not be had")
        page.table(
            ["what", "why"],
            [[wording.NAMES[name], why] for name, why in found.absent.items()],
            caption="Left out.",
        )
    page.save(path)


def takeaway(found: Found) -> str:
    """The largest share of every block, and what happens without any choice, in a sentence each."""
    sentences = []
    for row in found.tables["blocks"]:
        context = max(CONTEXTS, key=lambda name: row[name])
        sentences.append(f"{row['block']}: mostly {context} ({row[context]:.0%} of the tokens).")
    rows = found.tables.get("interventions", ())
    effects = [row for row in rows if (row["block"], row["part"]) == (ALL_BLOCKS, EVERYWHERE)]
    measured = [row for row in effects if row["change"] is not None]
    worst = min(measured, key=lambda row: row["change"], default=None)
    if worst is not None and worst["change"] < 0:
        kind, measure = wording.KIND_NAMES[worst["intervention"]], found.facts["measure_name"]
        sentences.append(
            f"What costs most {measure} is to nominate {kind} in all blocks: "
            f"{worst['change']:+.3f}."
        )
    elif worst is not None:
        sentences.append(
            "Nothing that was nominated instead, in all blocks, lowers "
            f"{found.facts['measure_name']}."
        )
    return " ".join(sentences)


def _tell_shares(page: Page, found: Found) -> None:
    rows, contexts = found.tables["blocks"], found.facts["contexts"]
    page.section("How often each context is nominated", wording.SHARES)
    page.figure(
        shares_figure(rows, "tokens", group="block", contexts=contexts),
        caption="Share of the tokens that nominate each context, per block; hollow: its mean "
        "probability.",
        alt=_say_shares(rows, contexts),
    )
    measures = [*shares_and_probabilities(contexts), "margin", "entropy"]
    page.table(
        ["block", "tokens", *(name.replace("_", " of ") for name in measures)],
        [
            [row["block"], row["tokens"], *(with_interval(row, name) for name in measures)]
            for row in rows
        ],
        caption="Shares, mean probabilities, margin and entropy with their intervals: blocks.csv.",
    )
    if "epochs" in found.tables:
        page.figure(
            epochs_figure(found.tables["epochs"], contexts),
            caption="Share of the tokens of the validation images over the epochs of training: "
            "epochs.csv.",
            alt="Lines of the share of each context per block over the epochs; the numbers are in "
            "epochs.csv.",
        )


def shares_and_probabilities(contexts: Sequence[str]) -> list[str]:
    """Return a table's columns of shares and probabilities of contexts."""
    return [*contexts, *(f"probability_{context}" for context in contexts)]


def _say_shares(rows: Rows, contexts: Sequence[str]) -> str:
    said = (", ".join(f"{name} {row[name]:.1%}" for name in contexts) for row in rows)
    return "; ".join(f"{row['block']}: {shares}" for row, shares in zip(rows, said, strict=True))


def _show_examples(page: Page, found: Found) -> None:
    if not found.explanations:
        return
    page.section(
        "Some images", "Some of the images that were drawn, and what every token of them nominates."
    )
    for explanation in found.explanations:
        name = short_name(explanation, found.facts["data"])
        rows = [{"block": block, **shares} for block, shares in explanation.shares.items()]
        page.figure(
            explanation.plot(),
            caption=name,
            alt=f"{name}. {_say_shares(rows, explanation.contexts)}",
        )
    with_tokens = [explanation for explanation in found.explanations if explanation.tokens]
    if with_tokens:
        page.section("What some tokens see", wording.TOKENS)
    for explanation in with_tokens:
        name = short_name(explanation, found.facts["data"])
        page.figure(
            shortened(explanation).plot_tokens(),
            caption=f"{name}. Numbers: tokens.csv.",
            alt=say_tokens(explanation),
        )


def _tell_facet(page: Page, found: Found, name: str) -> None:
    rows = found.tables.get(name)
    if not rows:
        return
    heading, text = wording.FACETS[name]
    unit = "pixels" if "pixels" in rows[0] else "tokens"
    page.section(heading, text.format(**found.wording, token=found.facts["token"]))
    groups = len({row["group"] for row in rows})
    more = (
        f" The {MOST_GROUPS} groups with the most {unit} of {groups}."
        if groups > MOST_GROUPS
        else ""
    )
    drawn = f"Share of the {unit} of each group that nominate each context"
    drawn = f"{drawn}; hollow: its mean probability.{more}"
    page.figure(
        shares_figure(rows, unit, contexts=found.facts["contexts"]),
        caption=f"{drawn} All numbers: {name}.csv.",
        alt="Dots with intervals, a panel per block and a line per group; the numbers are in "
        f"{name}.csv.",
    )
    shown, measures = shown_groups(rows, unit), shares_and_probabilities(found.facts["contexts"])
    counted = [count for count in (unit, "images") if count in rows[0]]
    page.table(
        ["group", "block", *counted, *(name.replace("_", " of ") for name in measures)],
        [
            [
                row["group"],
                row["block"],
                *(row[count] for count in counted),
                *(with_interval(row, m) for m in measures),
            ]
            for row in rows
            if row["group"] in shown
        ],
        caption=f"{heading}.",
    )


def _tell_agreement(page: Page, found: Found) -> None:
    page.section("Do neighbours and blocks agree?", wording.AGREEMENT)
    columns = ["agreement", "by_chance", "kappa"]
    heads = ["pairs", "agreement", "by chance", "kappa"]
    rows = found.tables["neighbours"]
    page.table(
        ["block", *heads],
        [
            [row["block"], row["pairs"], *(with_interval(row, name) for name in columns)]
            for row in rows
        ],
        caption="Tokens side by side, or one above the other: neighbours.csv.",
    )
    if "between_blocks" not in found.tables:
        return
    pairs, names = found.tables["between_blocks"], [row["block"] for row in rows]
    kappas = np.full((len(names), len(names)), np.nan)
    for row in pairs:
        place = names.index(row["block"]), names.index(row["other"])
        kappas[place] = kappas[place[::-1]] = np.nan if row["kappa"] is None else row["kappa"]
    if np.isfinite(kappas).any():
        page.figure(
            matrix_figure(names, kappas, columns=names, label="kappa", limit=1.0),
            caption="Kappa between the blocks at the same place of the image: between_blocks.csv.",
            alt="; ".join(
                f"{row['block']} and {row['other']}: {with_interval(row, 'kappa')}" for row in pairs
            ),
        )
    page.table(
        ["block", "other", *heads],
        [
            [
                row["block"],
                row["other"],
                row["pairs"],
                *(with_interval(row, name) for name in columns),
            ]
            for row in pairs
        ],
        caption="At the same place, on the finer grid of the two blocks.",
    )
