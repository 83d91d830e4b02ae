"""The Lightning module that the tasks have in common.

Optimiser, schedule and exact randomness, as a Lightning module.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, ClassVar, Protocol, cast

import lightning as L
import torch
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import Optimizer

from nommer.acceleration.compile import channels_last
from nommer.data.seeding import derive_seed, seed_all
from nommer.errors import InputError
from nommer.nominations.balance import balance_loss, recorded_scores
from nommer.settings.inference import Inference
from nommer.settings.optim import Optim
from nommer.settings.train import TrainSettings
from nommer.tasks.data import Data, Found
from nommer.tasks.distillation import Distillation, Seen, recorded_maps
from nommer.tasks.optimiser import build_optimizer, build_scheduler


class Report(Protocol):
    """The evaluation of a model over a data set."""

    class_measure: ClassVar[str]
    """Column of `per_class` by which classes are compared; higher is better."""

    @property
    def images(self) -> int:
        """The number of images that were evaluated."""

    @property
    def confusion(self) -> Tensor:
        """(classes, classes) int64: rows true, columns predicted."""

    def summary(self) -> dict[str, Any]:
        """The numbers without tables and matrices, for JSON and the screen."""

    def per_class(self, names: tuple[str, ...]) -> list[dict[str, Any]]:
        """One row per class."""


class TaskModule(L.LightningModule):
    """A model with its optimiser and schedule; subclasses add loss and metrics.

    After validation, `report` holds the evaluation and `answers` what is kept of each sample, for
    pictures and tables.
    """

    measure: ClassVar[str]
    """Number of the report by which epochs are compared; higher is better."""
    measure_name: ClassVar[str]
    """Its name for people."""
    curves: ClassVar[Mapping[str, str]]
    """Numbers of the report that are drawn over the epochs, by what people call them."""

    def __init__(self, model: nn.Module, *, optim: Optim, lr: float, seed: int = 0) -> None:
        super().__init__()
        self.model = model
        self.optim, self.lr, self.seed = optim, lr, seed
        self.report: Report | None = None
        self.answers: dict[int, Any] = {}
        self.evidence: dict[int, Any] = {}
        """Outside of training, what decisions are found by, of each sample."""
        self.finds_decisions = False
        """Decisions are to be found on the images of this evaluation."""
        self.watch_gradient: Callable[[Tensor], None] | None = None
        """Shown the norm of the gradient before it was clipped, after which the weights change."""
        self.compiled: Callable[..., Any] | None = None
        """The forward pass of training, where it is compiled; the model itself stays as it is and
        is evaluated so.
        """
        self.losses = torch.zeros(2)
        """Of the epoch so far, in this process: the sum of the training loss over images, and the
        images.
        """
        self.own_loss: Callable[..., Tensor] | None = None
        """A loss of scores and targets in the place of the task's own, where people give one."""
        self.distillation: Distillation | None = None
        """The losses of imitating a teacher, where there is one."""
        self.balance: dict[str, Any] | None = None
        """Weights of the loss of the nominations' balance, where it was asked for."""
        self.is_choosing = True
        """That loss is at work."""

    @classmethod
    def kind_for(cls, settings: TrainSettings) -> "type[TaskModule]":
        """Return the module of a run: this one, or one that compares epochs by another number."""
        return cls

    @classmethod
    def for_training(
        cls, settings: TrainSettings, model: Any, *, lr: float, found: Found
    ) -> "TaskModule":
        """Return the model with its losses and its optimiser."""
        raise NotImplementedError

    @classmethod
    def for_evaluation(cls, model: Any, data: Data, inference: Inference) -> "TaskModule":
        """Return the model to be evaluated on all samples of `data`, without learning."""
        raise NotImplementedError

    def concluding(self, model: Any, data: Data) -> "TaskModule":
        """Return the module that evaluates the best `model` of this run on `data`."""
        return self.for_evaluation(model, data, Inference())

    @property
    def score(self) -> float | None:
        """The value of `measure` in the last validation; None before the first one."""
        return None if self.report is None else getattr(self.report, self.measure)

    def on_train_epoch_start(self) -> None:
        """Start the mean of the training loss.

        A run that goes on in the middle of an epoch goes on with it too.
        """
        self.losses = torch.zeros(2, device=self.device)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Make randomness depend on (seed, epoch, process, batch) alone: resuming is exact.

        Noise, drop path and mixing.
        """
        seed_all(derive_seed(self.seed, self.current_epoch, self.global_rank, batch_idx))

    @contextmanager
    def observed(self) -> Iterator[Seen]:
        """Record in a training step what a teacher and the nominations' balance ask for."""
        with ExitStack() as recording:
            seen = Seen()
            if self.distillation is not None:
                backbone = cast("Any", self.model).backbone
                seen = recording.enter_context(recorded_maps(backbone))
            seen.scores = recording.enter_context(self.nominating())
            yield seen

    def nominating(self) -> AbstractContextManager[Sequence[Tensor]]:
        """Record the scores of the nominations in a training step, if their balance is wanted."""
        return recorded_scores(self.model) if self._balances else nullcontext(())

    @property
    def _balances(self) -> bool:
        return self.balance is not None and self.is_choosing

    def aided(
        self, loss: Tensor, seen: Seen, logits: Tensor | None = None, *, multi_label: bool = False
    ) -> Tensor:
        """Return the loss of the labels with those of the training aids that were asked for.

        They are that of imitating a teacher and that of the nominations' balance.
        """
        if self.distillation is not None and seen.images is not None:
            loss = self.distillation(seen.images, loss, seen.maps, logits, multi_label=multi_label)
        return self.balanced(loss, seen.scores)

    def balanced(self, loss: Tensor, scores: Sequence[Tensor]) -> Tensor:
        """Return the loss with that of the nominations' balance, if it is wanted."""
        if self.balance is None or not self._balances:
            return loss
        return loss + balance_loss(scores, **self.balance)

    def log_loss(self, loss: Tensor, images: int) -> Tensor:
        """Add the training loss of a batch to the epoch's mean.

        It is logged after the epoch's validation.
        """
        counted = loss.new_full((), images, dtype=torch.float32)
        self.losses = self.losses.to(loss.device) + torch.stack(
            (loss.detach().float() * counted, counted)
        )
        return loss

    def compile_training(self) -> None:
        """Compile the forward pass of training."""
        raise NotImplementedError

    def configure_model(self) -> None:
        """Lay weights of convolutions out as fast kernels want them, of a GPU and a CPU."""
        channels_last(self.model)

    @property
    def is_evaluating(self) -> bool:
        """True in an evaluation, False in the validation of an epoch."""
        return self.trainer.state.fn == TrainerFn.VALIDATING

    def on_validation_epoch_start(self) -> None:
        """Start a new evaluation."""
        self.answers, self.evidence = {}, {}

    def finish_validation(self, report: Report) -> None:
        """Keep the evaluation and log its numbers."""
        self.report = report
        values = {f"val_{k}": float(v) for k, v in report.summary().items() if isinstance(v, float)}
        self.log_dict(
            values | {f"val_{self.measure}": float(self.score or 0.0)}, rank_zero_only=True
        )
        if self.trainer.state.fn == TrainerFn.FITTING:
            total, images = self._everyones_losses().sum(0)
            self.log("train_loss", total / images, prog_bar=True)

    def _everyones_losses(self) -> Tensor:
        """`losses` of every process: (processes, 2)."""
        everyones = [torch.zeros_like(self.losses) for _ in range(self.trainer.world_size)]
        if len(everyones) == 1:
            return self.losses[None]
        torch.distributed.all_gather(everyones, self.losses)
        return torch.stack(everyones)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """The optimiser and a schedule over all steps of the run."""
        epochs = self.trainer.max_epochs or 1
        steps = max(1, round(self.trainer.estimated_stepping_batches / epochs))
        scaled = (
            self.trainer.precision == "16-mixed"
        )  # a fused optimiser would be given gradients that still are
        fused = self.device.type == "cuda" and not scaled
        optimizer = build_optimizer(
            self.optim, cast("nn.Module", self.model.network), self.lr, fused=fused
        )
        if self.distillation is not None and list(self.distillation.parameters()):
            optimizer.add_param_group({"params": list(self.distillation.parameters())})
        scheduler = build_scheduler(
            self.optim, optimizer, self.lr, epochs=epochs, steps_per_epoch=steps
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},  # type: ignore[typeddict-item]  # timm's
        }

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip by the norm, and show it to who watches; frozen weights have no gradient."""
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        if gradient_clip_val:
            norm = torch.nn.utils.clip_grad_norm_(weights, gradient_clip_val)
        else:
            norm = torch.nn.utils.get_total_norm(
                [weight.grad for weight in weights if weight.grad is not None]
            )
        if self.watch_gradient is not None:
            self.watch_gradient(norm)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the losses of an epoch that has only begun, and what tells the teacher."""
        checkpoint["losses"] = self._everyones_losses()
        if self.distillation is not None:
            checkpoint["teacher"] = self.distillation.teacher.fingerprint

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Forget the schedule of the run so far.

        It is a function of the step, and there may be more epochs now.

        Raises:
            InputError: the teacher is another one than the run has had.
        """
        had = checkpoint.get("teacher")  # a run from before it was kept has none
        if self.distillation is not None and had not in (
            None,
            self.distillation.teacher.fingerprint,
        ):
            raise InputError(
                "--teacher: its weights are others than when the run was started; put them back, "
                "or start a new run"
            )
        checkpoint["lr_schedulers"] = []
        if "losses" in checkpoint:  # of a run from before it could go on within an epoch
            self.losses = checkpoint["losses"][self.global_rank].to(self.device)

    def on_train_start(self) -> None:
        """Start, or go on, with the learning rate of this step."""
        for config in self.trainer.lr_scheduler_configs:
            self.lr_scheduler_step(config.scheduler, None)

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Timm's schedules count updates."""
        scheduler.step_update(num_updates=self.trainer.global_step)
