"""Attention maps of chosen tokens: the tokens they draw on in every block, and the weights.

In a nominator block (stages 1-2) that is the support of the context the token nominates: a 3x3
field, its window, or the compressed blocks of the whole image; in stages 3-4 it is all tokens, and
in stage 4 the class token too. The weights are those that the network computes: attention in the
network comes as one fused operation that does not tell them, so a hook computes them once more,
from the same queries, keys and bias, for the chosen tokens alone.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any

import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float
from torch import Tensor, nn

from nommer.backbone.attention import MultiHeadAttention
from nommer.backbone.network import NomMer
from nommer.backbone.nominator import NominatedContext, Nomination
from nommer.nominations.receptive import Place, context_support, mixers, one_token
from nommer.nominations.trace import nominator_blocks, without_compilation

ATTENTION = "attention"
"""Kind of what tokens see in stages 3-4; in stages 1-2 it is the name of a context."""


@dataclass(frozen=True, eq=False)
class TokenView:
    """The tokens that one token draws on in one block."""

    block: str
    """As "stage 1 block 1"."""
    kind: str
    """Name of the nominated context, or `ATTENTION`."""
    share: float
    """Weight of this context in what the token gets, 0 to 1: 1 where one context is nominated."""
    place: Place | None
    """Row and column of the token; None for the class token."""
    stride: int
    """Pixels per token along one side, of the network's input."""
    support: Bool[Tensor, "rows columns"]
    """The tokens that it draws on."""
    weights: Float[Tensor, "rows columns"] | None
    """Mean over heads, adding to 1 with `class_weight`; None for a convolution.

    A convolution's weights differ from channel to channel. A compressed block's weight is divided
    evenly between the tokens in it.
    """
    class_weight: float = 0.0
    """Weight of the class token."""


@torch.no_grad()
def attention_weights(
    attention: MultiHeadAttention,
    tokens: Float[Tensor, "tokens width"],
    queries: Sequence[int],
    bias: Float[Tensor, "heads tokens tokens"] | None = None,
) -> Float[Tensor, "queries heads tokens"]:
    """Return the attention weights of some tokens, adding to 1 per query and head.

    Args:
        attention: the module.
        tokens: what it is given of one image or window, (N, width).
        queries: indices of the tokens that attend.
        bias: what is added to the scores.
    """
    query, key, _ = rearrange(
        attention.qkv(tokens), "n (qkv h d) -> qkv h n d", qkv=3, h=attention.heads
    )
    chosen = list(queries)
    scores = query[:, chosen] @ key.mT * query.shape[-1] ** -0.5
    if bias is not None:
        scores = scores + bias[:, chosen].to(scores.dtype)
    return scores.to(torch.promote_types(scores.dtype, torch.float32)).softmax(-1).transpose(0, 1)


class AttentionTrace(AbstractContextManager["AttentionTrace"]):
    """While it is open, records what some tokens of one image see in every block of a network.

    Outputs are the same inside and outside; the hooks are gone afterwards, also after an exception.
    Without places it does nothing.

    Args:
        network: runs alone or in whatever holds it, in evaluation mode, once, on one image.
        places: pixels of the network's input (row, column); in every stage, the token that a pixel
            lies in is meant.

    Raises:
        ValueError: on entering, where nothing is nominated; while running, at more than one image.
    """

    def __init__(self, network: NomMer, places: Sequence[Place]) -> None:
        self.network, self.places = network, list(places)
        self.images: Tensor | None = None
        """The network's input, (1, channels, H, W)."""
        self.used: dict[str, dict[str, Tensor]] = {}
        """Weight of a context in every token (rows, columns), per nominator block and context."""
        self._weights: dict[tuple[str, str], Tensor] = {}
        """Mean over heads, (places, rows, columns) per block and kind.

        In stages 3-4 (places, class token; tokens).
        """
        self._open = ExitStack()

    def __enter__(self) -> "AttentionTrace":
        if not self.places:
            return self
        blocks = nominator_blocks(self.network)  # raises before any hook is there
        self._open.enter_context(without_compilation(self.network))
        self._hook(self.network.stem, self._keep_images)
        for stage, name, mixer in mixers(self.network):
            if isinstance(mixer, NominatedContext):
                if name in blocks:
                    self._hook(blocks[name], partial(self._keep_nominated, name))
                else:  # pruned to a single context
                    self._hook(mixer, partial(self._keep_only, stage, name))
                self._hook_contexts(stage, name, mixer)
            else:
                self._hook(mixer, partial(self._keep_attention, stage, name))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def views(self, index: int) -> list[TokenView]:
        """Return what the token at the place of this index draws on, block after block."""
        found = []
        for stage, name, mixer in mixers(self.network):
            place = self._tokens(stage)[index]
            if isinstance(mixer, NominatedContext):
                found.append(self._nominated_view(stage, name, index))
            else:
                found.append(self._attention_view(stage, name, index, place))
        return found

    def class_views(self) -> list[TokenView]:
        """Return what the class token draws on in the last stage; nothing without places."""
        if not self.places:
            return []
        last = len(self.network.config.depths) - 1
        named = [name for stage, name, _ in mixers(self.network) if stage == last]
        return [self._attention_view(last, name, len(self.places), None) for name in named]

    def _nominated_view(self, stage: int, name: str, index: int) -> TokenView:
        place = self._tokens(stage)[index]
        shares = {context: float(weights[place]) for context, weights in self.used[name].items()}
        context = max(shares, key=lambda context: shares[context])
        window_size = self.network.config.window_size
        support = context_support(
            context, one_token(place, self._grid(stage)), window_size=window_size
        )
        weights = self._weights.get((name, context))
        stride = self.network.config.reductions[stage]
        of_token = None if weights is None else weights[index]
        return TokenView(name, context, shares[context], place, stride, support, of_token)

    def _attention_view(self, stage: int, name: str, index: int, place: Place | None) -> TokenView:
        weights, (rows, columns) = self._weights[name, ATTENTION][index], self._grid(stage)
        of_class, of_tokens = (
            weights[: -rows * columns].sum(),
            weights[-rows * columns :].view(rows, columns),
        )
        everything = torch.ones(rows, columns, dtype=torch.bool)
        stride = self.network.config.reductions[stage]
        return TokenView(
            name, ATTENTION, 1.0, place, stride, everything, of_tokens, float(of_class)
        )

    def _grid(self, stage: int) -> tuple[int, int]:
        """Rows and columns of a stage's tokens."""
        if self.images is None:
            raise ValueError("nothing was recorded: the network did not run")
        return self.network.config.grid_size(self.images.shape[-2], self.images.shape[-1], stage)

    def _tokens(self, stage: int) -> list[Place]:
        """The tokens of a stage that the places lie in."""
        stride = self.network.config.reductions[stage]
        return [(row // stride, column // stride) for row, column in self.places]

    # ---- hooks

    def _hook(self, module: nn.Module, hook: Any) -> None:
        self._open.callback(module.register_forward_hook(hook).remove)

    def _hook_contexts(self, stage: int, name: str, mixer: NominatedContext) -> None:
        contexts: dict[str, Any] = dict(mixer.named_children())  # an ablation has not all of them
        for context, keep in (("window", self._keep_window), ("spectral", self._keep_compressed)):
            if context in contexts:
                self._hook(contexts[context].attention, partial(keep, stage, name))

    def _keep_images(self, _stem: nn.Module, inputs: tuple[Tensor], _output: Tensor) -> None:
        if len(inputs[0]) != 1 or self.images is not None:
            raise ValueError(
                "what tokens see is recorded of one image at a time, each in a trace of its own"
            )
        self.images = inputs[0].detach()

    def _keep_nominated(
        self, name: str, nomination: Nomination, _inputs: Any, weights: Tensor
    ) -> None:
        of_contexts = weights[0].detach().float().cpu().unbind(-1)
        self.used[name] = dict(zip(nomination.contexts, of_contexts, strict=True))

    def _keep_only(self, stage: int, name: str, _mixer: nn.Module, _in: Any, out: Tensor) -> None:
        (context,) = self.network.config.contexts_of(stage, int(name.rpartition(" ")[2]) - 1)
        self.used[name] = {context: torch.ones(out.shape[1:3])}

    def _keep_window(
        self, stage: int, name: str, attention: MultiHeadAttention, inputs: Any, _output: Tensor
    ) -> None:
        windows, bias = inputs
        (rows, columns), side = self._grid(stage), self.network.config.window_size
        down, across, kept = -(-rows // side), -(-columns // side), []
        for row, column in self._tokens(stage):
            window, query = row // side * across + column // side, row % side * side + column % side
            own_bias = bias[window if len(bias) > 1 else 0].expand(attention.heads, -1, -1)
            weights = attention_weights(attention, windows[window], [query], own_bias)[0].mean(0)
            whole = weights.new_zeros(down * across, side * side)
            whole[window] = weights
            grid = rearrange(whole, "(h w) (y x) -> (h y) (w x)", w=across, x=side)
            kept.append(grid[:rows, :columns])
        self._weights[name, "window"] = torch.stack(kept).cpu()

    def _keep_compressed(
        self, stage: int, name: str, attention: MultiHeadAttention, inputs: Any, _output: Tensor
    ) -> None:
        (rows, columns), side = self._grid(stage), self.network.config.block_sizes[stage]
        down, across = inputs[0].shape[1:3]
        queries = [row // side * across + column // side for row, column in self._tokens(stage)]
        weights = attention_weights(attention, inputs[0][0].flatten(0, 1), queries).mean(1)
        spread = repeat(weights, "q (h w) -> q (h y) (w x)", h=down, y=side, x=side)[
            :, :rows, :columns
        ]
        heights, widths = (_tokens_of_block(count, side).to(spread) for count in (rows, columns))
        self._weights[name, "global"] = (spread / heights[:, None] / widths).cpu()

    def _keep_attention(
        self, stage: int, name: str, attention: MultiHeadAttention, inputs: Any, _output: Tensor
    ) -> None:
        tokens, (_, columns) = inputs[0][0], self._grid(stage)
        prefix = self.network.num_prefix_tokens if tokens.ndim == 2 else 0
        queries = [
            *(prefix + row * columns + column for row, column in self._tokens(stage)),
            *range(prefix),
        ]
        weights = attention_weights(attention, tokens.reshape(-1, tokens.shape[-1]), queries)
        self._weights[name, ATTENTION] = weights.mean(1).cpu()


def _tokens_of_block(count: int, side: int) -> Tensor:
    """Return how many of `count` tokens share a block of `side` with each; fewer in the last."""
    blocks = torch.arange(count) // side
    return torch.bincount(blocks)[blocks]
