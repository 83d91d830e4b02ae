"""A whole export: the model, the images that it is compared on, the file and its report."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from nommer.errors import InputError
from nommer.exporting.export import export_model
from nommer.exporting.int8 import QuantisationReport
from nommer.exporting.parity import parity_images
from nommer.exporting.quantising import open_labelled, quantise_export
from nommer.exporting.whole import WholeReport, make_whole, whole_of
from nommer.files import sync_folder, write_json
from nommer.inference.inputs import images_to_compare
from nommer.models.recogniser import Recogniser
from nommer.models.storage import load, network_of
from nommer.progress import notice
from nommer.runs.folder import run_of
from nommer.runs.results import ENVIRONMENT, check_folder, environment, held
from nommer.runs.results_folder import check_inputs_outside, results_folder
from nommer.settings.export import OPSET, ExportSettings
from nommer.tasks.exporting import ParityReport
from nommer.tasks.registry import task_of

ATTEMPT = "attempt"
"""Folder inside the results in which an export is made; what stays there was not delivered."""

MAX_DROP = 0.01


@dataclass(frozen=True)
class ExportResult:
    """An exported model: its place, and its differences from the original."""

    report: ParityReport
    """Of the export in float32."""
    out: Path
    quantisation: QuantisationReport | None = None
    """Of an export in 8-bit integers, or in float16."""
    whole: WholeReport | None = None
    """Of a whole file."""


def export_to_file(settings: ExportSettings) -> ExportResult:
    """Export a model, as `nommer.export` describes."""
    if settings.out is not None:
        check_folder(settings.out, overwrite=settings.overwrite)  # before much is read
    model = load(settings.model)
    network_of(model, settings.model)
    task = task_of(model).exporting
    if settings.precision != "float32" and task.quantising is None:
        raise InputError(
            f"{settings.model}: --precision {settings.precision} is not there for {model.task}; "
            "leave it out"
        )
    inner = settings.dynamic_size or (settings.whole and whole_of(model).any_size)
    paths = images_to_compare(run_of(settings.model), settings.data)
    if settings.out is not None and settings.overwrite:
        check_inputs_outside(settings.model, paths, settings.out)
    images = parity_images(model, paths)
    if not settings.whole and (said := task.notice(model, dynamic=settings.dynamic_size)):
        notice(said)
    with delivery(settings) as (out, folder):
        report = export_model(
            model,
            images,
            folder,
            format_name=settings.format,
            dynamic_size=inner,
            opset=settings.opset or OPSET,
            whole=settings.whole,
        )
        lost, whole = _further(settings, model, paths, folder, dynamic=inner)
        return ExportResult(report, out, lost, whole)


def _further(
    settings: ExportSettings,
    model: Recogniser,
    paths: Sequence[Path],
    folder: Path,
    *,
    dynamic: bool,
) -> tuple[QuantisationReport | None, WholeReport | None]:
    """Make the exported model smaller and whole, as far as it is asked for."""
    if settings.precision == "float32" and not settings.whole:
        return None, None
    max_drop = MAX_DROP if settings.max_drop is None else settings.max_drop
    opened, lost, whole = open_labelled(settings.model, settings.data), None, None
    if settings.precision != "float32":
        lost = quantise_export(
            model, opened, paths, folder, precision=settings.precision, max_drop=max_drop
        )
    if settings.whole:
        size = task_of(model).exporting.image_size(model, dynamic=dynamic)
        whole = make_whole(model, size, paths, folder, opened=opened, max_drop=max_drop)
    return lost, whole


@contextmanager
def delivery(settings: ExportSettings) -> Iterator[tuple[Path, Path]]:
    """The folder for the results, and one inside it in which to make them.

    What is made takes its place once it is whole, and only then an earlier export goes. Where that
    fails, the reports stay in the inner folder, and everything else as it was.
    """
    out = settings.out
    if out is not None and settings.overwrite and held(out):
        check_folder(out, overwrite=True)
    else:
        out = results_folder(settings.model, "export", out, overwrite=settings.overwrite)
    made = out / ATTEMPT
    shutil.rmtree(made, ignore_errors=True)
    try:
        made.mkdir()
        yield out, made
        write_json(made / ENVIRONMENT, environment())
        _replace(out, made)
    except BaseException as error:
        if isinstance(error, OSError) and not error.filename:
            error.filename = str(made)  # which the libraries that write do not tell
        for item in held(made):
            if item.suffix != ".json":
                item.unlink()
        with suppress(OSError):  # there are reports
            made.rmdir()
            if [item.name for item in held(out)] == [ENVIRONMENT]:
                shutil.rmtree(out)
        raise


def _replace(out: Path, made: Path) -> None:
    """Move files from `made` to `out`, each whole on disk, and remove everything else there."""
    names = {item.name for item in made.iterdir()}
    for item in sorted(made.iterdir()):
        with item.open("rb") as stream:
            os.fsync(stream.fileno())
    for name in sorted(names, key=lambda name: name.endswith(".json")):  # the model first
        (made / name).replace(out / name)
    made.rmdir()
    for item in held(out):
        if item.name not in names:
            item.unlink() if item.is_file() or item.is_symlink() else shutil.rmtree(item)
    sync_folder(out)
