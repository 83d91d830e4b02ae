"""A model on disk with other decisions than it had."""

from importlib.metadata import version
from pathlib import Path

from nommer.checksums import checksum, with_checksums
from nommer.files import write_atomically, write_json
from nommer.models.decisions import Decisions
from nommer.models.storage import Model, folder_of, network_of, read_description, save_model
from nommer.zoo import DESCRIPTION, WEIGHTS


def save_decisions(source: Path, folder: Path, model: Model, decisions: Decisions) -> None:
    """Write the model at `source` with other decisions into `folder`; its weights stay as they are.

    Raises:
        InputError: an exported model, which is exported again instead.
    """
    network_of(model, source)
    kept = folder_of(source)
    if kept is None:
        model.decisions = decisions
        return save_model(folder, model, metrics={}, version=version("nommer"))
    folder.mkdir(parents=True, exist_ok=True)
    content = (kept / WEIGHTS).read_bytes()
    write_atomically(folder / WEIGHTS, lambda stream: stream.write(content))
    description, _ = read_description(kept / DESCRIPTION)
    description["decisions"] = decisions.to_dict()
    files = {WEIGHTS: checksum(folder / WEIGHTS)}
    return write_json(folder / DESCRIPTION, with_checksums(description, DESCRIPTION, files))
