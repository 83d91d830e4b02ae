"""Checkpoints to resume from, replaced whole or not at all, and read without executing anything."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, cast

import lightning as L
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from nommer.checksums import is_whole
from nommer.errors import InputError
from nommer.files import write_atomically


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoint files, written to a temporary file, flushed to disk and renamed."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write `checkpoint` to `path`; the old file stays until the new one is whole on disk."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(Path(path), lambda stream: _save(checkpoint, stream))

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Read the plain values and tensors of a checkpoint."""
        return open_checkpoint(Path(path))


def _save(checkpoint: dict[str, Any], stream: IO[bytes]) -> None:
    try:
        torch.save(checkpoint, stream)
    except RuntimeError as error:
        if isinstance(
            error.__context__, OSError
        ):  # a full disk, behind torch's complaint about where the file ends
            raise error.__context__ from error
        raise


def rank_of_epoch(metrics: Mapping[str, Tensor], measure: str) -> tuple[float, float]:
    """Return what makes an epoch better than another: its measure; of equals, the lower loss.

    The loss is that of the validation, where a task has one.
    """
    loss = metrics["val_loss"] if "val_loss" in metrics else metrics["train_loss"]
    return float(metrics[measure]), -float(loss)


class MovableCheckpoint(ModelCheckpoint):
    """Lightning's best checkpoint, found again after the run folder was moved.

    Args:
        folder: of the checkpoints.
        measure: the metric that is to be high; of equal epochs the one of the lower loss is best.
    """

    def __init__(self, folder: Path, *, measure: str) -> None:
        options: dict[str, Any] = {"monitor": measure, "mode": "max"}
        super().__init__(
            folder,
            filename="best",
            save_on_train_epoch_end=True,
            enable_version_counter=False,
            **options,
        )
        self.compare_anew()

    def compare_anew(self) -> None:
        """Forget the best epoch so far: the next one is the best."""
        self.best_rank = -math.inf, -math.inf

    def check_monitor_top_k(self, trainer: L.Trainer, current: Tensor | None = None) -> bool:
        """Return whether the epoch is the best so far."""
        rank = rank_of_epoch(trainer.callback_metrics, cast("str", self.monitor))
        is_best = trainer.strategy.reduce_boolean_decision(rank > self.best_rank)
        self.best_rank = rank if is_best else self.best_rank
        return is_best

    def state_dict(self) -> dict[str, Any]:
        """Lightning's, and the rank of the best epoch."""
        return super().state_dict() | {"best_rank": list(self.best_rank)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the best value so far, its files looked for where the run folder is now.

        Raises:
            InputError: the best epoch's checkpoint is gone or damaged; going on would forget it.
        """
        moved = _moved(state_dict, str(state_dict["dirpath"]), str(self.dirpath))
        if best := moved["best_model_path"]:
            _check_best(Path(best))
        super().load_state_dict(moved)
        score = moved["best_model_score"]
        known = -math.inf if score is None else float(score)
        self.best_rank = tuple(moved.get("best_rank", (known, math.inf)))  # older runs: first wins


def _check_best(path: Path) -> None:
    """Refuse to go on without the best epoch so far.

    Raises:
        InputError: its checkpoint is gone or damaged; the message says where its weights are too.
    """
    found = "is damaged" if path.is_file() else "is gone"
    if found == "is gone" or not is_whole(path):
        run = path.parents[1]
        raise InputError(
            f"{path}: {found}, and with it the best epoch so far; put back a copy, or start a new "
            f"run from its weights, which {run / 'model'} has too, with --pretrained {run}"
        )


def _moved(value: Any, old: str, new: str) -> Any:
    """`value` with every path in `old` as one in `new`."""
    if isinstance(value, dict):
        return {_moved(key, old, new): _moved(item, old, new) for key, item in value.items()}
    return new + value[len(old) :] if isinstance(value, str) and value.startswith(old) else value


def open_checkpoint(path: Path, *, mmap: bool = False) -> dict[str, Any]:
    """Read the plain values and tensors of a run's checkpoint.

    Everything is compared with the checksums that the file holds; with `mmap` everything but
    tensors, which then are read only once they are looked at.

    Raises:
        InputError: it cannot be read so, or is none of a run.
    """
    try:
        if not is_whole(path, only="data.pkl" if mmap else None):
            raise ValueError("checksums differ")  # noqa: TRY301 - told as any other damage
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except Exception as error:  # whatever a damaged file makes the reader trip over
        raise InputError(
            f"{path}: is damaged, or holds more than plain values and tensors, which could run "
            "code and is refused; "
            "put back a copy, or start a new run"
        ) from error
    if (
        not isinstance(checkpoint, dict)
        or not {"state_dict", "loops", "epoch"} <= checkpoint.keys()
    ):
        raise InputError(f"{path}: is no checkpoint of a run; put back a copy, or start a new run")
    return checkpoint
