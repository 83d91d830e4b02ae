"""The working pattern of a data set, observed in an evaluation, and over the training."""

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch.nn.functional as F
from torch import Tensor

from nommer.backbone.contexts import CONTEXTS
from nommer.backbone.network import NomMer
from nommer.inference.evaluation import Opened
from nommer.models.inference import WHOLE_PIXELS
from nommer.models.storage import Model, nommer_of
from nommer.nominations.cells import block_strides, cells_of
from nommer.nominations.patterns import Pattern
from nommer.nominations.texture import grey
from nommer.nominations.trace import NominationTrace
from nommer.progress import track
from nommer.runs.folder import RunFolder
from nommer.settings.evaluate import EvaluateSettings
from nommer.tasks.evaluation import Evaluation
from nommer.tasks.studying import KnownRegions

Rows = list[dict[str, Any]]
"""A table: one dictionary per row, the same keys in all."""


@dataclass(frozen=True)
class ObservedPattern:
    """The tables of a working pattern, by name, and why others are not there."""

    tables: dict[str, Rows]
    absent: dict[str, str]
    token: int
    """Return the side of a token of the finest grid, in pixels of an image file of size `own`."""
    shrunk: int
    """Images too large to be seen whole: nominations are of the image shrunk to 2 megapixels."""


class PatternObserver(L.Callback):
    """Adds the nominations of a model on every image it is evaluated on to a `Pattern`.

    Args:
        model: the model that is evaluated.
        regions: of its images, as far as they are known.
        images: how many there will be.
        seed: of the intervals.
    """

    def __init__(self, model: Model, regions: KnownRegions, images: int, *, seed: int) -> None:
        self.model, self.regions = model, regions
        self.strides = block_strides(nommer_of(model, "the model"))
        self.pattern = Pattern(list(self.strides), self.regions.facets, seed=seed)
        self.shrunk = 0
        self._trace: NominationTrace | None = None
        self._progress: Iterator[int] = track(
            range(images), total=images, what="observing nominations"
        )

    def on_validation_batch_start(self, *_: Any, **__: Any) -> None:
        """Begin to record."""
        self._trace = NominationTrace(self.model, keep_maps=True).__enter__()

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        *_: Any,
        **__: Any,
    ) -> None:
        """Add the images of the batch."""
        trace = self._close()
        samples = trainer.datamodule.val.samples  # type: ignore[attr-defined]  # ours, see `evaluate`
        for position, index in enumerate(batch.indices.tolist()):
            self._add(trace, batch, position, samples[index])
            next(self._progress, None)

    def on_exception(self, *_: Any, **__: Any) -> None:
        """Take the hooks off whatever happens."""
        if self._trace is not None:
            self._close()

    def _close(self) -> NominationTrace:
        trace, self._trace = self._trace, None
        if trace is None:
            raise RuntimeError("a batch ended that did not begin")
        trace.__exit__(None, None, None)
        return trace

    def _add(self, trace: NominationTrace, batch: Any, position: int, sample: Any) -> None:
        image: Tensor = batch.images[position]
        place, size = position, (image.shape[-2], image.shape[-1])
        if not self.model.sees_whole(size):
            image, trace = self._seen_whole(image)
            place, size, self.shrunk = 0, (image.shape[-2], image.shape[-1]), self.shrunk + 1
        own = self.regions.file_size(batch, position, size)
        token = finest_token(nommer_of(self.model, "the model"), own, size)
        brightness = grey(self.model.preprocessing.denormalise(image.float()).cpu().numpy())
        groups = self.regions.groups(batch, position, sample, token)
        self.pattern.add(cells_of(trace, place, size, self.strides), brightness, groups)

    def _seen_whole(self, image: Tensor) -> tuple[Tensor, NominationTrace]:
        """Shrink an image that is evaluated in windows until it can be seen whole, and trace it."""
        factor = math.sqrt(WHOLE_PIXELS / math.prod(image.shape[-2:]))
        sides = [max(1, int(side * factor)) for side in image.shape[-2:]]
        shrunk = F.interpolate(image[None].float(), size=sides, mode="bilinear", antialias=True)
        with NominationTrace(self.model, keep_maps=True) as trace:
            self.model.network.scores(shrunk)
        return shrunk[0], trace


def finest_token(network: NomMer, own: tuple[int, int], seen: tuple[int, int]) -> float:
    """Return the side of a token of the finest grid, in pixels of an image file of size `own`."""
    return min(block_strides(network).values()) * math.sqrt(math.prod(own) / math.prod(seen))


def observe(
    opened: Opened, settings: EvaluateSettings, out: Path, *, seed: int
) -> tuple[ObservedPattern, Evaluation]:
    """Evaluate a model on all of its data, as `evaluate` does, and look on."""
    regions = opened.task.study().regions(opened.model)
    observer = PatternObserver(opened.model, regions, len(opened.data.samples()), seed=seed)
    evaluation = opened.evaluate(opened.data, settings, out, callbacks=[observer])
    tables, absent = tables_of(observer.pattern), dict(observer.regions.absent)
    tables |= {"epochs": read_epochs(opened.run)}
    absent |= {name: _NOTHING[name] for name, rows in tables.items() if not rows}
    token = min(observer.strides.values())
    return ObservedPattern(
        {n: rows for n, rows in tables.items() if rows}, absent, token, observer.shrunk
    ), evaluation


_NOTHING = {
    "epochs": "the model is not in a run folder with a nominations.csv, so its training is not "
    "known",
    "between_blocks": "the network has one nominator block only",
    "distance": "no image has a border",
    "size": "there is no object of any size",
    "part": "there is no pixel of any class",
    "class": "there is no pixel of any class",
}
"""The reason for which a table has no rows."""


def tables_of(pattern: Pattern) -> dict[str, Rows]:
    """Every table of a pattern by its name, also those without rows."""
    return {
        "blocks": pattern.overall(),
        **{name: pattern.by(name) for name in pattern.facets},
        "gradient": pattern.by_gradient(),
        "frequency": pattern.by_frequency(),
        "neighbours": pattern.neighbours(),
        "between_blocks": pattern.between(),
    }


def read_epochs(run: RunFolder) -> Rows:
    """Return shares per epoch and block on validation images, as the run wrote them, if any."""
    if not run.nominations.is_file():
        return []
    with run.nominations.open(newline="", encoding="utf-8") as stream:
        return [
            {
                "epoch": int(row["epoch"]),
                "block": row["block"],
                **{name: float(row[name]) for name in CONTEXTS},
            }
            for row in csv.DictReader(stream)
        ]
