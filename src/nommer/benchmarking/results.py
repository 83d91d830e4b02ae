"""Results of `nommer benchmark`."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nommer.benchmarking.cases import Case
from nommer.benchmarking.timing import Spread


@dataclass(frozen=True)
class Measurement:
    """The measurements of one case; `failure` says why there are none."""

    case: Case
    failure: str | None = None
    seconds: Spread | None = None
    """Of a call: a batch through the network, or a training step."""
    ratio: Spread | None = None
    """Speed, as a multiple of that of the first peer in the same backend, round by round."""
    memory: int | None = None
    """Bytes held at most: weights and the optimiser's state, and what is added during a call."""
    share: float | None = None
    """Part of the machine's fastest matrix product, in the same number format, that the network's
    own products make.
    """

    @property
    def images_per_second(self) -> float | None:
        """Throughput."""
        return None if self.seconds is None else self.case.batch / self.seconds.median

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        spreads = {
            name: asdict(value) if value else None for name, value in self._spreads().items()
        }
        numbers = {
            "images_per_second": self.images_per_second,
            "memory_bytes": self.memory,
            "share_of_peak": self.share,
        }
        return asdict(self.case) | spreads | numbers | {"failure": self.failure}

    def _spreads(self) -> dict[str, Spread | None]:
        return {"seconds": self.seconds, "ratio": self.ratio}


@dataclass(frozen=True)
class BenchmarkResult:
    """All measurements, and where they are written."""

    out: Path
    device: str
    """The processor or GPU by name."""
    measurements: list[Measurement] = field(default_factory=list)
    peaks: dict[str, float] = field(default_factory=dict)
    """Operations per second of the fastest matrix product, per precision."""
    costs: dict[str, dict[str, float]] = field(default_factory=dict)
    """Parameters of each network, and its GMACs per image size."""
    reference: str | None = None
    """The peer that the others are compared with."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        rows = [measurement.to_dict() for measurement in self.measurements]
        return vars(self) | {"out": str(self.out), "measurements": rows}
