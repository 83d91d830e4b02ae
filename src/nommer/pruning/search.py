"""Greedy removal of contexts: the least nominated first, with an evaluation after each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from nommer.pruning.surgery import Kept

Shares = Mapping[str, Mapping[str, float]]
"""Part of the tokens of each nominating block that nominated each context."""


@dataclass(frozen=True)
class Evaluated:
    """A network as it was evaluated: its measure, and what it nominates."""

    measure: float
    """The task's own, 0 to 1."""
    shares: Shares


@dataclass(frozen=True)
class Removal:
    """Contexts of one block that might go together."""

    block: str
    contexts: tuple[str, ...]
    share: float
    """Part of the block's tokens that nominated one of them just before."""


@dataclass(frozen=True)
class Step:
    """A removal that was evaluated."""

    removal: Removal
    measure: float
    change: float
    """Of the measure since the beginning, with all removals so far, in points of 100."""
    accepted: bool
    why: str


def candidates(
    kept: Kept, shares: Shares, tried: set[tuple[str, tuple[str, ...]]]
) -> list[Removal]:
    """Return what might go next and was not tried.

    First whole nominators, of a block all contexts but the most nominated; then contexts alone;
    of both the least nominated first.
    """
    found = []
    for block, of_block in shares.items():
        names = kept[block]
        most = max(names, key=lambda name: of_block[name])
        sets = [tuple(name for name in names if name != most), *((name,) for name in names)]
        found += [
            Removal(block, contexts, sum(of_block[name] for name in contexts))
            for contexts in dict.fromkeys(sets)
            if len(names) > 1 and (block, contexts) not in tried
        ]
    return sorted(found, key=lambda one: (-len(one.contexts), one.share))


def search(
    kept: Kept,
    first: Evaluated,
    evaluate: Callable[[Kept], Evaluated],
    *,
    share: float,
    cost: float,
    told: Callable[[Step], None],
) -> tuple[Kept, list[Step]]:
    """Remove what may go, one removal after the other, and return what is left.

    A removal stays if each of its contexts was nominated by a smaller part of the tokens than
    `share`, or if the measure, with all removals so far, is no more than `cost` points below the
    first. What was refused once is not tried again.

    Args:
        kept: contexts of each block at the beginning.
        first: the network as it is.
        evaluate: evaluates the network with these contexts.
        share: 0 to 1.
        cost: points of 100.
        told: is given each step as it is done.
    """
    now, steps = first, []
    tried: set[tuple[str, tuple[str, ...]]] = set()
    while possible := candidates(kept, now.shares, tried):
        removal = possible[0]
        tried.add((removal.block, removal.contexts))
        rare = all(now.shares[removal.block][name] < share for name in removal.contexts)
        if not rare and cost < 0:
            continue
        left = tuple(name for name in kept[removal.block] if name not in removal.contexts)
        without = {**kept, removal.block: left}
        evaluated = evaluate(without)
        change = 100 * (evaluated.measure - first.measure)
        accepted = rare or -change <= cost
        why = (
            f"nominated by less than {share:.2%}"
            if rare
            else f"{'within' if accepted else 'beyond'} {cost:g} points"
        )
        steps.append(Step(removal, evaluated.measure, change, accepted, why))
        told(steps[-1])
        if accepted:
            kept, now = without, evaluated
    return kept, steps
