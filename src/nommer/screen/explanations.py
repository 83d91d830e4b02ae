"""Explanations and studies, as the command line prints them."""

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from nommer.predictions import Failure
from nommer.screen.tables import ERROR, exit_code, shown, title

if TYPE_CHECKING:
    from nommer.studies.explaining import ExplanationResult
    from nommer.studies.study import StudyResult


def show_explanations(result: "ExplanationResult", console: Console) -> int:
    """Print the share of each context per nominator block, over all images.

    Of a data set also whether it matters.
    """
    if result.study is not None:
        return show_study(result.study, console)
    explained = [item for item in result.explanations if not isinstance(item, Failure)]
    for failed in (item for item in result.explanations if isinstance(item, Failure)):
        console.print(ERROR, f"{failed.source}: {failed.error}")
    if explained and explained[0].shares:
        table = Table(
            "block",
            *next(iter(explained[0].shares.values())),
            title=f"nominated contexts, {len(explained)} images",
        )
        for block in explained[0].shares:
            rows = [item.shares[block] for item in explained]
            table.add_row(
                block, *(f"{sum(row[name] for row in rows) / len(rows):.1%}" for name in rows[0])
            )
        console.print(table)
    if explained and not explained[0].shares:
        console.print("nothing nominates in this network; the pictures show an attribution")
    console.print(f"a picture per image in {result.out}")
    if (result.out / "page.html").is_file():
        console.print(f"to look at and to share: {result.out / 'page.html'}")
    if (result.out / "tokens").is_dir():
        console.print(f"what the tokens see in {result.out / 'tokens'}")
    if (result.out / "sensitivity").is_dir():
        console.print(
            f"where the answers hang on what is nominated in {result.out / 'sensitivity'}"
        )
    return exit_code(result.explanations)


def show_study(result: "StudyResult", console: Console) -> int:
    """Print shares with their intervals, and the model's number with other nominations."""
    from nommer.backbone.contexts import CONTEXTS
    from nommer.studies.effects import ALL_BLOCKS, AS_IT_IS, EVERYWHERE

    table = Table("block", *CONTEXTS, title="nominated contexts, with 95 % intervals over images")
    for row in result.tables["blocks"]:
        table.add_row(row["block"], *(_share_with_interval(row, context) for context in CONTEXTS))
    console.print(table)
    effects = result.tables["interventions"]
    measure = result.measure
    table = Table("blocks", "nominate", title(measure), "change", title="does it matter?")
    for row in effects:
        if row["block"] in (AS_IT_IS, ALL_BLOCKS) and row["part"] == EVERYWHERE:
            table.add_row(
                *(shown(row.get(name)) for name in ("block", "intervention", measure, "change"))
            )
    console.print(table)
    for why in dict.fromkeys(result.absent.values()):
        console.print(
            f"not there: {', '.join(n for n, w in result.absent.items() if w == why)}: {why}"
        )
    console.print(f"report.html, result.json and a CSV file per table in {result.out}")
    return 0


def _share_with_interval(row: dict[str, Any], name: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return f"{row[name]:.1%}" + ("" if low is None else f" ({low:.1%} to {high:.1%})")
