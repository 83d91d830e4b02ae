"""The command line: every verb of `api.py`, its signature as the schema, through jsonargparse."""

import inspect
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import ActionConfigFile, ArgumentParser, set_parsing_settings
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import OutOfMemoryError

from nommer import api
from nommer.engine.evaluation import EvaluationResult
from nommer.engine.training import TrainingResult
from nommer.errors import InputError
from nommer.nominations.images import Explanation
from nommer.predictions import Classification, Failure, SegmentationSummary
from nommer.quickstart import DemoResult, demo
from nommer.recipes import recipe_names, recipe_path

USER_ERROR = 2
SOME_FAILED = 1
_MOST_ROWS = 25
_ERROR = Text("error", style="red")

set_parsing_settings(docstring_parse_attribute_docstrings=True)


class Parser(ArgumentParser):
    """jsonargparse's parser, whose errors are one sentence and a hint."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the error and exit with code 2."""
        sentence = plainly(" ".join(str(message).split()))
        sys.stderr.write(f"error: {sentence}\nsee: {self.prog.replace(' [options]', '')} --help\n")
        sys.exit(USER_ERROR)


_UNION = r"Does not validate against .*? Errors: - (.*?)(?: - Expected .*?)? Given value type: .*? Given value:"
_PLAINLY: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (_UNION, r"\1. Got value:"),
    (r'Parser key "([\w.]+)":', lambda found: f"--{found[1].replace('_', '-')}:"),
    (r"are required: \w+\.(\w+)", r"are required: \1"),
    (r"a <class '(\w+)'>", r"\1"),
    (r"a typing\.Literal\[([^\]]*)\]", r"one of \1"),
)
"""How jsonargparse puts things, and how they are said to people."""


def plainly(message: str) -> str:
    """An error of jsonargparse without the words of Python's types."""
    for pattern, replacement in _PLAINLY:
        message = re.sub(pattern, replacement, message)
    return message


def build_parser() -> Parser:
    """The parser of all verbs."""
    parser = Parser(prog="nommer", description="Visual recognition with the NomMer network.")
    parser.add_argument("--version", action="version", version=f"nommer {version('nommer')}")
    verbs = parser.add_subcommands(required=True, dest="verb")
    for verb, (function, _) in VERBS.items():
        verbs.add_subcommand(verb, verb_parser(verb, function), help=first_line(function))
    return parser


def verb_parser(verb: str, function: Callable[..., Any]) -> Parser:
    """The parser of one verb; what it judges or uses comes first without a name, all else by name."""
    hints = f"Recipes for --config: {', '.join(recipe_names())}. Add --debug to see where an error comes from."
    parser = Parser(description=f"{first_line(function)} {hints}")
    parser.add_argument(
        "--config", action=ActionConfigFile, help="YAML file, or name of a recipe, with any of these settings"
    )
    takes_images = "images" in inspect.signature(function).parameters
    parser.add_function_arguments(function, as_positional=verb != "train", skip={"images"} if takes_images else set())
    if takes_images:
        parser.add_argument(
            "images", nargs="+", help="files, folders, glob patterns, or - for a list on standard input"
        )
    _spell_with_dashes(parser)
    return parser


def first_line(function: Callable[..., Any]) -> str:
    """The sentence that a docstring begins with."""
    return (inspect.getdoc(function) or "").partition("\n")[0]


def _spell_with_dashes(parser: Parser) -> None:
    """Let options be written as elsewhere, `--batch-size`; with underscores they are understood too."""
    for action in parser._actions:
        dashed = [option.replace("_", "-") for option in action.option_strings]
        action.option_strings = list(dict.fromkeys(dashed))
        for option in dashed:
            parser._option_string_actions.setdefault(option, action)


def normalise(arguments: Sequence[str]) -> list[str]:
    """Arguments with `--flag` written out as `--flag=true`, and names of recipes as their files."""
    flags = {
        name
        for function, _ in VERBS.values()
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.annotation is bool
    }
    spelled: list[str] = []
    for position, argument in enumerate(arguments):
        name, following = argument.removeprefix("--").replace("-", "_"), arguments[position + 1 : position + 2]
        if argument.startswith("--") and name in flags and following not in (["true"], ["false"]):
            spelled.append(f"{argument}=true")
        elif argument.startswith("--print-config"):  # the one option that jsonargparse knows by its exact spelling
            spelled.append(argument.replace("--print-config", "--print_config"))
        elif spelled and spelled[-1] == "--config":
            spelled.append(find_config(argument))
        elif argument.startswith("--config="):
            spelled += ["--config", find_config(argument.removeprefix("--config="))]
        else:
            spelled.append(argument)
    return spelled


def find_config(name: str) -> str:
    """The file of settings that `name` is, or that the recipe of this name is.

    Raises:
        InputError: neither.
    """
    found = Path(name) if Path(name).is_file() else recipe_path(name)
    if found is None:
        raise InputError(
            f"--config {name}: no such file, and no recipe of this name; recipes: {', '.join(recipe_names())}"
        )
    return str(found)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code: 0, 1 when some images failed, 2 for a mistake of the user."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    try:
        return run(normalise([argument for argument in given if argument != "--debug"]))
    except (InputError, OSError, OutOfMemoryError) as error:
        if debug:
            traceback.print_exc()
        sys.stderr.write(f"error: {explain_error(error)}\n")
        return USER_ERROR
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        return 130


def explain_error(error: Exception) -> str:
    """One sentence: what happened, and what to do."""
    if isinstance(error, OutOfMemoryError):
        return (
            "the memory of the device is full; use a smaller --batch-size (with --accumulate for the same total) or "
            "--image-size, or --network.grad-checkpointing true"
        )
    return str(error) if isinstance(error, InputError) else f"{error} (--debug shows where)"


def run(arguments: Sequence[str]) -> int:
    """Parse, call the verb, show its result."""
    parser = build_parser()
    chosen = parser.instantiate(parser.parse_args(arguments))
    verb = chosen.pop("verb")
    settings = {name: value for name, value in chosen[verb].items() if name != "config"}
    function, show = VERBS[verb]
    return show(function(**settings), Console(markup=False, emoji=False))  # names of files and classes are no markup


def show_training(result: TrainingResult, console: Console) -> int:
    """The judgement of the best epoch and where everything is."""
    console.print(summary_table(result.report.summary(), f"validation, best epoch {result.epoch}"))
    console.print(f"run folder {result.out}: model/, {result.plots}")
    return 0


def show_evaluation(result: EvaluationResult, console: Console) -> int:
    """The numbers, and the worst classes first."""
    console.print(summary_table(result.report.summary(), "evaluation"))
    worst_by = "iou" if "iou" in result.per_class[0] else "recall"
    rows = sorted(result.per_class, key=lambda row: (row[worst_by] is None, row[worst_by]))
    columns = [name for name in rows[0] if name != "predicted"]
    table = Table(*(_title(name) for name in columns), title=f"classes, lowest {_title(worst_by)} first")
    for row in rows[:_MOST_ROWS]:
        table.add_row(*(_show(row[name]) for name in columns))
    console.print(table)
    if len(rows) > _MOST_ROWS:
        console.print(f"{len(rows) - _MOST_ROWS} more classes in per_class.csv")
    console.print(f"tables and plots in {result.out}")
    return 0


def _title(column: str) -> str:
    return {"iou": "IoU", "f1": "F1"}.get(column, column.replace("_", " "))


def show_predictions(result: api.PredictionResult, console: Console) -> int:
    """The most probable classes of every image, or those with the most pixels."""
    table = Table("image", "class", "share", "then")
    for prediction in result.predictions:
        if isinstance(prediction, Failure):
            table.add_row(prediction.source, _ERROR, "", prediction.error)
            continue
        (first, share), *others = list_answers(prediction)
        then = ", ".join(f"{name} {value:.1%}" for name, value in others[:2])
        table.add_row(prediction.source, first, f"{share:.1%}", then)
    table.columns[2].header = (
        "probability" if any(isinstance(p, Classification) for p in result.predictions) else "share"
    )
    console.print(table)
    written = ", ".join(sorted(path.name for path in result.out.iterdir() if path.name != "environment.json"))
    console.print(f"{written} in {result.out}")
    return exit_code(result.predictions)


def list_answers(prediction: Classification | SegmentationSummary) -> list[tuple[str, float]]:
    """Classes with their probability or their share of the pixels, the largest first."""
    return prediction.top(3) if isinstance(prediction, Classification) else list(prediction.shares.items())


def show_explanations(result: api.ExplanationResult, console: Console) -> int:
    """The share of each context per nominator block, over all images."""
    explained = [item for item in result.explanations if isinstance(item, Explanation)]
    for failed in (item for item in result.explanations if isinstance(item, Failure)):
        console.print(_ERROR, f"{failed.source}: {failed.error}")
    if explained:
        table = Table(
            "block", *next(iter(explained[0].shares.values())), title=f"nominated contexts, {len(explained)} images"
        )
        for block in explained[0].shares:
            rows = [item.shares[block] for item in explained]
            table.add_row(block, *(f"{sum(row[name] for row in rows) / len(rows):.1%}" for name in rows[0]))
        console.print(table)
    console.print(f"a picture per image in {result.out}")
    return exit_code(result.explanations)


def show_export(result: api.ExportResult, console: Console) -> int:
    """The parity report, and where the model is."""
    console.print(summary_table(result.report.to_dict(), "exported against PyTorch"))
    console.print(f"model.onnx and parity.json in {result.out}")
    return 0


def show_demo(result: DemoResult, console: Console) -> int:
    """What every verb said, and where to look."""
    show_evaluation(result.evaluation, console)
    show_predictions(result.prediction, console)
    show_explanations(result.explanation, console)
    show_export(result.export, console)
    top1 = result.training.report.summary()["top1"]
    console.print(f"\ntrained in {result.seconds:.0f} s; top-1 {top1:.2%} of 360 held back digits; see")
    run = result.training.out
    for path, what in (
        (run / "curves.png", "how it learned"),
        (run / "val_predictions.jpg", "its surest mistakes, and other digits"),
        (run / "nominations.png", "which contexts it nominated over the epochs"),
        (result.explanation.out, "which context each token nominates, a picture per digit"),
        (result.prediction.out / "images", "annotated images"),
    ):
        console.print(f"  {path}  {what}")
    return 0


def exit_code(results: Sequence[Classification | SegmentationSummary | Explanation | Failure]) -> int:
    """0, or 1 when an image failed."""
    return SOME_FAILED if any(isinstance(result, Failure) for result in results) else 0


def summary_table(summary: dict[str, Any], title: str) -> Table:
    """Numbers of a report as a table of two columns."""
    table = Table("measure", "value", title=title)
    for name, value in summary.items():
        table.add_row(name.replace("_", " "), _show(value))
    return table


def _show(value: Any) -> str:
    if value is None:
        return "n/a"
    if isinstance(value, float):
        return f"{value:.1e}" if 0 < abs(value) < 1e-3 else f"{value:.4f}"
    return str(value)


VERBS: dict[str, tuple[Callable[..., Any], Callable[[Any, Console], int]]] = {
    "train": (api.train, show_training),
    "evaluate": (api.evaluate, show_evaluation),
    "predict": (api.predict, show_predictions),
    "explain": (api.explain, show_explanations),
    "export": (api.export, show_export),
    "demo": (demo, show_demo),
}
"""Each verb's function and how its result is shown."""
