"""The EMA (exponential moving average) of the weights, timm's, evaluated and delivered."""

from typing import Any, cast

import lightning as L
import torch.distributed as dist
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from nommer.tasks.module import TaskModule


class AveragedWeights(L.Callback):
    """Averages the model after every step.

    Validation, the best model and `state_dict` of checkpoints are the average.

    The weights that learn are in a checkpoint as `current_model_state`, as Lightning's
    `WeightAveraging` has it. That one would copy the task with all its samples, on the CPU, and
    knows no warm-up.

    Args:
        decay: of the average, once it has warmed up: at step n it is at most 1 - n ** (-2 / 3).
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.step = 0
        self.average: ModelEmaV3 | None = None
        self.learning: nn.Module | None = None

    @property
    def model(self) -> Any:
        """The model with averaged weights, in evaluation mode."""
        if self.average is None:
            raise RuntimeError("nothing is averaged before training")
        return self.average.module

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Start from the weights as they are."""
        if stage == "fit":
            self.average = ModelEmaV3(
                pl_module.model, decay=self.decay, use_warmup=True
            ).requires_grad_(False)

    def start_anew(self, model: nn.Module) -> None:
        """Forget the average so far: from now on it is that of what follows."""
        cast("Any", self.average).set(model)

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Follow the model to its device."""
        self.model.to(pl_module.device)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Add the weights, if they have changed."""
        if self.average is not None and trainer.global_step > self.step:
            self.step = trainer.global_step
            self.average.update(cast("TaskModule", pl_module).model, step=self.step)

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Evaluate the average.

        The first process's, as batch norms' statistics may differ between them. The averaged model
        takes the place of the other, so that no weights are copied back and forth.
        """
        if trainer.world_size > 1:
            for buffer in self.model.buffers():
                dist.broadcast(buffer, 0)
        self.learning = cast("nn.Module", pl_module.model)
        pl_module.model = self.model

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Go on learning with the weights themselves."""
        if self.learning is not None:
            pl_module.model, self.learning = self.learning, None

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Leave the task as it was, whatever happens."""
        self.on_validation_epoch_end(trainer, pl_module)

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Put the average in the place of the weights, and these beside it."""
        current = checkpoint["state_dict"]
        averaged = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        checkpoint["state_dict"], checkpoint["current_model_state"] = current | averaged, current

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take both back."""
        averaged: dict[str, Tensor] = checkpoint["state_dict"]
        self.model.load_state_dict(
            {name.removeprefix("model."): v for name, v in averaged.items() if name[:6] == "model."}
        )
        trainer.strategy.load_model_state_dict({"state_dict": checkpoint["current_model_state"]})

    def state_dict(self) -> dict[str, Any]:
        """The step of the last update."""
        return {"step": self.step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.step = state_dict["step"]
