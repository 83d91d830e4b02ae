"""The folder that a verb writes its results into."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from nommer.runs.folder import run_of
from nommer.runs.lock import telling_what_cannot_be_made
from nommer.runs.results import (
    check_outside,
    prepare_folder,
)


def check_inputs_outside(model: Path | None, images: Iterable[Path], out: Path) -> None:
    """Refuse to overwrite a folder that holds the model or an image; a model of the zoo is in none.

    Raises:
        InputError: the first that lies in `out`.
    """
    for path in images if model is None or not model.exists() else (model, *images):
        check_outside(path, out)


def results_folder(
    model: Path | None,
    verb: str,
    out: Path | str | None,
    *,
    overwrite: bool,
    resume: bool = False,
    images: Iterable[Path] = (),
) -> Path:
    """The folder for results of `verb`.

    `out`, or a new one `<verb>`, `<verb>-2`, ... in the run folder.

    For a model that is not in a run folder, the new one is made in the current folder; without a
    model, or for one of the zoo, in `runs`.

    Raises:
        InputError: `out` may not be used; or it would be emptied, and the model or one of the
            `images` lies in it.
    """
    if out is not None:
        if overwrite:
            check_inputs_outside(model, images, Path(out))
        prepare_folder(Path(out), overwrite=overwrite, resume=resume)
        return Path(out)
    run = None if model is None or not model.exists() else run_of(model)
    base = Path("runs") if run is None else run.path if run.config.is_file() else Path()
    with telling_what_cannot_be_made(base / verb):
        base.mkdir(parents=True, exist_ok=True)
        folder = _new_folder(base, verb)
    prepare_folder(folder)
    return folder


def _new_folder(base: Path, name: str) -> Path:
    """Make `name`, or else `name-2`, `name-3`, ....

    The first that nobody else has made, even at the same moment.
    """
    folder, number = base / name, 2
    while True:
        with suppress(FileExistsError):
            folder.mkdir()
            return folder
        folder, number = base / f"{name}-{number}", number + 1
