"""Folders that are watched for new images: each is given once, when it is whole.

They are looked through twice a second: network disks tell nobody of what others write there.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path

from nommer.data.image_paths import is_image_name, refuse_folder
from nommer.data.images import ImageError, decode
from nommer.data.videos import is_video_name
from nommer.data.walking import walk
from nommer.progress import notice
from nommer.settings.pixel_range import Reading

Stamp = tuple[int, int]
"""Bytes of a file, and when it was changed last, in nanoseconds: another of the name differs."""

PAUSE = 0.5
"""Seconds between two looks; more where a look takes long."""

SETTLED = 1.0
"""Seconds for which a file must stay as it is before it is taken for whole."""

GIVEN_UP = 10.0
"""Seconds after which a file is given that cannot be decoded: whoever writes it has stopped."""


class WatchedFolders:
    """Yields images of folders, searched deeply, the oldest first, and waits for more.

    One that cannot be decoded may still be written, and is waited for. One that is changed after it
    was given is given once more.

    Args:
        folders: to look through.
        known: files that were given before, with what they were then.
        asked_to_stop: looked at between two images.
        reading: how the model's images become RGB.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        *,
        known: Mapping[str, Stamp],
        asked_to_stop: Callable[[], bool],
        reading: Reading,
    ) -> None:
        self.folders, self.asked_to_stop, self.reading = folders, asked_to_stop, reading
        self.given: dict[str, Stamp] = dict(known)
        self._seen: dict[str, tuple[Stamp, float]] = {}
        self._told: set[str] = set()
        self._is_first_look = True

    def __iter__(self) -> Iterator[Path]:
        """Yield images until somebody asks to stop.

        Raises:
            InputError: one of the folders is gone, or may not be read.
        """
        while not self.asked_to_stop():
            began = time.monotonic()
            found = self._whole()
            pause = max(PAUSE, 4 * (time.monotonic() - began))
            for path, stamp in found:
                self.given[str(path)] = stamp
                yield path
                if self.asked_to_stop():
                    return
            self._wait(pause)

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self.asked_to_stop() and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, PAUSE))

    def _whole(self) -> list[tuple[Path, Stamp]]:
        """Return the images that are new and whole, the oldest first."""
        found, waiting, now = [], {}, time.monotonic()
        for path, stamp in self._new():
            before, since = self._seen.get(str(path), (None, now))
            if before != stamp:
                since = now
            if self._is_first_look:  # a file that is there already has been as it is for a while
                since = now - max(0.0, time.time() - stamp[1] / 1e9)
            quiet = now - since
            if quiet >= SETTLED and (quiet >= GIVEN_UP or self._is_readable(path)):
                found.append((path, stamp))
            else:
                waiting[str(path)] = (stamp, since)
        self._seen, self._is_first_look = waiting, False
        return sorted(found, key=lambda pair: (pair[1][1], str(pair[0])))

    def _new(self) -> Iterator[tuple[Path, Stamp]]:
        for path in chain.from_iterable(walk(one, self._unread) for one in self.folders):
            if is_video_name(path):
                self._tell(f"{path}: is a video, and --watch takes images; give it by its name")
            if not is_image_name(path):
                continue
            with suppress(OSError):  # gone again
                facts = path.stat()
                stamp = (facts.st_size, facts.st_mtime_ns)
                if self.given.get(str(path)) != stamp:
                    yield path, stamp

    def _unread(self, error: OSError) -> None:
        """Tell of a folder that cannot be read; one below that is gone again is no matter."""
        if error.filename in map(str, self.folders):
            refuse_folder(error)
        if not isinstance(error, FileNotFoundError):
            self._tell(f"{error.filename}: cannot be looked into: {error.strerror}")

    def _tell(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            notice(text)

    def _is_readable(self, path: Path) -> bool:
        try:
            decode(path, self.reading)
        except ImageError:
            return False
        return True
