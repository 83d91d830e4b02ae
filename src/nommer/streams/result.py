"""Answers to videos, cameras and watched folders: one after the other, in bounded memory.

Frames go through the same models, options and decisions as images. `sources` tells what is
answered, `data/` reads it, `groups` answers one source, `files` and `video` write, `tracking`
numbers objects.
"""

from collections.abc import Generator, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

from nommer.distributed.interruption import Stopped, StopSignals
from nommer.errors import InputError
from nommer.predictions import Answer, Failure
from nommer.progress import notice
from nommer.runs.lock import locked
from nommer.settings.predict import PredictCall
from nommer.streams.files import StreamFiles
from nommer.streams.groups import PARTS, Answering, Counts, Session
from nommer.streams.sources import Group


class StreamResult:
    """Answers to videos, cameras and watched folders, and where they are written.

    With `stream=True` it is an iterator of the answers, each computed when its turn comes; a loop
    that ends early leaves whole results of what was answered.
    """

    def __init__(
        self, groups: list[Group], how: Answering, out: Path, settings: PredictCall
    ) -> None:
        self.out = out
        self.counts: list[Counts] = []
        self.seconds = 0.0
        """From the beginning to the last answer, what the caller does between them left out."""
        self.parts = dict.fromkeys(PARTS, 0.0)
        """Seconds of `seconds` by what they went into."""
        self._groups, self._how, self._settings = groups, how, settings
        self._signals: StopSignals | None = None
        self._answers: Generator[Answer] | None = self._run()
        self._given: Generator[Answer] | None = None

    @property
    def answers(self) -> int:
        """Number of answers so far, errors too."""
        return sum(one.answers for one in self.counts)

    @property
    def errors(self) -> int:
        """Number of frames or images without an answer, so far."""
        return sum(one.errors for one in self.counts)

    @property
    def per_second(self) -> float:
        """Frames or images answered per second, the waiting for them left out."""
        busy = self.seconds - self.parts["waiting"]
        return self.answers / busy if busy > 0 else 0.0

    def __repr__(self) -> str:
        without = f", {self.errors} of them errors" if self.errors else ""
        speed = f", {self.per_second:.1f} per second" if self.seconds else ""
        return f"<{self.answers} answers{without}{speed} in {self.out}>"

    def __iter__(self) -> Iterator[Answer]:
        """Yield the answers, once.

        Raises:
            InputError: they were given already, or computed without `stream=True`.
        """
        if self._answers is None:
            raise InputError(
                f"the answers are in {self.out}; stream=True gives them, once, while they are "
                "computed"
            )
        self._given, self._answers = self._answers, None
        return self._given

    def close(self) -> None:
        """End before all is answered; what was is written."""
        if self._given is not None:
            self._given.close()

    def run(self) -> "StreamResult":
        """Answer all, until the end or until a signal asks to stop.

        Raises:
            Stopped: it was asked for before the end of the videos.
        """
        with StopSignals() as self._signals:
            self._signals.hint = f"; the answers so far are in {self.out}"
            self._signals.defer()
            for _ in self:
                pass
        is_live = any(group.is_live for group in self._groups)
        if self._signals.asked is not None and not is_live:
            raise Stopped(
                self._signals.asked,
                f"stopped after {self.answers} answers, which are in {self.out}; with --out "
                f"{self.out} --resume the same command goes on",
            )
        return self

    def _run(self) -> Generator[Answer]:
        with ExitStack() as stack:
            stack.enter_context(locked(self.out))
            files = StreamFiles(self.out, self._settings)
            stack.callback(files.close)
            stack.callback(lambda: files.result(self._told()))
            session = Session(self._how, self._settings, files, self._is_stopped, self.parts)
            for group in self._groups:
                counts = Counts(group.name, group.kind)
                self.counts.append(counts)
                yield from self._counted(session.answers(group, counts), counts)
                self._conclude(counts)
                if self._is_stopped():
                    break
            if self._how.labels is not None:
                self._how.labels.finish()

    def _counted(self, answers: Iterator[Answer], counts: Counts) -> Iterator[Answer]:
        while True:
            began = perf_counter()
            answer = next(answers, None)
            self.seconds += perf_counter() - began
            if answer is None:
                return
            counts.answers += 1
            counts.errors += isinstance(answer, Failure)
            counts.damaged += bool(answer.moment and answer.moment.is_damaged)
            yield answer

    def _is_stopped(self) -> bool:
        return self._signals is not None and self._signals.asked is not None

    def _conclude(self, counts: Counts) -> None:
        """Tell what was lost of a source."""
        if counts.damaged:
            counts.notes.append(
                f"{counts.damaged} frames are damaged: the decoder made up what it could not read"
            )
        if counts.errors and counts.kind in ("video", "camera") and counts.answers > 1:
            counts.notes.append(f"{counts.errors} frames have no answer; answers.jsonl tells why")
        for note in counts.notes:
            notice(f"{counts.source}: {note}")

    def _told(self) -> dict[str, Any]:
        return {
            "sources": [asdict(one) for one in self.counts],
            "answers": self.answers,
            "errors": self.errors,
            "seconds": round(self.seconds, 3),
            "per_second": round(self.per_second, 3),
            "parts": {name: round(value, 3) for name, value in self.parts.items()},
        }
