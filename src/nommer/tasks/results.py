"""A task's results on disk: evaluations, training batches, and answers to images."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from functools import partial
from itertools import tee
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from nommer.data.sources import ImageSource
from nommer.errors import InputError
from nommer.predictions import Failure
from nommer.progress import track
from nommer.tasks.doubts import Doubt, doubts_of_images
from nommer.tasks.labels import LabelWriter

if TYPE_CHECKING:
    from nommer.tasks.evaluation import Evaluation

Given = TypeVar("Given")

_OF_MODELS = frozenset({"batch_size", "threshold", "refuse", "most", "inference"})
"""Options of `nommer predict` that are the models' own."""

_BATCH = 32
"""Images that a classifier sees at once."""


class TaskResults(ABC):
    """The files that people look at."""

    plots: ClassVar[str]
    """The pictures that a run shows, by file name."""
    answer_options: ClassVar[frozenset[str]]
    """Options of `nommer predict` that do something, of those that not all tasks have."""
    label_writers: ClassVar[tuple[type[LabelWriter], ...]] = ()
    """The forms in which answers are written as labelled images, the usual one first."""

    def label_writer(self, model: Any, settings: Any) -> LabelWriter | None:
        """Return what writes the answers as data; None where that was not asked for.

        Raises:
            InputError: a form that such answers do not have, or a folder that is not free.
        """
        if settings.as_data is None:
            return None
        forms = {writer.form: writer for writer in self.label_writers}
        form = next(iter(forms), "none") if settings.as_form == "auto" else settings.as_form
        if form not in forms:
            raise InputError(
                f"--as-form {form}: answers of a model for {model.task} are written as "
                f"{' or '.join(forms) or 'no data'}; leave it out or choose of these"
            )
        return forms[form](settings.as_data, model, confidences=settings.confidences)

    @abstractmethod
    def save_evaluation(
        self,
        evaluation: "Evaluation",
        model: Any,
        data: Any,
        out: Path,
        *,
        facts: Mapping[str, Any],
    ) -> None:
        """Write tables and plots of an evaluation over `data` into `out`."""

    def held_out(self, evaluation: "Evaluation", model: Any) -> list[dict[str, Any]]:
        """Return an answer to each image that a fold held back, as plain values.

        Each has its `file`; what else, `doubts` of all folds together must make do with.
        """
        return [{"file": str(sample.path)} for sample in evaluation.samples]

    def doubts(self, rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[Doubt]:
        """Return how well the label of each image fits its answer, the worst first.

        Args:
            rows: what `held_out` returned in every fold.
            names: of the classes.

        Raises:
            InputError: the package that estimates it is not installed.
        """
        return doubts_of_images(rows)

    @abstractmethod
    def save_training_batch(self, data: Any, model: Any, path: Path) -> None:
        """Write a picture of the first training samples as the network will see them."""

    def answers_how(self, model: Any, settings: Any) -> str:
        """Say what answers are decided by; nothing where there is nothing to say.

        Raises:
            InputError: settings of `nommer predict` that do not fit the model.
        """
        return ""

    def answering(
        self, model: Any, settings: Any
    ) -> Callable[[Iterable[ImageSource]], Iterator[Any | Failure]]:
        """Return the function that answers images, as the settings of `nommer predict` say."""
        options = {name: getattr(settings, name) for name in self.answer_options & _OF_MODELS}
        if "batch_size" in options:
            options["batch_size"] = settings.batch_size or _BATCH
        return partial(model.predict_stream, **options)

    @abstractmethod
    def save_answers(
        self,
        model: Any,
        sources: Iterable[ImageSource],
        folder: Path,
        settings: Any,
        *,
        labels: LabelWriter | None = None,
    ) -> Sequence[Any | Failure]:
        """Answer images one after the other, and write the answers into `folder`.

        Args:
            model: on its device.
            sources: the images; those of an iterator are taken when their turn comes.
            folder: exists already.
            settings: of `nommer predict`.
            labels: writes the answers as data too.

        Returns:
            What is small enough to be kept of the answers.
        """


def answered(
    sources: Iterable[ImageSource],
    answer: Callable[[Iterable[ImageSource]], Iterable[Given]],
    labels: LabelWriter | None,
    *,
    total: int | None = None,
) -> Iterator[tuple[ImageSource, Given]]:
    """Yield each source with its answer, as they come; only those of one batch are held.

    All are written by `labels` too, where answers are to be data.
    """
    total = len(sources) if isinstance(sources, Sized) else total
    ahead, behind = tee(sources)
    answers = track(answer(ahead), total=total, what="predicting")
    for source, given in zip(behind, answers, strict=True):
        if labels is not None:
            labels.add(source, given)
        yield source, given
    if labels is not None:
        labels.finish()


def with_files(answers: Sequence[Any], files: Sequence[str]) -> list[dict[str, Any]]:
    """Return answers as plain values, each with the file that its labels are in."""
    return [
        answer.to_dict() | ({} if isinstance(answer, Failure) else {"labels": file})
        for answer, file in zip(answers, files, strict=True)
    ]
