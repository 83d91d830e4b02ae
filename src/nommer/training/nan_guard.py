"""The NaN guard: a run stops before a step whose loss or gradient is NaN or infinite.

The norm of the gradient is what clipping computes anyway; that it is looked at is the one time per
step that the processor waits for the device. Looking now and then would cost less, but leave
weights that are NaN, and a replay would have to train up to the step again. Of several processes
all stop if one has to.
"""

from itertools import islice
from pathlib import Path
from typing import Any, cast

import lightning as L
import safetensors.torch
import torch
import torch.distributed as dist
from torch import Tensor, nn

from nommer.data.module import ImageData
from nommer.errors import InputError
from nommer.files import write_atomically, write_json
from nommer.runs.folder import RunFolder
from nommer.tasks.module import TaskModule

IMITATION = "distillation."
"""Start of the names of the projections by which a teacher's maps are imitated."""


class BadStep:
    """The files of a step with a NaN or infinite loss or gradient, which was not taken.

    `step.json` says where in the run it is and which samples its batches have, in the order and
    with the seeds of their random changes; a process of several other than the first adds its
    number to the name. `weights.safetensors` holds parameters and buffers as they were before the
    weights would have changed; running statistics of batch norms, which do not matter in training,
    have seen the step's images.
    """

    def __init__(self, run: RunFolder) -> None:
        self.folder = run.path / "nonfinite"
        self.weights = self.folder / "weights.safetensors"
        self.layers = self.folder / "layers.csv"

    def step(self, rank: int) -> Path:
        """Return the file in which a process names the samples of its batches."""
        return self.folder / (f"step-{rank}.json" if rank else "step.json")


class NaNGuard(L.Callback):
    """Refuses steps whose losses or gradient are NaN or infinite.

    Args:
        run: the run folder.
        scaled: whether gradients may be infinite now and then, as in float16, where such steps are
            left out and the losses alone tell.
    """

    def __init__(self, run: RunFolder, *, scaled: bool) -> None:
        self.run, self.scaled = run, scaled
        self.losses: list[Tensor] = []

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Be shown the gradients' norms."""
        if stage == "fit":
            self.losses = []
            cast("TaskModule", pl_module).watch_gradient = lambda norm: self.check(trainer, norm)

    def on_before_backward(
        self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor
    ) -> None:
        """Note the loss of a batch, which may be one of several that make a step."""
        self.losses.append(loss.detach().float())

    def check(self, trainer: L.Trainer, norm: Tensor) -> None:
        """Check a step that is about to be taken.

        Raises:
            InputError: its losses, in any process, or the norm of its gradient, are not finite.
        """
        losses, self.losses = torch.stack(self.losses), []
        seen = losses if self.scaled else torch.cat([losses, norm.detach().reshape(1).to(losses)])
        if trainer.strategy.reduce_boolean_decision(bool(torch.isfinite(seen).all())):
            return
        self._write(trainer, [float(loss) for loss in losses], float(norm))
        what, where = self._locate(
            [float(loss) for loss in losses if not loss.isfinite()], float(norm)
        )
        last = self.run.last
        good = last.is_file()
        saved = f"{last} is the last good checkpoint" if good else "there is no checkpoint yet"
        error = InputError(
            f"{what} in epoch {trainer.current_epoch + 1}, step {trainer.global_step + 1}, which "
            "was not taken; "
            f"{where} names its samples, and `nommer replay {self.run.path}` shows in which layer "
            "it begins; "
            f"{saved}; "
            "lower --lr in a new run, or use --precision 32 if it is 16"
        )
        error.everywhere = True
        raise error

    def _locate(self, losses: list[float], norm: float) -> tuple[str, Path]:
        """Return which value was not finite, of which process, and where its samples are named.

        Waits until every process has named them.
        """
        bad_step, everyones = BadStep(self.run), [losses]
        if dist.is_initialized():
            everyones = [[] for _ in range(dist.get_world_size())]
            dist.all_gather_object(everyones, losses)
        guilty = [(rank, bad[0]) for rank, bad in enumerate(everyones) if bad]
        if not guilty:
            return f"the gradient's norm became {norm}", bad_step.folder
        rank, bad = guilty[0]
        process = (
            f" of process {rank} (of {len(everyones)}, from 0 on)" if len(everyones) > 1 else ""
        )
        return f"the training loss{process} became {bad}", bad_step.step(
            rank
        ) if process else bad_step.folder

    def _write(self, trainer: L.Trainer, losses: list[float], norm: float) -> None:
        """Write down what is needed to do the step again."""
        bad_step, task = BadStep(self.run), cast("TaskModule", trainer.lightning_module)
        bad_step.folder.mkdir(exist_ok=True)
        last = trainer.fit_loop.epoch_loop.batch_idx
        numbers = range(last + 1 - len(losses), last + 1)
        facts = {
            "epoch": trainer.current_epoch + 1,
            "step": trainer.global_step + 1,
            "rank": trainer.global_rank,
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
            "gradient_norm": str(norm),
            "is_choosing": task.is_choosing,
            "batches": [
                {"batch": number, "loss": str(loss), "samples": samples_of(trainer, number)}
                for number, loss in zip(numbers, losses, strict=True)
            ],
        }
        write_json(bad_step.step(trainer.global_rank), facts)
        if trainer.is_global_zero:
            imitation = task.distillation.state_dict() if task.distillation else {}
            named = {IMITATION + name: value.cpu() for name, value in imitation.items()}
            tensors = safetensors.torch.save(state_of(task.model) | named)
            write_atomically(bad_step.weights, lambda stream: stream.write(tensors))


def samples_of(trainer: L.Trainer, batch: int) -> list[dict[str, Any]]:
    """File, index and seed of every sample of one of this epoch's batches, in this process."""
    data: ImageData[Any, Any] = trainer.datamodule  # type: ignore[attr-defined]
    sampler, size = data.train_sampler(), data.loading.batch_size
    sampler.set_epoch(trainer.current_epoch)
    keys = list(islice(iter(sampler), batch * size, (batch + 1) * size))
    paths = (data.train.samples[index].path.absolute() for index, _ in keys)
    return [
        {"file": str(path), "index": index, "seed": seed}
        for path, (index, seed) in zip(paths, keys, strict=True)
    ]


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """All parameters and buffers, those too that are not saved with a model."""
    named = [*model.named_parameters(), *model.named_buffers()]
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in named}
