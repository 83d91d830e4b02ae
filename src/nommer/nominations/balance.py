"""Training aids that keep all contexts in use: a balance loss, contexts of equal size.

Networks that route tokens tend to send all of them one way (routing collapse): what is chosen
learns, what is not chosen does not. Sources of the cures: the load-balancing losses of mixtures of
experts (Shazeer et al. 2017, arXiv 1701.06538; Fedus et al. 2021, arXiv 2101.03961), and the mutual
information between token and expert (Chen et al. 2022, "Mod-Squad", arXiv 2212.08066).
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nommer.backbone.contexts import SpectralContext, WindowContext
from nommer.backbone.nominator import NominatedContext, Nomination, Nominator
from nommer.shapes import Images


def balance_loss(
    scores: Sequence[Tensor], *, balance: float, decided: float, places: bool = False
) -> Float[Tensor, ""]:
    """Return `balance * (1 - H(mean p)) + decided * mean H(p)`, the mean over the blocks.

    p is the softmax of a token's scores without noise, H the entropy over the log of the number of
    contexts. The first term is 0 where the tokens of the batch choose all contexts equally often,
    the second where every token is sure. With equal weights it is a constant minus the mutual
    information between token and context. With `places` the mean is taken over the images at every
    place of the grid, and the first term over places: the information that the place does not tell.

    Args:
        scores: of each block, (B, rows, columns, contexts).
        balance: weight of the first term.
        decided: weight of the second term.
        places: keep the balance at every place, over the images of the batch.
    """
    losses = []
    for logits in scores:
        logs = logits.float().log_softmax(-1)
        overall = logs.exp().mean(0 if places else (0, 1, 2))
        used = -(overall * overall.clamp_min(1e-9).log()).sum(-1).mean()
        open_choices = -(logs.exp() * logs).sum(-1).mean()
        loss = balance * (math.log(logs.shape[-1]) - used) + decided * open_choices
        losses.append(loss / math.log(logs.shape[-1]))
    return torch.stack(losses).mean()


@contextmanager
def recorded_scores(network: nn.Module) -> Iterator[list[Tensor]]:
    """Record the scores of every nomination of a network's forward pass, while it is open."""
    scores: list[Tensor] = []

    def record(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        scores.append(inputs[0])

    with ExitStack() as hooks:
        for module in network.modules():
            if isinstance(module, Nomination):
                hooks.callback(module.register_forward_pre_hook(record).remove)
        yield scores


@torch.no_grad()
def draw_nominators(network: nn.Module, image_size: int) -> None:
    """Draw the scores of all nominators anew, and bring the contexts to outputs of one size.

    A network that has learned to send all tokens one way can so learn to choose again: its scores
    lie so far apart that they have no gradient. For the arguments see `equalise_contexts`.
    """
    for module in network.modules():
        if isinstance(module, Nominator):
            nn.init.trunc_normal_(module.score.weight, std=0.02)
            nn.init.zeros_(module.score.bias)
    equalise_contexts(network, image_size)


@contextmanager
def _recorded_deviations(mixer: NominatedContext, found: dict[str, float]) -> Iterator[None]:
    """Record the standard deviation of each context's output while it is open."""
    with ExitStack() as hooks:
        for name in ("convolution", "window", "spectral"):

            def record(_: nn.Module, __: Any, grid: Tensor, name: str = name) -> None:
                found[name] = grid.std().item()

            hooks.callback(getattr(mixer, name).register_forward_hook(record).remove)
        yield


@torch.no_grad()
def equalise_contexts(network: nn.Module, image_size: int) -> None:
    """Scale fresh window and global contexts to outputs as large as the convolution's.

    The convolution carries its input along, while the last layers of the other two are drawn small:
    at the start they are near zero beside it. Those layers are scaled, block after block, by the
    outputs in training for eight images of seeded normal noise; nothing else changes, no statistics
    of batch norms either.

    Args:
        network: a NomMer with all three contexts.
        image_size: side of the images of noise, in pixels.
    """
    device = next(network.parameters()).device
    if device.type == "meta":
        return  # a network without weights, built to be counted
    was_training = network.training
    statistics = {name: value.clone() for name, value in network.named_buffers()}
    network.train()  # batch norms as training has them, by the statistics of the batch
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        images = torch.randn(8, 3, image_size, image_size).to(device)
        for mixer in network.modules():
            if isinstance(mixer, NominatedContext):
                _equalise(network, mixer, images)
    for name, value in network.named_buffers():
        value.copy_(statistics[name])
    network.train(was_training)


def _equalise(network: nn.Module, mixer: NominatedContext, images: Images) -> None:
    last_layers: dict[str, nn.Linear | nn.Conv2d] = {
        "window": cast("WindowContext", mixer.window).attention.proj,
        "spectral": cast("SpectralContext", mixer.spectral).expand,
    }
    found: dict[str, float] = {}
    with _recorded_deviations(mixer, found):
        network(images)
    for name, layer in last_layers.items():
        layer.weight.mul_(found["convolution"] / found[name])
