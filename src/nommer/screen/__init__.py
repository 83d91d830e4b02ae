"""Results of the verbs, as the command line prints them."""

from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from nommer.predictions import Failure
from nommer.screen.explanations import show_explanations
from nommer.screen.tables import (
    ERROR,
    SOME_FAILED,
    exit_code,
    show_calibration,
    show_folds,
    show_stream,
    shown,
    summary_table,
    title,
)

if TYPE_CHECKING:
    from nommer.benchmarking.results import BenchmarkResult
    from nommer.checking.check import CheckResult
    from nommer.embedding.embed import EmbeddingResult
    from nommer.exporting.delivery import ExportResult
    from nommer.inference.evaluate import EvaluationResult
    from nommer.inference.prediction import PredictionResult
    from nommer.pruning.result import PruningResult
    from nommer.quickstart import DemoResult
    from nommer.streams.result import StreamResult
    from nommer.training.conclusion import TrainingResult
    from nommer.training.folds import FoldsResult
    from nommer.training.replay import ReplayResult

_MOST_ROWS = 25
_BEFORE = 8


def show_check(result: "CheckResult", console: Console) -> int:
    """Print the numbers, the kinds of findings, and where to look."""
    console.print(
        summary_table(result.summary, f"data for {result.task}" if result.task else "data")
    )
    for finding in result.findings:
        if finding.severity == "fatal":
            console.print(Text("cannot be used", style="red"), finding.what)
    from nommer.data.findings import by_kind

    kinds = by_kind([finding for finding in result.findings if finding.severity != "fatal"])
    if kinds:
        table = Table("severity", "count", "for example", "what", "done", title="findings by kind")
        for kind in kinds[:_MOST_ROWS]:
            table.add_row(
                kind[0].severity, str(len(kind)), kind[0].file, kind[0].what, kind[0].done
            )
        console.print(table)
    if len(kinds) > _MOST_ROWS:
        console.print(f"{len(kinds) - _MOST_ROWS} more kinds in report.html")
    console.print(f"report.html, data_issues.jsonl, images.csv, result.json in {result.out}")
    return result.code


def show_training(result: "TrainingResult | FoldsResult", console: Console) -> int:
    """Print the evaluation of the best epoch, or all folds, and where everything is."""
    from nommer.training.folds import FoldsResult

    if isinstance(result, FoldsResult):
        return show_folds(result, console)
    if result.rank > 0:
        return 0
    title = f"validation, best epoch {result.epoch}"
    console.print(summary_table(result.report.summary(), title, result.decided.get("intervals")))
    show_calibration(result.decided, console)
    console.print(f"run folder {result.out}: model/, {result.plots}")
    return 0


def show_pretraining(result: "TrainingResult", console: Console) -> int:
    """Print the same, and how to start from the result."""
    code = show_training(result, console)
    from nommer.runs.folder import RunFolder

    settings = RunFolder(result.out).settings()
    if result.rank == 0 and settings is not None:
        model = f"--model {settings.model} --pretrained {result.out}"
        console.print(f"start from it: nommer train --data LABELLED {model}")
    return code


def show_replay(result: "ReplayResult", console: Console) -> int:
    """Print where the first NaN or infinity is, and the values before it."""
    first = result.first
    if first is None:
        console.print(
            "all values are finite this time: not the same device, precision or versions?"
        )
    else:
        at = result.seen.index(first)
        layer = Column("layer", overflow="fold")
        table = Table(
            "where",
            layer,
            "kind",
            "values",
            "not finite",
            "largest finite",
            title="the step, up to there",
        )
        for seen in result.seen[max(0, at - _BEFORE) : at + 1]:
            table.add_row(
                seen.where,
                seen.layer,
                seen.kind,
                f"{seen.values:,}",
                f"{seen.not_finite:,}",
                f"{seen.largest:.4g}",
            )
        console.print(table)
        place = f"{first.layer} ({first.kind})" if first.kind else first.layer
        console.print(f"first value that is no finite number: {first.where} {place}".rstrip())
    console.print(f"{len(result.samples)} samples; every tensor in {result.table}")
    return 0


def show_evaluation(result: "EvaluationResult", console: Console) -> int:
    """Print the numbers, and the worst classes first."""
    console.print(summary_table(result.report.summary(), "evaluation", result.intervals))
    show_calibration(result.decided, console)
    if result.against is not None:
        return show_comparison(result, console)
    worst_by = result.report.class_measure
    rows = sorted(result.per_class, key=lambda row: (row[worst_by] is None, row[worst_by]))
    columns = [name for name in rows[0] if name != "predicted"]
    table = Table(
        *(title(name) for name in columns), title=f"classes, lowest {title(worst_by)} first"
    )
    for row in rows[:_MOST_ROWS]:
        table.add_row(*(shown(row[name]) for name in columns))
    console.print(table)
    if len(rows) > _MOST_ROWS:
        console.print(f"{len(rows) - _MOST_ROWS} more classes in per_class.csv")
    console.print(f"tables and plots in {result.out}")
    return 0


def show_comparison(result: "EvaluationResult", console: Console) -> int:
    """Print the second model's numbers, and which of both is better."""
    other = result.against
    if other is not None:
        numbers = other.report.summary()
        console.print(summary_table(numbers, "evaluation of the second model", other.intervals))
    for row in result.comparison:
        console.print(row.sentence)
    console.print(f"tables and plots in {result.out}, of the second model in against/ there")
    return 0


def show_predictions(result: "PredictionResult | StreamResult", console: Console) -> int:
    """Print the most probable classes, those with most pixels, or the surest objects."""
    from nommer.streams.result import StreamResult

    if isinstance(result, StreamResult):
        return show_stream(result, console)
    table = Table("image", "first", "then")
    for prediction in result.predictions:
        if isinstance(prediction, Failure):
            table.add_row(prediction.source, ERROR, prediction.error)
        else:
            first, *then = prediction.headline() or ["nothing"]
            table.add_row(prediction.source, first, ", ".join(then[:3]))
    console.print(table)
    written = ", ".join(
        sorted(path.name for path in result.out.iterdir() if path.name != "environment.json")
    )
    console.print(f"{written} in {result.out}")
    return exit_code(result.predictions)


def show_embedding(result: "EmbeddingResult", console: Console) -> int:
    """Print the numbers, the neighbours of what was asked about, and where everything is."""
    console.print(summary_table(result.numbers, "vectors"))
    if result.asked is not result.vectors:
        table = Table("image", "neighbour", "cosine", title="nearest neighbours")
        for row in result.rows[:_MOST_ROWS]:
            label = f" ({row['neighbour_label']})" if row["neighbour_label"] else ""
            table.add_row(row["file"], f"{row['neighbour']}{label}", row["cosine"])
        console.print(table)
    written = ", ".join(
        sorted(path.name for path in result.out.iterdir() if path.name != "environment.json")
    )
    console.print(f"{written} in {result.out}")
    return SOME_FAILED if result.vectors.failures else 0


def show_pruning(result: "PruningResult", console: Console) -> int:
    """Print what is left, what that changed and gained, and where everything is."""
    from nommer.pruning.report import summary

    table = Table("block", "contexts kept", title="contexts")
    for block, left in result.kept.items():
        table.add_row(block, f"{', '.join(left)} (of {len(result.before[block])})")
    console.print(table)
    console.print(summary_table(dict(summary(result)), "pruning"))
    for row in result.comparison:
        console.print(row.sentence)
    console.print(f"{'model/, ' if result.removed else ''}report.md, result.json in {result.out}")
    return 0


def show_export(result: "ExportResult", console: Console) -> int:
    """Print the parity report, and where the model is."""
    numbers = {name: value for name, value in result.report.to_dict().items() if name != "left_out"}
    console.print(summary_table(numbers, "exported against PyTorch"))
    for what in result.report.left_out if result.whole is None else ():
        console.print(f"not in the file: {what}")
    if result.quantisation is not None:
        is_int8 = result.quantisation.precision == "int8"
        told = "8-bit integers" if is_int8 else "float16"
        console.print(summary_table(result.quantisation.to_dict(), f"{told} against float32"))
    if result.whole is not None:
        console.print(summary_table(result.whole.to_dict(), "whole file against PyTorch"))
    console.print(f"the model and its reports in {result.out}")
    return 0


def show_benchmark(result: "BenchmarkResult", console: Console) -> int:
    """Print a table per mode, precision and size, and where everything is."""
    from nommer.benchmarking.report import SHORT_COLUMNS, short_cells

    of_table = attrgetter("case.mode", "case.precision", "case.size")
    for (mode, precision, size), rows in groupby(result.measurements, of_table):
        table = Table(
            *SHORT_COLUMNS, title=f"{mode}, precision {precision}, {size} x {size}, {result.device}"
        )
        for row in rows:
            table.add_row(*short_cells(row))
        console.print(table)
    peaks = ", ".join(f"{peak / 1e12:.3g} TFLOP/s in {name}" for name, peak in result.peaks.items())
    if result.reference:
        console.print(
            f"ratio: times as fast as {result.reference} in the same backend (fused: in its plain "
            "form)"
        )
    console.print(f"share: of the fastest matrix product, {peaks}; MiB: at most in memory")
    written = ", ".join(
        sorted(path.name for path in result.out.iterdir() if path.name != "environment.json")
    )
    console.print(f"{written} in {result.out}")
    return 0


def show_demo(result: "DemoResult", console: Console) -> int:
    """Print the result of every verb, and where to look."""
    show_evaluation(result.evaluation, console)
    show_predictions(result.prediction, console)
    show_explanations(result.explanation, console)
    if result.export is None:
        console.print("nothing is exported: pip install 'nommer[export]'", markup=False)
    else:
        show_export(result.export, console)
    top1 = result.training.report.summary()["top1"]
    console.print(
        f"\ntrained in {result.seconds:.0f} s; top-1 {top1:.2%} of 360 held back digits; see"
    )
    run = result.training.out
    for path, what in (
        (run / "curves.png", "how it learned"),
        (run / "val_predictions.jpg", "its surest mistakes, and other digits"),
        (run / "nominations.png", "which contexts it nominated over the epochs"),
        (result.explanation.out, "which context each token nominates, a picture per digit"),
        (result.prediction.out / "images", "annotated images"),
    ):
        console.print(f"  {path}  {what}")
    if result.photographs is not None:
        console.print(f"  {result.photographs.out}  which contexts photographs nominate")
    return 0
