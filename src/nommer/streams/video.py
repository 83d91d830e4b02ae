"""Annotated frames, written as a video that can be played however the writing ends."""

from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

from PIL import Image

from nommer.data.videos import pyav
from nommer.progress import notice

_TICKS = 60_000
"""Of the video's clock per second: the usual rates are whole numbers of them."""

_ENCODERS: tuple[tuple[str, dict[str, str]], ...] = (
    ("libx264", {"preset": "veryfast", "crf": "21", "tune": "zerolatency"}),
    ("libopenh264", {}),
    ("mpeg4", {"qscale": "3"}),
)
"""Encoders of FFmpeg, the first that is there is taken, and their options."""

_FRAGMENTS = {"movflags": "+frag_keyframe+empty_moov+default_base_moof"}
"""MP4 in pieces that are whole each, so that a process that is killed leaves what it wrote."""

_KEYFRAMES = 25
"""Frames of a piece."""


def parts_of(path: Path) -> Iterator[Path]:
    """Yield the names of the parts of an annotated video: NAME.mp4, NAME.part2.mp4, ..."""
    yield path
    number = 2
    while True:
        yield path.with_name(f"{path.stem}.part{number}{path.suffix}")
        number += 1


class VideoWriter:
    """Writes one annotated video, of the size of its first frame, with the times of the original.

    Args:
        path: the file; another part beside it where there is one already.
        rate: frames per second, for frames without times.
    """

    def __init__(self, path: Path, rate: float) -> None:
        self.path, self.rate = next(part for part in parts_of(path) if not part.exists()), rate
        self.frames = 0
        self._container: Any = None
        self._stream: Any = None
        self._last = -1
        self._has_told = False

    def write(self, image: Image.Image, seconds: float | None) -> None:
        """Encode the next frame, shown from `seconds` on.

        Raises:
            OSError: the disk is full, or the folder read-only.
        """
        if self._container is None:
            self._open(image)
        frame = pyav().VideoFrame.from_image(self._fitting(image))
        ticks = round((self.frames / self.rate if seconds is None else seconds) * _TICKS)
        self._last = frame.pts = max(ticks, self._last + 1)
        frame.time_base = Fraction(1, _TICKS)
        self.frames += 1
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Write what the encoder still holds, and the end of the file."""
        if self._container is not None:
            self._container.mux(self._stream.encode(None))
            self._container.close()
            self._container = None

    def _open(self, image: Image.Image) -> None:
        av = pyav()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        encoder, options = next(one for one in _ENCODERS if one[0] in av.codecs_available)
        self._container = av.open(str(self.path), "w", options=_FRAGMENTS)
        stream = self._container.add_stream(encoder, options=options)
        stream.width, stream.height = (side + side % 2 for side in image.size)
        stream.pix_fmt, stream.gop_size = "yuv420p", _KEYFRAMES
        stream.codec_context.time_base = Fraction(1, _TICKS)
        stream.codec_context.framerate = Fraction(self.rate).limit_denominator(1001)
        self._stream = stream

    def _fitting(self, image: Image.Image) -> Image.Image:
        """Return a picture at the size of the video; where frames change theirs, with borders."""
        size = (self._stream.width, self._stream.height)
        if image.size == size:
            return image
        if (image.width + image.width % 2, image.height + image.height % 2) == size:
            return image.crop((0, 0, *size))
        if not self._has_told:
            notice(f"{self.path}: frames of another size, {image.size}, are fitted into {size}")
            self._has_told = True
        shown = image.copy()
        shown.thumbnail(size)
        whole = Image.new("RGB", size)
        whole.paste(shown, ((size[0] - shown.width) // 2, (size[1] - shown.height) // 2))
        return whole


def frames_in(path: Path) -> int:
    """Return how many frames the parts of an annotated video hold, as far as they are whole.

    A part without a whole one is removed.
    """
    found = 0
    for part in list(_existing(path)):
        frames = _frames_in_part(part)
        found += frames
        if not frames:
            part.unlink()
    return found


def _existing(path: Path) -> Iterator[Path]:
    for part in parts_of(path):
        if not part.exists():
            return
        yield part


def _frames_in_part(path: Path) -> int:
    found = 0
    with (
        suppress(OSError, ValueError, IndexError),  # it may end in the middle of a piece
        pyav().open(str(path.absolute())) as container,
    ):
        for packet in container.demux(video=0):
            found += bool(packet.size) and not packet.is_corrupt
    return found
