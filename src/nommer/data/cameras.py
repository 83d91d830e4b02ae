"""Cameras: videos without an end, of which the newest frame is the one that counts."""

import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Condition, Thread

from nommer.data.frames import Frame
from nommer.data.videos import VideoError, VideoReader, pyav

_DEVICES = Path("/dev")
_PATIENCE = 10.0
"""Seconds without a frame after which a camera is taken for dead."""


def is_camera(name: str) -> bool:
    """Return True for the number of a camera, or the path of a device; a file of it goes first."""
    path = Path(name)
    if name.isascii() and name.isdigit():
        return not path.exists()
    return name.startswith("/dev/video") or path.is_char_device()


def camera_address(name: str) -> tuple[str, str]:
    """Return FFmpeg's format and address of a camera.

    Args:
        name: number counted from 0, or path of a device.

    Raises:
        VideoError: there is no such camera.
    """
    if not name.isdigit():
        if not Path(name).exists():
            raise VideoError(f"camera {name}", f"there is no such device; {_found()}")
        return "v4l2", name
    if sys.platform == "darwin":
        return "avfoundation", name
    if sys.platform == "win32":
        known = [one for one in pyav("cameras").enumerate_input_devices("dshow") if one.media_types]
        cameras = [one.name for one in known if "video" in one.media_types]
        if int(name) >= len(cameras):
            found = ", ".join(cameras) or "none"
            raise VideoError(f"camera {name}", f"there is no such camera; found: {found}")
        return "dshow", f"video={cameras[int(name)]}"
    device = _DEVICES / f"video{int(name)}"
    if not device.exists():
        raise VideoError(f"camera {name}", f"there is no {device}; {_found()}")
    return "v4l2", str(device)


def _found() -> str:
    found = sorted(str(path) for path in _DEVICES.glob("video*"))
    return f"cameras here: {', '.join(found) or 'none'}"


class Camera:
    """Gives the newest frame of a camera each time; those that came meanwhile are passed over.

    So answers do not lag behind the world where a model is slower than the camera. The frames have
    the numbers that the camera counts.

    Args:
        name: number or path of a device.
        stride: of so many frames one is taken.

    Raises:
        VideoError: there is no such camera, or it cannot be opened.
    """

    def __init__(self, name: str, *, stride: int = 1) -> None:
        kind, address = camera_address(name)
        self.reader = VideoReader(f"camera {name}", address, format=kind, stride=stride)
        self.passed_over = 0
        self.notes = self.reader.notes
        self.frames: int | None = None
        self.first = 0
        self._newest: Frame | None = None
        self._ended = False
        self._changed = Condition()
        self._thread = Thread(target=self._read, name="camera", daemon=True)

    @property
    def rate(self) -> float:
        """Frames per second that the camera promises."""
        return self.reader.rate

    def __iter__(self) -> Iterator[Frame]:
        """Yield frames until the camera ends, or is closed."""
        self._thread.start()
        while True:
            with self._changed:
                came = self._changed.wait_for(
                    lambda: self._newest is not None or self._ended, _PATIENCE
                )
                frame, self._newest = self._newest, None
            if frame is not None:
                yield frame
            elif not came:
                self.notes.append(f"gave no frame for {_PATIENCE:.0f} s, so it is taken for dead")
                return
            else:
                return

    def close(self) -> None:
        """Let the camera go."""
        self._ended = True
        if self._thread.is_alive():
            self._thread.join(_PATIENCE)
        self.reader.close()

    def _read(self) -> None:
        for frame in self.reader:
            with self._changed:
                self.passed_over += self._newest is not None
                self._newest = frame
                self._changed.notify()
            if self._ended:
                return
        with self._changed:
            self._ended = True
            self._changed.notify()
