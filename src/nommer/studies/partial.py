"""Partial interventions: in objects, in the background, near borders, away from them."""

import math
import zlib
from contextlib import ExitStack
from typing import Any

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nommer.models.storage import Model, nommer_of
from nommer.nominations.intervention import intervene
from nommer.studies.pattern import finest_token
from nommer.tasks.studying import KnownRegions, Part

TOO_LARGE = "some images are too large to be seen whole, and parts of windows are not told apart"
NOWHERE = "no pixel lies in any such part"


class PartsSeen(L.Callback):
    """Record of where the parts of every image are, kept while a model is evaluated.

    It is kept compressed, since every later evaluation lays the parts over the network's input.
    """

    def __init__(self, model: Model, regions: KnownRegions) -> None:
        self.model = model
        self._regions, self._network = regions, nommer_of(model, "the model")
        self._kept: dict[tuple[Part, int], tuple[tuple[int, int], bytes]] = {}
        self._inside: dict[Part, int] = dict.fromkeys(self._regions.parts, 0)
        self._pixels = 0
        self._too_large = False

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        *_: Any,
        **__: Any,
    ) -> None:
        """Keep the parts of the one image of the batch, where there are any."""
        if not self._inside or self._too_large:
            return
        index, seen = int(batch.indices[0]), (batch.images[0].shape[-2], batch.images[0].shape[-1])
        self._too_large = not self.model.sees_whole(seen)
        own = self._regions.file_size(batch, 0, seen)
        sample = trainer.datamodule.val.samples[index]  # type: ignore[attr-defined]  # ours, see `evaluate`
        groups = self._regions.groups(batch, 0, sample, finest_token(self._network, own, seen))
        self._pixels += math.prod(own)
        for part in self._inside:
            inside = np.isin(groups[part.facet], part.groups)
            self._inside[part] += int(inside.sum())
            self._kept[part, index] = own, zlib.compress(np.packbits(inside).tobytes(), 1)

    @property
    def parts(self) -> list[Part]:
        """Those in which something lies; none where they cannot be told apart."""
        return [] if self._too_large else [part for part, inside in self._inside.items() if inside]

    @property
    def why_not(self) -> str:
        """Return why there are no parts."""
        if not self._inside:
            return self._regions.absent["part"]
        return TOO_LARGE if self._too_large else NOWHERE

    @property
    def shares(self) -> dict[str, float]:
        """The share of all pixels that lies in each part, 0 to 1."""
        return {part.name: inside / max(1, self._pixels) for part, inside in self._inside.items()}

    def region(self, part: Part, index: int, seen: tuple[int, int]) -> Tensor:
        """Return where a part of an image lies in the network's input; see `region_seen`.

        Args:
            part: one of `parts`.
            index: of the image.
            seen: height and width of the prepared image, without padding.
        """
        own, kept = self._kept[part, index]
        bits = np.unpackbits(np.frombuffer(zlib.decompress(kept), np.uint8), count=math.prod(own))
        return region_seen(
            bits.reshape(own).astype(bool), seen, self._network.config.reductions[-1]
        )


def region_seen(inside: np.ndarray, seen: tuple[int, int], multiple: int) -> Tensor:
    """Return where a part of an image lies in a dense network's input, bool; not on padding.

    Args:
        inside: (H, W) bool, at the size of the file.
        seen: height and width of the prepared image.
        multiple: both sides are padded at the end until it divides them, as segmenters and
            detectors do.
    """
    resized = F.interpolate(
        torch.from_numpy(inside)[None, None].float(), seen, mode="nearest-exact"
    )[0, 0]
    return F.pad(resized, (0, -seen[1] % multiple, 0, -seen[0] % multiple)) > 0


class PartialIntervention(L.Callback):
    """While it is open, all blocks nominate otherwise in one part of the image.

    A token belongs to the part that its centre lies in. Images are evaluated one by one.

    Args:
        seen: what was seen of the same images before.
        kind: one of `KINDS`.
        part: one of those seen.
        seed: of chance.
    """

    def __init__(self, seen: PartsSeen, kind: str, part: Part, *, seed: int) -> None:
        self._seen, self._kind, self._part, self._seed = seen, kind, part, seed
        self._open = ExitStack()

    def on_validation_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, *_: Any
    ) -> None:
        """Intervene on the one image of the batch."""
        index, size = int(batch.indices[0]), (batch.images[0].shape[-2], batch.images[0].shape[-1])
        region = self._seen.region(self._part, index, size)
        self._open.enter_context(
            intervene(self._seen.model, self._kind, region=region, seed=self._seed + index)
        )

    def on_validation_batch_end(self, *_: Any, **__: Any) -> None:
        """Leave the model as it was."""
        self._open.close()

    def on_exception(self, *_: Any, **__: Any) -> None:
        """Leave the model as it was, whatever happens."""
        self._open.close()
