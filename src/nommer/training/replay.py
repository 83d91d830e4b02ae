"""Replay of the step with a NaN or infinite loss or gradient, layer by layer.

Its samples are read again by index and seed, not kept, so they go the way of the training.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors.torch

from nommer.acceleration.training import accelerate
from nommer.data.images import ImageError
from nommer.data.module import ImageData
from nommer.data.seeding import derive_seed, seed_all
from nommer.distributed.devices import one_device, parse_device, torch_device
from nommer.errors import InputError
from nommer.files import write_csv
from nommer.runs.folder import RunFolder
from nommer.runs.plain import check_plain
from nommer.settings.choices import Precision
from nommer.settings.train import TrainSettings
from nommer.tasks.module import TaskModule
from nommer.training.freezing import freeze, frozen_modules
from nommer.training.layer_trace import LayerTrace, Seen
from nommer.training.nan_guard import IMITATION, BadStep
from nommer.training.preparation import find_data, task_of_run
from nommer.training.steps import move, step_loss


@dataclass(frozen=True)
class ReplayResult:
    """A step that was done again."""

    seen: list[Seen]
    """Weights, inputs, outputs of layers, loss and gradients, in the order of computation."""
    first: Seen | None
    """The first with a value that is NaN or infinite; None where all are, this time."""
    samples: list[str]
    """The files of the step's samples."""
    table: Path
    """All of `seen` as CSV."""


def replay_step(run: RunFolder, *, device: str) -> ReplayResult:
    """Do the step again that stopped a run; see `nommer.replay`.

    Raises:
        InputError: the run was not stopped so, or its data are others now.
    """
    check_plain(run.path)
    bad_step = BadStep(run)
    steps = [run.read_json(path) for path in sorted(bad_step.folder.glob("step*.json"))]
    if not steps or not bad_step.weights.is_file():
        raise InputError(
            f"{run.path}: nothing to replay, {bad_step.folder} does not exist: no step was refused"
        )
    settings = run.settings()
    if settings is None:
        raise InputError(f"{run.path}: is no run folder, {run.config} does not exist")
    task, data = rebuild(settings, bad_step)
    trace = LayerTrace()
    for step in steps:
        replay_batches(
            task,
            data,
            step,
            trace,
            device=torch_device(one_device(device)),
            precision=settings.precision,
        )
    write_csv(bad_step.layers, [asdict(seen) for seen in trace.seen])
    files = [
        sample["file"] for step in steps for batch in step["batches"] for sample in batch["samples"]
    ]
    return ReplayResult(trace.seen, trace.first, files, bad_step.layers)


def rebuild(settings: TrainSettings, bad_step: BadStep) -> tuple[TaskModule, ImageData[Any, Any]]:
    """The task with the weights before the step, and the training data."""
    task, source = task_of_run(settings)
    found = find_data(task, settings, source)
    model = accelerate(
        task.model.build(settings.without_weights(), found.data),
        parse_device(settings.device, settings.devices)[0],
    )
    freeze(model.network, settings.freeze)
    state = safetensors.torch.load_file(bad_step.weights)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        tensor.data.copy_(state[name])
    data = task.data.training(settings, found.data, model)
    module = task.training_module(settings, model, lr=settings.learning_rate, found=found)
    if module.distillation is not None:
        module.distillation.load_state_dict(
            {
                name.removeprefix(IMITATION): value
                for name, value in state.items()
                if name.startswith(IMITATION)
            }
        )
    return module, data


def replay_batches(
    task: TaskModule,
    data: ImageData[Any, Any],
    step: dict[str, Any],
    trace: LayerTrace,
    *,
    device: str,
    precision: Precision,
) -> None:
    """Do the batches of one process's step, and their gradients, while `trace` looks on."""
    task.to(device).train()
    task.is_choosing = step.get("is_choosing", True)  # older versions did not write it
    for module in frozen_modules(task):
        module.eval()
    for name, parameter in task.model.named_parameters():
        trace.look(parameter, "weights", name)
        parameter.grad = None
    for part in step["batches"]:
        batch = move(load_batch(data, part["samples"]), device)
        trace.look(batch.images, "input")
        seed_all(derive_seed(task.seed, step["epoch"] - 1, step["rank"], part["batch"]))
        with trace.recorded(task.model):
            loss = step_loss(task, batch, part["batch"], precision=precision)
            trace.look(loss, "loss")
            (loss / len(step["batches"])).backward()  # type: ignore[no-untyped-call]
    for name, parameter in task.model.named_parameters():
        trace.look(parameter.grad, "gradient", name)


def load_batch(data: ImageData[Any, Any], samples: list[dict[str, Any]]) -> Any:
    """A batch with the random changes that it had.

    Raises:
        InputError: the training images are others than they were.
        ImageError: one cannot be decoded any more.
    """
    for sample in samples:
        index, file = sample["index"], sample["file"]
        now = str(data.train.samples[index].path) if index < len(data.train) else "no such image"
        if now != file:
            raise InputError(
                f"cannot replay, the data has changed: training image {index} was {file}, now {now}"
            )
    loaded = data.train.__getitems__([(sample["index"], sample["seed"]) for sample in samples])
    if isinstance(loaded, ImageError):
        raise loaded
    return data.collate(loaded)
