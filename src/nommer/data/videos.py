"""Videos, decoded frame by frame through PyAV (FFmpeg), with the limits that images have.

A file can be cut off, damaged, empty, turned by a display matrix, or have frames at any distance.
Whatever is lost is told in `VideoReader.notes`, and a frame that cannot be decoded is one with an
error. Files lead to no other files or addresses: playlists and the like are refused.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from nommer.data.frames import Frame, upright
from nommer.data.images import MAX_PIXELS, ImageError
from nommer.extras import require
from nommer.files import NoPlainFileError, plain_size
from nommer.predictions import Moment

if TYPE_CHECKING:
    import av

VIDEO_EXTENSIONS = frozenset(
    (
        *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts"),
        *(".wmv", ".asf", ".flv", ".3gp", ".ogv", ".mjpeg", ".mjpg"),
    )
)
"""File name endings (lower case) that videos have."""

_CONTAINERS = "mov,matroska,webm,avi,mpeg,mpegts,mpegvideo,asf,flv,ogg,mjpeg,h264,hevc,m4v,ivf"
"""Formats of FFmpeg that are read: none of them names other files, as playlists do."""

_OPTIONS = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}

_UNKNOWN = "is no video of a known format and codec, or damaged or cut off"

_LACKING = 0.01
"""Share of the frames that may lack at the end without a word: headers are not exact."""


class VideoError(ImageError):
    """A video that cannot be read at all; names the file and the reason."""


def is_video_name(path: Path) -> bool:
    """Return True for a file name that ends as videos do."""
    return path.suffix.lower() in VIDEO_EXTENSIONS


def pyav(feature: str = "videos") -> ModuleType:
    """Return the package that decodes and encodes videos.

    Raises:
        InputError: it is not installed.
    """
    return require("av", "video", feature)


@dataclass
class VideoReader:
    """Reads the frames of one video, in the order in which they are shown.

    Args:
        name: of the file or camera, as answers tell it.
        address: what FFmpeg opens.
        format: FFmpeg's name of a device; None of a file.
        stride: of so many frames one is given.
        first: number of the first frame that is given.

    Raises:
        InputError: PyAV is not installed.
        VideoError: there is no such video, or nothing of it can be read.
    """

    name: str
    address: str
    format: str | None = None
    stride: int = 1
    first: int = 0
    notes: list[str] = field(default_factory=list)
    """Losses, in sentences; complete once all frames are read."""
    read: int = 0
    """Frames that were decoded or failed, those passed over too."""

    def __post_init__(self) -> None:
        self._av = pyav()
        limits = {"max_pixels": str(MAX_PIXELS)}
        options = limits if self.format else _OPTIONS | limits
        try:
            self._container = self._av.open(self.address, format=self.format, options=options)
        except (OSError, ValueError) as error:
            raise VideoError(self.name, self._reason(error)) from error
        streams = self._container.streams.video
        if not streams:
            kinds = self._kinds()
            self.close()
            raise VideoError(self.name, f"holds no video{kinds}")
        self._stream = streams[0]
        if self._stream.codec_context is None:
            self.close()
            raise VideoError(self.name, _UNKNOWN)
        self._stream.thread_type = "AUTO"
        self._stream.codec_context.options = limits
        try:
            self._check_size(self._stream.width, self._stream.height)
        except VideoError:
            self.close()
            raise
        self._start: float | None = None
        self._last, self._gap = 0.0, 0.0

    @classmethod
    def of_file(cls, path: Path, **options: Any) -> "VideoReader":
        """Open a file.

        Raises:
            VideoError: it is missing, no plain file, or no video.
        """
        try:
            if not plain_size(path):
                raise VideoError(path, "is empty (0 bytes), so it is no video")
        except (OSError, NoPlainFileError) as error:
            reasons = {
                FileNotFoundError: "file does not exist",
                PermissionError: "no permission to read the file",
                IsADirectoryError: "is a folder, not a video",
            }
            raise VideoError(path, reasons.get(type(error), str(error))) from error
        return cls(str(path), str(path.absolute()), **options)  # no name is taken for an address

    @property
    def rate(self) -> float:
        """Frames per second of the video on average; 25 where nobody knows."""
        rate = self._stream.average_rate or self._stream.guessed_rate
        return float(rate) if rate else 25.0

    @property
    def frames(self) -> int | None:
        """Number of frames as far as the header tells."""
        seconds = None if self.format else self._duration()
        return int(self._stream.frames) or (None if seconds is None else round(seconds * self.rate))

    @property
    def pixels(self) -> int:
        """Of a frame, as far as the header tells."""
        return max(1, int(self._stream.width * self._stream.height))

    def __iter__(self) -> Iterator[Frame]:
        """Yield every `stride`-th frame from `first` on; holds none of those that it gave."""
        for frame in self._all():
            number = self.read
            self.read += 1
            seconds = None if isinstance(frame, Exception) else self._seconds(frame)
            if number >= self.first and number % self.stride == 0:
                yield self._given(frame, number, seconds)
        self._note_end()

    def close(self) -> None:
        """Close the file or device."""
        self._container.close()

    def _all(self) -> Iterator[Any]:
        """Yield each decoded frame, or the error in its place."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except self._av.FFmpegError as error:
                self.notes.append(f"cannot be read any further: {self._reason(error)}")
                return
            if packet is None:
                return
            try:
                yield from packet.decode()
            except self._av.FFmpegError as error:
                if not isinstance(error, EOFError):
                    yield error

    def _given(self, frame: Any, number: int, seconds: float | None) -> Frame:
        if isinstance(frame, Exception):
            error = f"cannot be decoded: {self._reason(frame)}"
            return Frame(self.name, Moment(number, None), None, error)
        try:
            self._check_size(frame.width, frame.height)
            image = Image.fromarray(np.ascontiguousarray(upright(_pixels(frame), _turn(frame))))
        except (ImageError, OSError, ValueError, MemoryError) as error:
            reason = getattr(error, "reason", None) or str(error) or "there is not enough memory"
            return Frame(self.name, Moment(number, seconds), None, reason)
        return Frame(self.name, Moment(number, seconds, bool(frame.is_corrupt)), image)

    def _seconds(self, frame: "av.VideoFrame") -> float | None:
        if frame.time is None:
            return None
        if self._start is None:
            start, base = self._stream.start_time, self._stream.time_base
            of_stream = float(start * base) if start is not None and base else frame.time
            self._start = frame.time if self.format else min(of_stream, frame.time)
        seconds = round(frame.time - self._start, 6)
        self._gap, self._last = max(self._gap, seconds - self._last), max(self._last, seconds)
        return seconds

    def _check_size(self, width: int, height: int) -> None:
        if width * height > MAX_PIXELS:
            reason = f"its frames are too large: {width} x {height}, over the limit of "
            raise VideoError(self.name, f"{reason}{MAX_PIXELS:,} pixels")

    def _note_end(self) -> None:
        frames, seconds = int(self._stream.frames), self._duration()
        shown = self._last + max(self._gap, 2 / self.rate)  # the last may be shown for as long
        if self.format is not None:
            return
        if self.read < frames - max(2, _LACKING * frames):
            told = f"after {self.read} frames, but its header tells of {frames}"
        elif seconds is not None and shown < seconds * (1 - _LACKING):
            told = f"after {self._last:.2f} s, but its header tells of {seconds:.2f} s"
        else:
            told = ""
        if told:
            self.notes.append(f"ends {told}: it is probably cut off or damaged")
        if not self.read:
            self.notes.append("holds not a single frame that can be decoded")

    def _duration(self) -> float | None:
        """Return how long the video is by its header, in seconds; None where that tells nothing."""
        stream = self._stream
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        hours, *rest = str(stream.metadata.get("DURATION", "")).split(":")
        if len(rest) == 2:  # as Matroska has it
            with suppress(ValueError):
                return 3600 * float(hours) + 60 * float(rest[0]) + float(rest[1])
        is_alone = len(self._container.streams) == 1
        duration = self._container.duration
        return duration / 1e6 if is_alone and duration is not None else None

    def _kinds(self) -> str:
        kinds = sorted({stream.type for stream in self._container.streams})
        return f", only {' and '.join(kinds)}" if kinds else ""

    def _reason(self, error: Exception) -> str:
        refused = (
            self._av.InvalidDataError | self._av.ArgumentError
        )  # the latter: of another format
        if isinstance(error, refused):
            return _UNKNOWN
        return getattr(error, "strerror", None) or str(error)


def _pixels(frame: "av.VideoFrame") -> np.ndarray:
    """Return the pixels (H, W, channels) of a frame, (H, W) uint16 of grey that has over 8 bits."""
    components = frame.format.components
    if len(components) == 1 and components[0].bits > 8:
        return frame.to_ndarray(format="gray16le")
    has_alpha = any(component.is_alpha for component in components)
    return frame.to_ndarray(format="rgba" if has_alpha else "rgb24")


def _turn(frame: "av.VideoFrame") -> np.ndarray | None:
    """Return the display matrix of a frame, (3, 3); None where it has none."""
    try:
        side_data: Any = frame.side_data
        found = side_data["DISPLAYMATRIX"]
    except KeyError:
        return None
    return np.frombuffer(found, np.int32).reshape(3, 3).astype(np.int64)
