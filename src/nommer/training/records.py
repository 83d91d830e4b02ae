"""Records of a training: tables, curves, the best model, progress on the screen."""

import math
import time
from contextlib import suppress
from importlib.metadata import version
from typing import Any, cast

import lightning as L
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from nommer.backbone.contexts import CONTEXTS
from nommer.errors import InputError
from nommer.files import as_csv, write_text
from nommer.models.storage import Model, save_model
from nommer.nominations.trace import NominationTrace, holds_nominations, shares
from nommer.progress import notice
from nommer.runs.checkpoint import rank_of_epoch
from nommer.runs.folder import RunFolder
from nommer.tasks.module import TaskModule
from nommer.tasks.plots import plot_curves, plot_nominations
from nommer.training.ema import AveragedWeights
from nommer.training.input_wait import InputWait
from nommer.training.last_checkpoint import read_progress


class History(L.Callback):
    """Writes and draws `metrics.csv` (epochs) and `nominations.csv` (epochs and blocks)."""

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self.rows: list[dict[str, Any]] = []
        self.nominations: list[dict[str, Any]] = []
        self.trace: NominationTrace | None = None
        self.started = time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        """Return the rows so far and the seconds of the epoch, with which a resumed run goes on."""
        seconds = time.perf_counter() - self.started
        return {"rows": self.rows, "nominations": self.nominations, "seconds": seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the rows of the run that is resumed."""
        self.rows, self.nominations = state_dict["rows"], state_dict["nominations"]
        self.started = time.perf_counter() - state_dict.get(
            "seconds", 0.0
        )  # of an epoch that had only begun

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the epoch's clock."""
        self.started = time.perf_counter()

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Count what is nominated on the validation images."""
        self.trace = (
            NominationTrace(pl_module).__enter__() if holds_nominations(pl_module) else None
        )

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Add the epoch's nominations, over all processes."""
        if self.trace is None:
            return
        self._stop_tracing()
        counts = trainer.strategy.reduce(self.trace.counts().to(pl_module.device), reduce_op="sum")
        if trainer.state.fn == TrainerFn.FITTING and isinstance(counts, Tensor):
            for block, values in shares(self.trace.blocks, counts.cpu()).items():
                self.nominations.append(
                    {"epoch": trainer.current_epoch + 1, "block": block, **values}
                )

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Take the hooks off whatever happens, and draw what there is."""
        self._stop_tracing()
        if trainer.is_global_zero:
            with suppress(OSError):  # a full disk may be why
                self.draw(cast("TaskModule", pl_module))

    def _stop_tracing(self) -> None:
        if self.trace is not None:
            self.trace.__exit__(None, None, None)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write and draw the epoch's line; stop on a NaN or infinite loss."""
        values = {name: value.item() for name, value in trainer.callback_metrics.items()}
        epoch = trainer.current_epoch + 1
        self.check_losses(values, epoch)
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        seconds = round(time.perf_counter() - self.started, 2)
        self.rows.append(
            {"epoch": epoch, "step": trainer.global_step, "lr": rate, "seconds": seconds, **values}
        )
        if trainer.is_global_zero:
            self.write()

    def check_losses(self, values: dict[str, float], epoch: int) -> None:
        """Stop before NaN or infinite weights replace the last good checkpoint.

        Raises:
            InputError: the training or the validation loss (where a task has one) is not finite.
        """
        for name, what in (("train_loss", "training"), ("val_loss", "validation")):
            if not math.isfinite(values.get(name, 0.0)):
                last = self.run.last
                good = (
                    f"{last} is from {read_progress(last)}"
                    if last.is_file()
                    else "there is no checkpoint yet"
                )
                raise InputError(
                    f"the {what} loss became {values[name]} in epoch {epoch}; {good}; "
                    "lower --lr, or use --precision 32 if it is 16"
                )

    def write(self) -> None:
        """Write `metrics.csv`, and `nominations.csv` where anything nominates."""
        write_text(self.run.metrics, as_csv(self.rows))
        if self.nominations:
            write_text(self.run.nominations, as_csv(self.nominations))

    def draw(self, task: TaskModule) -> None:
        """Draw `curves.png` and `nominations.png`."""
        if self.rows:
            plot_curves(self.rows, task.curves, self.run.path / "curves.png")
        if self.nominations:
            contexts = self.trace.contexts if self.trace else CONTEXTS
            plot_nominations(self.nominations, self.run.path / "nominations.png", contexts=contexts)


class BestModel(L.Callback):
    """Writes `model/` after every epoch that is the best so far: stopped runs leave a model."""

    def __init__(self, run: RunFolder, averaged: AveragedWeights | None = None) -> None:
        self.run, self.averaged = run, averaged
        self.compare_anew()

    def state_dict(self) -> dict[str, Any]:
        """The rank of the best epoch so far."""
        return {"best": list(self.best)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the rank of the best epoch of the run that is resumed."""
        best = state_dict["best"]
        self.best = tuple(best) if isinstance(best, list) else (best, math.inf)  # of older runs

    def compare_anew(self) -> None:
        """Forget the best epoch so far: the next one is the best."""
        self.best = -math.inf, -math.inf

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the model of a better epoch with its numbers."""
        task = cast("TaskModule", pl_module)
        if task.report is None or task.score is None:
            return
        rank = rank_of_epoch(trainer.callback_metrics, f"val_{task.measure}")
        if rank <= self.best:
            return
        self.best = rank
        model = cast("Model", self.averaged.model if self.averaged else task.model)
        if trainer.is_global_zero:
            metrics = {"epoch": trainer.current_epoch + 1, **task.report.summary()}
            save_model(self.run.model, model, metrics=metrics, version=version("nommer"))


class ProgressBar(RichProgressBar):
    """Lightning's bar with the time left, without the version of its log."""

    def __init__(self, waiting: InputWait) -> None:
        super().__init__()
        self.waiting = waiting

    def get_metrics(self, trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any]:
        """Return the numbers behind the bar."""
        shown = {
            name: value
            for name, value in super().get_metrics(trainer, pl_module).items()
            if name != "v_num"
        }
        waiting = self.waiting.describe()
        return shown | ({"input": waiting.partition(":")[0]} if waiting else {})


class EpochLines(L.Callback):
    """One plain line per epoch with the time left, for output that is no terminal."""

    def __init__(self, waiting: InputWait) -> None:
        self.waiting = waiting

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remember when and where the run began, to tell how much time is left."""
        self.start, self.first = time.perf_counter(), trainer.current_epoch

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print the line."""
        values, epochs, task = (
            trainer.callback_metrics,
            trainer.max_epochs or 0,
            cast("TaskModule", pl_module),
        )
        done = trainer.current_epoch + 1
        left = (time.perf_counter() - self.start) / (done - self.first) * (epochs - done)
        validation = f"  val loss {values['val_loss']:.4f}" if "val_loss" in values else ""
        waiting = f"  {said}" if (said := self.waiting.describe()) else ""
        notice(
            f"epoch {done}/{epochs}  train loss {values['train_loss']:.4f}{validation}  "
            f"{task.measure_name} {values[f'val_{task.measure}']:.2%}  {left:.0f} s left{waiting}"
        )
