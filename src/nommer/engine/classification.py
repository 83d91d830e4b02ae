"""Training and judging an image classifier, as a Lightning module."""

from typing import Any

import lightning as L
import torch.nn.functional as F
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from timm.data import Mixup
from torch import Tensor

from nommer.data.classification import ClassificationBatch
from nommer.data.seeding import derive_seed, seed_all
from nommer.engine.metrics import ClassificationMetrics, ClassificationReport
from nommer.engine.optim import Optim
from nommer.heads.classification import Classifier


class ClassificationTask(L.LightningModule):
    """A classifier with its loss, optimiser and metrics.

    After validation, `report` holds the judgement and `answers` the class probabilities per sample of this process.
    """

    def __init__(
        self, model: Classifier, *, optim: Optim, lr: float, mixing: Mixup | None = None, seed: int = 0
    ) -> None:
        super().__init__()
        self.model = model
        self.optim, self.lr, self.mixing, self.seed = optim, lr, mixing, seed
        self.metrics = ClassificationMetrics(len(model.class_names))
        self.report: ClassificationReport | None = None
        self.answers: dict[int, Tensor] = {}

    def on_train_batch_start(self, batch: ClassificationBatch, batch_idx: int) -> None:
        """Make noise, drop path and mixing depend on (seed, epoch, process, batch) alone, so that resuming is exact."""
        seed_all(derive_seed(self.seed, self.current_epoch, self.global_rank, batch_idx))

    def training_step(self, batch: ClassificationBatch, batch_idx: int) -> Tensor:
        """Cross-entropy against smoothed, and where asked for mixed, labels."""
        images, targets = batch.images, batch.labels
        if self.mixing is not None:
            images, targets = self.mixing(images, targets)
        smoothing = self.optim.label_smoothing if targets.ndim == 1 else 0.0
        loss = F.cross_entropy(self.model(images).float(), targets, label_smoothing=smoothing)
        self.log(
            "train_loss", loss, on_step=False, on_epoch=True, batch_size=len(images), sync_dist=True, prog_bar=True
        )
        return loss

    def on_validation_epoch_start(self) -> None:
        """Start a new judgement."""
        self.metrics.reset()
        self.answers = {}

    def validation_step(self, batch: ClassificationBatch, batch_idx: int) -> None:
        """Collect scores."""
        logits = self.model(batch.images)
        self.metrics.update(logits, batch.labels)
        probabilities = logits.float().softmax(-1).cpu()
        self.answers.update(zip(batch.indices.tolist(), probabilities, strict=True))

    def on_validation_epoch_end(self) -> None:
        """Finish the judgement and log its numbers."""
        self.report = self.metrics.compute()
        values = {f"val_{k}": float(v) for k, v in self.report.summary().items() if isinstance(v, float)}
        self.log_dict(values, rank_zero_only=True)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """The optimiser and a schedule over all steps of the run."""
        epochs = self.trainer.max_epochs or 1
        steps = max(1, round(self.trainer.estimated_stepping_batches / epochs))
        optimizer = self.optim.optimizer(self.model.network, self.lr)
        scheduler = self.optim.scheduler(optimizer, self.lr, epochs=epochs, steps_per_epoch=steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},  # type: ignore[typeddict-item]  # timm's
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Forget the schedule of the run so far: it is a function of the step, and there may be more epochs now."""
        checkpoint["lr_schedulers"] = []

    def on_train_start(self) -> None:
        """Start, or go on, with the learning rate of this step."""
        for config in self.trainer.lr_scheduler_configs:
            self.lr_scheduler_step(config.scheduler, None)

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Timm's schedules count updates."""
        scheduler.step_update(num_updates=self.trainer.global_step)
