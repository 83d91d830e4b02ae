"""Images of many requests in one computation: a bounded queue, and batches that do not wait long.

One model has one `Batcher`. Files wait undecoded, so what waits is bounded by the bytes of
requests; a batch is decoded while the one before it is computed.
"""

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from nommer.data.images import ImageError, decode
from nommer.predictions import Failure
from nommer.serving.errors import RefusedError
from nommer.serving.model import Answer, Options, Picture, ServedModel

_AHEAD = 2
"""Batches that are decoded or computed at once."""

_REMEMBERED = 0.9
"""Weight of the past in the mean time of an image."""

Work = Callable[[ServedModel, Sequence[Picture]], list[Any]]
"""Work on pictures of one group."""


@dataclass(frozen=True)
class Upload:
    """An image file of a request, undecoded."""

    name: str
    content: bytes
    pixels: int
    """As its header says."""


@dataclass(eq=False)
class Job:
    """An image that waits for its answer."""

    upload: Upload
    options: Options
    work: Work
    answer: "asyncio.Future[Any]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def finish(self, answer: Any) -> None:
        """Give the answer, if it is still waited for."""
        if not self.answer.done():
            self.answer.set_result(answer)

    def fail(self, error: BaseException) -> None:
        """Give an error, if an answer is still waited for."""
        if not self.answer.done():
            self.answer.set_exception(error)


def answer_pictures(model: ServedModel, pictures: Sequence[Picture]) -> list[Answer]:
    """Return the answers to pictures of one group."""
    return model.answer(pictures)


class Batcher:
    """The queue of a model.

    Args:
        model: that answers.
        capacity: images that may wait or be computed.
        max_batch: images of a batch, at most.
        max_delay: seconds that an image may wait for others.
        max_pixels: pixels of a batch from which on no other image joins it.
        decoders: threads that decode.
        observe: is told the size of every batch.
    """

    def __init__(
        self,
        model: ServedModel,
        *,
        capacity: int,
        max_batch: int,
        max_delay: float,
        max_pixels: int,
        decoders: Executor,
        observe: Callable[[int], object] = lambda size: None,
    ) -> None:
        self.model, self.capacity = model, capacity
        self.max_batch, self.max_delay, self.max_pixels = max_batch, max_delay, max_pixels
        self.decoders, self.observe = decoders, observe
        self.waiting = 0
        """Images that were taken and are not answered."""
        self.seconds = 0.05
        """Mean time of an image, for those who are told to come back."""
        self._queue: asyncio.Queue[Job] = asyncio.Queue()
        self._computer = ThreadPoolExecutor(1, f"compute-{model.name}")
        self._ahead = asyncio.Semaphore(_AHEAD)
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to take images."""
        self._loop = asyncio.create_task(self._run(), name=f"batches-{self.model.name}")

    async def stop(self) -> None:
        """Answer all that wait, then end."""
        while self.waiting:
            await asyncio.sleep(0.01)
        if self._loop is not None:
            self._loop.cancel()
        self._computer.shutdown(wait=False)

    def check_room(self, images: int = 1) -> None:
        """Refuse images for which there is no room.

        Raises:
            RefusedError: 429, with the seconds after which to come again.
        """
        if self.waiting + images > self.capacity:
            seconds = max(1, math.ceil(self.waiting * self.seconds))
            when = f"{seconds} second{'s' * (seconds > 1)}"
            raise RefusedError(
                429,
                f"{self.waiting} images are waiting, and {self.capacity} is the most; come again "
                f"in {when}",
                {"Retry-After": str(seconds)},
            )

    def submit(
        self, uploads: Sequence[Upload], options: Options, work: Work = answer_pictures
    ) -> list[Job]:
        """Take images, all of them or none.

        Raises:
            RefusedError: 429 where there is no room.
        """
        self.check_room(len(uploads))
        jobs = [Job(upload, options, work) for upload in uploads]
        for job in jobs:
            self.waiting += 1
            job.answer.add_done_callback(self._done)
            self._queue.put_nowait(job)
        return jobs

    def _done(self, _: object) -> None:
        self.waiting -= 1

    async def _run(self) -> None:
        while True:
            batch = await self._gather()
            await self._ahead.acquire()
            task = asyncio.create_task(self._answer(batch))
            self._tasks.add(task)
            task.add_done_callback(self._finished)

    def _finished(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        self._ahead.release()

    async def _gather(self) -> list[Job]:
        """Return the next batch: its first image waits for others no longer than `max_delay`."""
        batch, pixels = [await self._queue.get()], 0
        until = time.monotonic() + self.max_delay
        while len(batch) < self.max_batch:
            pixels += batch[-1].upload.pixels
            left = until - time.monotonic()
            if pixels >= self.max_pixels:
                break
            try:
                if self._queue.empty() and left > 0 and not self._ahead.locked():
                    batch.append(await asyncio.wait_for(self._queue.get(), left))
                else:
                    batch.append(self._queue.get_nowait())
            except (TimeoutError, asyncio.QueueEmpty):
                break
        return [job for job in batch if not job.answer.done()]  # others were given up

    async def _answer(self, batch: Sequence[Job]) -> None:
        loop, began = asyncio.get_running_loop(), time.monotonic()
        decoding = [loop.run_in_executor(self.decoders, self._decode, job) for job in batch]
        groups: dict[tuple[Work, Hashable], list[tuple[Job, Picture]]] = defaultdict(list)
        for job, decoded in zip(batch, await asyncio.gather(*decoding), strict=True):
            if isinstance(decoded, Picture):
                groups[job.work, self.model.group(decoded)].append((job, decoded))
            else:
                job.finish(decoded)
        for (work, _), group in groups.items():
            waited = [(job, picture) for job, picture in group if not job.answer.done()]
            if waited:
                await self._compute(work, waited)
        if batch:
            mean = (time.monotonic() - began) / len(batch)
            self.seconds = _REMEMBERED * self.seconds + (1 - _REMEMBERED) * mean

    def _decode(self, job: Job) -> Picture | Failure:
        upload = job.upload
        try:
            image = decode(upload.name, self.model.reading, content=upload.content)
        except ImageError as error:
            return Failure(upload.name, error.reason)
        return Picture(upload.name, image, job.options)

    async def _compute(self, work: Work, group: Sequence[tuple[Job, Picture]]) -> None:
        loop, pictures = asyncio.get_running_loop(), [picture for _, picture in group]
        self.observe(len(group))
        try:
            answers = await loop.run_in_executor(self._computer, work, self.model, pictures)
        except Exception as error:  # whatever it is, those who wait are to know
            for job, _ in group:
                job.fail(error)
            return
        for (job, _), answer in zip(group, answers, strict=True):
            job.finish(answer)
