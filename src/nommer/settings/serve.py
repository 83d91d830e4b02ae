"""Everything that `nommer serve` is told."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

from nommer.errors import InputError, check_minimum
from nommer.settings.schema import Settings, Takes, given

_LAST_PORT = 65_535


@dataclass(frozen=True)
class ServeSettings(Settings):
    """Settings of a server.

    Raises:
        InputError: a value of another type, or out of range; the message names it.
    """

    models: Takes[tuple[str, ...], str | Path | Sequence[str | Path]] = given(())
    """Exported model.onnx files, run folders, model folders, or names of the zoo.
    NAME=MODEL calls one NAME in requests. The first answers where a request names none. A file of
    `nommer export --whole` is served without loading PyTorch."""
    _: KW_ONLY
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for all of this machine's."""
    port: int = 8000
    """Port to listen on; 0 for any that is free, which is printed."""
    max_batch: int = 8
    """Images that are computed at a time, at most."""
    max_delay: float = 2.0
    """Milliseconds that an image may wait for others to be computed with."""
    queue: int = 64
    """Images that may wait; further ones are refused with 429."""
    max_bytes: int = 32 * 2**20
    """Bytes of a request, at most; larger ones are refused with 413."""
    max_pixels: int = 25_000_000
    """Pixels of an image, at most; larger ones are answered by an error."""
    max_images: int = 16
    """Images of a request, at most; more are refused with 413."""
    timeout: float = 30.0
    """Seconds until a request is given up, with 504, or 408 while it is still being sent."""
    threads: int | None = None
    """Threads of a computation on the CPU. By default one per core."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps; exported files run on the CPU."""

    def check(self) -> None:
        """Refuse values out of range."""
        if not self.models:
            raise InputError(
                "no model to serve: name one, as in nommer serve runs/photos/export/model.onnx"
            )
        for name in ("max_batch", "queue", "max_bytes", "max_pixels", "max_images", "threads"):
            check_minimum(name.replace("_", "-"), getattr(self, name), 1)
        check_minimum("max-delay", self.max_delay, 0)
        if not 0 <= self.port <= _LAST_PORT:
            raise InputError(f"--port must be from 0 to {_LAST_PORT}, got {self.port}")
        if not 0.1 <= self.timeout <= 3600:
            raise InputError(f"--timeout must be from 0.1 to 3600 seconds, got {self.timeout}")
        if self.max_images > self.queue:
            raise InputError(
                f"--max-images ({self.max_images}) must not be above --queue ({self.queue}): such "
                "a request could never be taken"
            )
