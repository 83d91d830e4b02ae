"""Tables of numbers, with their intervals, as the screens of several verbs have them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nommer.predictions import Failure

if TYPE_CHECKING:
    from nommer.inference.prediction import Answer
    from nommer.nominations.explanation import ExplanationSummary
    from nommer.streams.result import StreamResult
    from nommer.training.folds import FoldsResult

SOME_FAILED = 1
ERROR = Text("error", style="red")


def show_calibration(decided: Mapping[str, Any], console: Console) -> None:
    """Print how well probabilities fit, before and after, and what the thresholds do."""
    told = decided.get("calibration", {})
    if "after" not in told:
        return
    before, after = told["before"], told["after"]
    ranges = told.get("intervals", {})
    names = {"ece": "calibration error", "nll": "log-likelihood lost", "brier": "Brier score"}
    of = f"probabilities of {told['count']:,} {told['of']}"
    said = {n: f"{word} {after[n]:.4f}" for n, word in names.items()}
    if before != after:
        of += ", calibrated"
        said = {n: f"{word} {before[n]:.4f} -> {after[n]:.4f}" for n, word in names.items()}
    parts = [f"{text}{_between(ranges.get('after', {}).get(n))}" for n, text in said.items()]
    console.print(f"{of}: {', '.join(parts)}", markup=False)
    if "refused" in told:
        console.print(f"none of these: {told['refused']:.1%} of the images")
    if "found_thresholds" in told:
        console.print(f"F1 at IoU 0.5: {_in_ways(told)}", markup=False)


def _in_ways(told: Mapping[str, Any]) -> str:
    """Return F1 with the thresholds found, and without."""
    ways = {
        "found_thresholds": "by the thresholds",
        "own_scores_from_half": "of the network's own scores from 0.5 on",
        "all_answers": "of all answers",
    }
    return ", ".join(
        f"{told[way]['f1']:.3f}{_between(told[way].get('intervals', {}).get('f1'))} {words}"
        for way, words in ways.items()
        if told.get(way, {}).get("f1") is not None
    )


def _between(ends: Sequence[float] | None) -> str:
    """Return the 95 % interval as it stands behind a number; nothing where there is none."""
    return "" if ends is None else f" [{ends[0]:.3f}, {ends[1]:.3f}]"


def show_folds(result: "FoldsResult", console: Console) -> int:
    """Print mean and spread over the folds, and where everything is."""
    if result.rank > 0:
        return 0
    columns = ("number", "mean", "spread", "least", "largest")
    table = Table(*columns, title=f"{len(result.folds)} folds")
    for row in result.numbers:
        table.add_row(row["number"].replace("_", " "), *(shown(row[c]) for c in columns[1:]))
    console.print(table)
    wrong = sum(bool(doubt.wrong) for doubt in result.doubts)
    if wrong:
        console.print(f"labels to look at: {wrong:,} of {len(result.doubts):,}, estimated")
    pages = ", doubtful_labels.html, doubtful_labels.csv" if result.doubts else ""
    console.print(f"folds.csv, out_of_fold.csv, out_of_fold.json{pages} in {result.out}")
    console.print(
        f"a model per fold, {result.folds[0].out / 'model'} and so on; all of them as one, an "
        f"ensemble: nommer predict {result.out} IMAGES; for one model that learned from all images "
        "train without --folds"
    )
    return 0


def show_stream(result: "StreamResult", console: Console) -> int:
    """Print what became of each source, how fast, and where the answers are.

    The exit code is 1 also where a video was cut off or damaged.
    """
    table = Table("source", "kind", "answers", "errors", "told")
    for one in result.counts:
        before = f" (and {one.earlier:,} before)" if one.earlier else ""
        told = "; ".join(one.notes)
        table.add_row(one.source, one.kind, f"{one.answers:,}{before}", f"{one.errors:,}", told)
    console.print(table)
    total = sum(result.parts.values()) or 1.0
    shares = {name: value / total for name, value in result.parts.items() if value}
    parts = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
    speed = f", {result.per_second:.1f} per second ({parts})" if parts else ""
    console.print(f"{result.answers:,} answers in {result.seconds:.1f} s{speed}")
    hidden = ("environment.json", ".lock")
    written = sorted(path.name for path in result.out.iterdir() if path.name not in hidden)
    console.print(f"{', '.join(written)} in {result.out}")
    return SOME_FAILED if result.errors or any(one.notes for one in result.counts) else 0


def summary_table(
    summary: dict[str, Any], title: str, intervals: Mapping[str, Sequence[float]] | None = None
) -> Table:
    """Return the numbers of a report as a table, with their 95 % intervals where there are any."""
    table = Table("measure", "value", *(["95 % interval"] if intervals else []), title=title)
    for name, value in summary.items():
        ends = (intervals or {}).get(name)
        between = [] if not intervals else [f"{ends[0]:.4f} to {ends[1]:.4f}" if ends else ""]
        table.add_row(name.replace("_", " "), shown(value), *between)
    return table


def shown(value: Any) -> str:
    """Return a value as people read it."""
    if value is None:
        return "n/a"
    if isinstance(value, float):
        return f"{value:.1e}" if 0 < abs(value) < 1e-3 else f"{value:.4f}"
    return str(value)


def title(column: str) -> str:
    """Return the name of a column as its heading."""
    return {"iou": "IoU", "f1": "F1", "box_ap": "box AP"}.get(column, column.replace("_", " "))


def exit_code(results: "Sequence[Answer | ExplanationSummary]") -> int:
    """Return 0, or 1 when an image failed."""
    return SOME_FAILED if any(isinstance(result, Failure) for result in results) else 0
