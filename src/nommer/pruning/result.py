"""The result of `nommer prune`."""

from dataclasses import dataclass
from pathlib import Path

from nommer.inference.comparison import Difference
from nommer.pruning.gain import Cost, Parity
from nommer.pruning.search import Step
from nommer.pruning.surgery import Kept


@dataclass(frozen=True)
class PruningResult:
    """Contexts that were removed, and what that changed; the rest is None where nothing was."""

    steps: list[Step]
    """Every removal that was evaluated, in order."""
    before: Kept
    """Contexts of each block of stages 1 and 2."""
    kept: Kept
    out: Path
    comparison: tuple[Difference, ...] = ()
    """The pruned model's numbers less the model's, the task's own measure first."""
    cost: Cost | None = None
    parity: Parity | None = None

    @property
    def removed(self) -> int:
        """Contexts that are gone, over all blocks."""
        return sum(len(self.before[block]) - len(left) for block, left in self.kept.items())
