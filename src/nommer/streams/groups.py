"""The answers to one source of a stream: a video or camera, or files that come one by one."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import numpy as np

from nommer.data.cameras import Camera
from nommer.data.sources import ImageSource, open_any, source_name
from nommer.data.videos import VideoError, VideoReader
from nommer.data.watched import WatchedFolders
from nommer.predictions import Answer, Detections, Failure, with_moment
from nommer.settings.predict import PredictCall
from nommer.streams.files import StreamFiles
from nommer.streams.sources import Group
from nommer.streams.tracking import Tracker
from nommer.streams.video import VideoWriter, frames_in
from nommer.tasks.labels import LabelWriter
from nommer.tasks.results import answered

Item = TypeVar("Item")

PARTS = ("waiting", "decoding", "network", "drawing", "encoding", "writing")
"""Parts of the time of a stream; waiting is for a camera, or a folder that is watched."""

_BATCH, _BATCH_PIXELS = 32, 1 << 26
"""Frames that a classifier sees at once, and their pixels."""


@dataclass
class Counts:
    """Counts of the answers to one source."""

    source: str
    kind: str
    answers: int = 0
    errors: int = 0
    damaged: int = 0
    earlier: int = 0
    """Answers of sessions before this one."""
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Answering:
    """A model, and the way in which it answers images."""

    model: Any
    answer: Callable[[PredictCall], Callable[[Iterable[ImageSource]], Iterator[Any]]]
    """Of settings, which may ask for another batch size."""
    context: Callable[[], AbstractContextManager[Any]]
    """Number format and the like, entered for each step, so that nothing of it reaches callers."""
    labels: LabelWriter | None = None


@dataclass(frozen=True)
class Session:
    """One call: what its sources share."""

    how: Answering
    settings: PredictCall
    files: StreamFiles
    asked_to_stop: Callable[[], bool]
    parts: dict[str, float]
    """Seconds, of `PARTS`."""

    def answers(self, group: Group, counts: Counts) -> Iterator[Answer]:
        """Yield the answers to one source and write them.

        Raises:
            VideoError: there is no such camera.
        """
        if group.kind in ("images", "folder"):
            yield from self._of_files(group, counts)
            return
        try:
            reader = self._open(group)
        except VideoError as error:
            if group.kind == "camera":
                raise
            yield from self._without_answer(error, counts)
            return
        with closing(reader):
            yield from self._of_video(group, reader, counts)
        counts.notes += reader.notes

    def _open(self, group: Group) -> "VideoReader | Camera":
        stride = self.settings.stride or 1
        if group.kind == "camera":
            return Camera(group.name, stride=stride)
        return VideoReader.of_file(Path(group.name), stride=stride)

    def _without_answer(self, error: VideoError, counts: Counts) -> Iterator[Failure]:
        counts.earlier = sum(1 for _ in self.files.earlier(error.source))
        if not counts.earlier:
            failure = Failure(error.source, error.reason)
            self.files.line(failure)
            counts.notes.append(error.reason)
            yield failure

    def _of_video(
        self, group: Group, reader: "VideoReader | Camera", counts: Counts
    ) -> Iterator[Answer]:
        rate = reader.rate / (self.settings.stride or 1)
        path = self.files.video_path(group.name)
        begun = _Begun.of(self.files.earlier(group.name), path if self.settings.pictures else None)
        counts.earlier = begun.lines
        tracker = Tracker(rate) if self.settings.track else None
        begun.replay(self.files.earlier(group.name), tracker)
        reader.first = begun.start
        left = self.settings.frames
        frames = islice(reader, None if left is None else max(0, left - begun.before))
        with closing(VideoWriter(path, rate)) as video:
            for frame, given in self._pairs(frames, group, reader):
                answer = with_moment(given, group.name, frame.moment)
                if tracker is not None and isinstance(answer, Detections):
                    answer = tracker.numbered(answer)
                is_new = frame.moment.frame >= begun.next_line
                if is_new:
                    self._write(frame, answer)
                if self.settings.pictures and not isinstance(answer, Failure):
                    picture = self._drawn(answer, frame)
                    with self._timed("encoding"):
                        video.write(picture, frame.moment.seconds)
                if is_new:
                    yield answer

    def _of_files(self, group: Group, counts: Counts) -> Iterator[Answer]:
        known: dict[str, Any] = {}
        for line in self.files.earlier():
            if "frame" not in line:
                known[line["image"]] = tuple(line.get("stamp", ()))
                self.files.pass_over(line)
        counts.earlier = len(known)
        reading = self.how.model.preprocessing.reading
        watched = None
        sources: Iterable[ImageSource]
        if group.kind == "folder":
            stop = self.asked_to_stop
            folders = [Path(source_name(one)) for one in group.images]
            sources = watched = WatchedFolders(
                folders, known=known, asked_to_stop=stop, reading=reading
            )
        else:
            sources = (one for one in group.images if source_name(one) not in known)
        for source, answer in self._pairs(sources, group):
            also: dict[str, Any] = {}
            if watched is not None:
                also["stamp"] = watched.given[source_name(source)]
            if self.settings.pictures and not isinstance(answer, Failure):
                picture = self._drawn(answer, source)
                with self._timed("encoding"):
                    also["picture"] = self.files.picture(source, picture)
            self._write(source, answer, **also)
            yield answer

    def _batch_size(self, group: Group, reader: Any) -> int | None:
        """Return how many images a classifier sees at once; one where others are waited for."""
        if self.settings.batch_size is not None or group.kind == "images":
            return self.settings.batch_size
        if group.is_live:
            return 1
        return max(1, min(_BATCH, _BATCH_PIXELS // reader.pixels))

    def _pairs(
        self, sources: Iterable[Any], group: Group, reader: Any = None
    ) -> Iterator[tuple[Any, Any]]:
        """Yield each source with its answer; time is kept of what is read and what is computed."""
        part = "waiting" if group.is_live else "decoding"
        size = self._batch_size(group, reader)
        answer = self.how.answer(replace(self.settings, batch_size=size))
        total = None if reader is None else reader.frames
        pairs = answered(self._read(sources, part), answer, None, total=total)
        while True:
            began, read = perf_counter(), self.parts[part]
            with self.how.context():
                pair = next(pairs, None)
            self.parts["network"] += perf_counter() - began - (self.parts[part] - read)
            if pair is None:
                return
            yield pair

    def _read(self, sources: Iterable[Item], part: str) -> Iterator[Item]:
        remaining = iter(sources)
        while not self.asked_to_stop():
            with self._timed(part):
                source = next(remaining, None)
            if source is None:
                return
            yield source

    def _write(self, source: ImageSource, answer: Any, **also: Any) -> None:
        with self._timed("writing"):
            if self.how.labels is not None:
                self.how.labels.add(source, answer)
            self.files.line(answer, **also)

    def _drawn(self, answer: Answer, source: ImageSource) -> Any:
        with self._timed("drawing"):
            return answer.on_frame(open_any(source, self.how.model.preprocessing.reading))

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        began = perf_counter()
        try:
            yield
        finally:
            self.parts[part] += perf_counter() - began


@dataclass(frozen=True)
class _Begun:
    """The answers of earlier sessions to a video."""

    lines: int
    next_line: int
    """Number of the first frame without a line."""
    start: int
    """Of the first frame to answer: some that have a line may not be in the annotated video."""
    before: int
    """Frames answered before `start`."""

    @classmethod
    def of(cls, lines: Iterable[dict[str, Any]], video: Path | None) -> "_Begun":
        told = [(line["frame"], "error" not in line) for line in lines if "frame" in line]
        next_line = told[-1][0] + 1 if told else 0
        drawn = [number for number, is_drawn in told if is_drawn]
        shown = len(drawn) if video is None or not drawn else frames_in(video)
        start = drawn[shown] if shown < len(drawn) else next_line
        before = sum(number < start for number, _ in told)
        return cls(len(told), next_line, start, before)

    def replay(self, lines: Iterable[dict[str, Any]], tracker: Tracker | None) -> None:
        """Let a tracker see the objects again that it saw before `start`."""
        for line in lines if tracker is not None else ():
            if line.get("frame", self.start) < self.start and "objects" in line:
                boxes = np.array([one["box"] for one in line["objects"]]).reshape(-1, 4)
                scores = np.array([one["score"] for one in line["objects"]])
                tracker.update(boxes, scores, line["seconds"])  # type: ignore[union-attr]
