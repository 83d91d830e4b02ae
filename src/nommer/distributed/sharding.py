"""Fully sharded training (torch's FSDP2).

Every process keeps a part of weights, gradients and the optimiser's state.

Whole weights are put together where they are needed: block by block within a step, and in a plain
model of the same kind for what is not a step. That one is judged, averaged, saved; so checkpoints
and models are those of any other run.
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, cast

import lightning as L
import torch
import torch.distributed as dist
from lightning.pytorch.strategies import ModelParallelStrategy
from lightning.pytorch.strategies.strategy import Strategy
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer
from torch.utils._pytree import tree_map

from nommer.backbone.block import Block
from nommer.errors import InputError

SHARDABLE = ("adamw", "adam", "sgd")
"""Optimisers that treat every weight by itself, so that each process can do so with its part."""


def check_shardable(processes: int, optimizer: str, *, precision: str, compiled: bool) -> None:
    """Refuse what cannot be shared among processes.

    Raises:
        InputError: a single process, or an option that does not go with it.
    """
    for refused, reason in (
        (
            processes == 1,
            "is for several processes and this is one; give --devices, or leave it out",
        ),
        (compiled, "is not with --compile; leave one of both out"),
        (precision == "16", "is not with --precision 16; use bf16 or 32"),
        (
            optimizer not in SHARDABLE,
            f"is with --optim.name {', '.join(SHARDABLE)}, not {optimizer}",
        ),
    ):
        if refused:
            raise InputError(f"--strategy fsdp: {reason}")


class Sharding(ModelParallelStrategy):
    """Lightning's strategy for FSDP2, whose checkpoints are whole.

    Args:
        processes: of the run, on all machines.
    """

    lightning_restore_optimizer = True  # as other strategies do

    def __init__(self, processes: int) -> None:
        super().__init__(
            data_parallel_size=processes, tensor_parallel_size=1, save_distributed_checkpoint=False
        )
        self.plain: nn.Module | None = None

    def shard(self, model: nn.Module) -> None:
        """Spread the weights of a model's network over the processes.

        Each block's apart, and all others together.
        """
        self.plain = deepcopy(model).eval().requires_grad_(False)
        network, mesh = cast("nn.Module", model.network), self.device_mesh["data_parallel"]
        for block in [module for module in network.modules() if isinstance(module, Block)]:
            fully_shard(block, mesh=mesh)
        fully_shard(network, mesh=mesh)
        if hasattr(network, "forward_with_auxiliary"):
            register_fsdp_forward_method(network, "forward_with_auxiliary")

    def setup(self, trainer: L.Trainer) -> None:
        """Let batch norms be shared, if they are to be, which Lightning does for other strategies."""
        if self._layer_sync is not None and self.model is not None:
            self.model = self._layer_sync.apply(self.model)
        super().setup(trainer)
        self._whole.to(self.root_device)

    def teardown(self) -> None:
        """Leave the plain model behind, in the place of the sharded one."""
        if self.lightning_module is not None and self.plain is not None:
            self.lightning_module.model = self.plain
        super().teardown()

    @property
    def _whole(self) -> nn.Module:
        if self.plain is None:
            raise RuntimeError("nothing is sharded yet")
        return self.plain

    @property
    def _sharded(self) -> nn.Module:
        return cast("nn.Module", cast("Any", self.lightning_module).model)

    @torch.no_grad()
    def gather(self) -> nn.Module:
        """The plain model with the weights as they are now; every process has to ask for it.

        Statistics of batch norms are those of the first process, as with other strategies.
        """
        sharded = dict(self._sharded.named_parameters())
        for name, weight in self._whole.named_parameters():
            weight.copy_(full(sharded[name]))
        buffers = dict(self._sharded.named_buffers())
        for name, whole in self._whole.named_buffers():
            whole.copy_(buffers[name])
            dist.broadcast(whole, 0)
        return self._whole

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Whole weights, by the names that they have without sharding."""
        return {f"model.{name}": value for name, value in self.gather().state_dict().items()}

    @torch.no_grad()
    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Take this process's part of whole weights."""
        state = {
            name.removeprefix("model."): value for name, value in checkpoint["state_dict"].items()
        }
        self._whole.load_state_dict(state, strict=strict)
        plain = dict(self._whole.named_parameters()) | dict(self._whole.named_buffers())
        for name, tensor in [*self._sharded.named_parameters(), *self._sharded.named_buffers()]:
            tensor.copy_(like(plain[name], tensor))

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """The optimiser's state, whole, as it is without sharding."""
        return cast("dict[str, Any]", tree_map(full, optimizer.state_dict()))

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Take this process's part of a whole state."""
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            weights = [weight for group in optimizer.param_groups for weight in group["params"]]
            parts = {
                number: {name: like(value, weights[number]) for name, value in values.items()}
                for number, values in state["state"].items()
            }
            optimizer.load_state_dict({**state, "state": parts})

    def load_checkpoint(
        self, checkpoint_path: Any, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint, which every process does for itself."""
        return Strategy.load_checkpoint(self, checkpoint_path, weights_only)


def full(value: Any) -> Any:
    """A sharded tensor put together, for which every process has to ask; anything else as it is."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def local(value: Tensor) -> Tensor:
    """This process's part of a sharded tensor; any other as it is."""
    return value.to_local() if isinstance(value, DTensor) else value


def like(value: Any, tensor: Tensor) -> Any:
    """This process's part of a whole tensor, where `tensor` is sharded and of its shape.

    Anything else as it is.
    """
    if not (
        isinstance(tensor, DTensor) and isinstance(value, Tensor) and value.shape == tensor.shape
    ):
        return value
    return distribute_tensor(
        value.to(tensor.device), tensor.device_mesh, tensor.placements, src_data_rank=None
    )


class WholeWeights(L.Callback):
    """Lets the plain model be judged in validations, where weights are sharded and no average is
    judged.
    """

    def __init__(self) -> None:
        self.learning: nn.Module | None = None

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put it in the place of the sharded one."""
        plain = cast("Sharding", trainer.strategy).gather()
        self.learning, pl_module.model = cast("nn.Module", pl_module.model), plain

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Go on learning with the sharded one."""
        if self.learning is not None:
            pl_module.model, self.learning = self.learning, None
