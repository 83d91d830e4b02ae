"""Whole ONNX files: pixels in, answers out, computed by ONNX Runtime without loading PyTorch.

`nommer export --whole` writes them; the graph resizes, normalises and turns scores into answers.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from nommer.errors import InputError, shortened
from nommer.models.onnx_files import WHOLE, open_described
from nommer.models.thresholds import Threshold, least_scores
from nommer.models.whole_description import WholeDescription
from nommer.models.whole_kinds import MASKS, Least, Named, Wanted, WholeKind, check_labels, kind_of
from nommer.predictions import Detections, Failure

IMAGES = "images"
"""The input: (batch, height, width, 3) uint8."""

THRESHOLDS = "thresholds"
"""Input of a detector that may be left out, (classes,) float64: the least score of an answer of
each class, by default `class_thresholds`."""


class WholeFile:
    """A whole ONNX file, open.

    Args:
        path: of the file.
        session: of ONNX Runtime on it.
        told: its metadata.

    Raises:
        InputError: it is no whole file.
    """

    def __init__(self, path: Path, session: Any, told: Mapping[str, Any]) -> None:
        self.path, self.session = path, session
        if not told.get(WHOLE):
            raise InputError(f"{path}: is no whole file; export it with --whole")
        names = WholeDescription.__dataclass_fields__
        try:
            self.description: WholeDescription = WholeDescription.from_mapping(
                {name: _frozen(value) for name, value in told.items() if name in names}, "metadata"
            )
            check_labels(self.description)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        self._check_graph()

    @classmethod
    def open(cls, path: Path, *, threads: int | None = None) -> "WholeFile":
        """Open a file, to be computed by so many threads, by default one per core.

        Raises:
            InputError: a file that cannot be read, or is no whole file.
        """
        return cls(path, *open_described(path, threads=threads))

    def _check_graph(self) -> None:
        """Refuse a graph that takes or gives something else than its metadata say."""
        taken = {entry.name: (entry.type, len(entry.shape)) for entry in self.session.get_inputs()}
        if taken != {IMAGES: ("tensor(uint8)", 4)}:
            raise InputError(
                f"{self.path}: takes {shortened(str(taken), 200)}, expected {IMAGES} (batch, "
                "height, width, 3) uint8"
            )
        given = [entry.name for entry in self.session.get_outputs()]
        if {*self.description.outputs, *self.kind.outputs} - set(given):
            raise InputError(
                f"{self.path}: gives {', '.join(given)}, but its metadata name "
                f"{', '.join(self.description.outputs)}; export the model again"
            )

    def least(self, asked: Threshold) -> tuple[float, ...] | None:
        """Return the least score of an answer of each class; None for those of the file.

        Raises:
            InputError: less than a detector was exported for, or no such class.
        """
        if asked is None:
            return None
        for value in asked.values() if isinstance(asked, Mapping) else (asked,):
            if isinstance(value, float | int):
                self.check_limits(threshold=float(value), most=None)
        told = self.description
        return least_scores(told.class_names, asked, told.class_thresholds)

    def check_limits(self, *, threshold: float | None, most: int | None) -> None:
        """Refuse what was decided when the file was written, as how many objects there are at most.

        Raises:
            InputError: the limit, and what was asked for.
        """
        self.kind.check_limits(self.description, threshold=threshold, most=most)

    @property
    def kind(self) -> WholeKind:
        """The kind of answers."""
        return kind_of(self.description.task)

    @property
    def answer_options(self) -> frozenset[str]:
        """The options of a request that do something, as of `Answer.options`."""
        return self.kind.answer_options(self.description)

    @cached_property
    def has_masks(self) -> bool:
        """Objects have masks."""
        return MASKS in self.description.outputs

    def run(
        self, pixels: np.ndarray, *, masks: bool = False, least: Least = None
    ) -> dict[str, np.ndarray]:
        """Return the outputs for images (batch, height, width, 3) uint8.

        Args:
            pixels: of one size.
            masks: of objects, too.
            least: score of objects; by default those of the file.

        Raises:
            InputError: what the file computes fails.
        """
        names = [name for name in self.description.outputs if masks or name != MASKS]
        given = {IMAGES: pixels}
        if least is not None:
            given[THRESHOLDS] = np.full(len(self.description.class_names), least)
        try:
            found = self.session.run(names, given, run_options())
            return dict(zip(names, found, strict=True))
        except Exception as error:  # whatever a runtime may raise of a file that was changed
            reason = str(error).strip().partition("\n")[0]
            raise InputError(
                f"{self.path}: cannot compute images of shape {pixels.shape}: {reason}"
            ) from error

    def answer(
        self,
        images: Sequence[Named],
        *,
        pixels: bool = True,
        least: Least = None,
        most: int | None = None,
        refuse: bool = True,
    ) -> list[Any | Failure]:
        """Return the answers to images of one size.

        Args:
            images: their names and pixels.
            pixels: of objects answer with masks, too.
            least: score of objects, or of classes of which there are several; see `least`.
            most: objects, at most.
            refuse: answer none of the classes of a classifier where the file says so.
        """
        wanted = Wanted(pixels=pixels, least=least, refuse=refuse)
        answers = self.kind.answer(self, images, wanted)
        return [one.first(most) if isinstance(one, Detections) else one for one in answers]


def _frozen(value: Any) -> Any:
    """Return lists of JSON as tuples."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def run_options() -> Any:
    """Options of a computation that leaves out what is not asked for, as masks."""
    from onnxruntime import RunOptions  # noqa: PLC0415 - imported with the session

    options = RunOptions()
    options.only_execute_path_to_fetches = True
    return options
