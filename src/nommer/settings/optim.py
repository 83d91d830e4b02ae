"""Optimiser and schedule; the defaults of the factors are the published ones."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from nommer.errors import InputError
from nommer.settings.schema import Settings

Schedule = Literal["cosine", "poly", "steps"]


@dataclass(frozen=True, kw_only=True)
class Optim(Settings):
    """Everything about the optimiser but the learning rate itself.

    Raises:
        InputError: a value out of range; the message names it.
    """

    prefix: ClassVar[str] = "optim."

    name: str | None = None
    """timm's name of the optimiser. By default adamw; muon for the small images for which --model
    auto is nommer_mini64."""
    weight_decay: float = 0.05
    """Not applied to biases, norms, embeddings and bias tables."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Averaging factors of Adam-like optimisers; one with another number of them has its own
    defaults.
    """
    eps: float = 1e-8
    """Term in the denominator of Adam-like optimisers."""
    clip_grad: float = 5.0
    """Largest norm of the gradient; 0 for no clipping."""
    warmup_epochs: float | None = None
    """Epochs in which the learning rate grows linearly. By default 5, but at most a tenth of the
    run.
    """
    warmup_factor: float = 1e-3
    """Learning rate at the very start, in learning rates."""
    schedule: Schedule | None = None
    """Course of the learning rate, step by step. By default cosine for classification, poly for
    segmentation, steps for detection."""
    power: float = 1.0
    """Exponent of the poly schedule; 1 falls on a straight line."""
    milestones: tuple[float, ...] | None = None
    """Epochs after which the steps schedule divides the learning rate by 10. By default 2/3 and
    11/12 of the run.
    """
    min_factor: float | None = None
    """Learning rate at the end, in learning rates. By default 0.01 with cosine and 0 with poly."""
    reference_batch: int | None = None
    """Total batch that the learning rate is for. With one given it is scaled to the real batch."""
    layer_decay: float | None = None
    """Factor by which the learning rate shrinks from each layer to the one before it."""
    label_smoothing: float | None = None
    """Share of the target that is spread over all classes. By default 0.1 for classification, 0 for
    segmentation.
    """

    def check(self) -> None:
        """Refuse values out of range."""
        rising = self.milestones is None or list(self.milestones) == sorted(self.milestones)
        if not rising or min(self.milestones or (1,)) <= 0:
            raise InputError(
                f"optim.milestones must be rising numbers above 0, got {self.milestones}"
            )
        if not 0 <= (self.label_smoothing or 0) < 1:
            raise InputError(
                f"optim.label_smoothing must be at least 0 and below 1, got {self.label_smoothing}"
            )
        for name in ("weight_decay", "clip_grad", "warmup_epochs", "warmup_factor", "min_factor"):
            if getattr(self, name) is not None and getattr(self, name) < 0:
                raise InputError(f"optim.{name} must be 0 or more, got {getattr(self, name)}")
        self._check_algorithm()

    def _check_algorithm(self) -> None:
        """Refuse values that no optimiser or schedule takes."""
        if not 0 <= min(self.betas) <= max(self.betas) < 1:
            raise InputError(
                f"optim.betas must be two numbers, at least 0 and below 1, got {self.betas}"
            )
        for name in ("eps", "power"):
            if getattr(self, name) <= 0:
                raise InputError(f"optim.{name} must be above 0, got {getattr(self, name)}")
        if self.layer_decay is not None and not 0 < self.layer_decay <= 1:
            raise InputError(
                f"optim.layer_decay must be above 0 and at most 1, got {self.layer_decay}"
            )
        if self.reference_batch is not None and self.reference_batch < 1:
            raise InputError(f"optim.reference_batch must be 1 or more, got {self.reference_batch}")

    @property
    def algorithm(self) -> str:
        """`name`, or the usual one."""
        return self.name or "adamw"

    def resolved(self, *, schedule: Schedule, label_smoothing: float) -> "Optim":
        """Return a copy with what is not given filled in, as it is usual for a task."""
        chosen = self.schedule or schedule
        smoothing = label_smoothing if self.label_smoothing is None else self.label_smoothing
        floor = (
            {"cosine": 1e-2, "poly": 0.0, "steps": 0.0}[chosen]
            if self.min_factor is None
            else self.min_factor
        )
        return replace(self, schedule=chosen, label_smoothing=smoothing, min_factor=floor)

    def scaled_lr(self, lr: float, total_batch: int) -> float:
        """Return the learning rate for `total_batch` images per step.

        They are counted over all processes and accumulated steps.
        """
        return lr * total_batch / self.reference_batch if self.reference_batch else lr
