"""Answers of a stream on disk: a JSON line each, and annotated videos and images.

A line is written with one call of the system, before the frame goes into the annotated video and
after the picture of an image is there; so whatever ends the process, a folder tells by its lines
where to go on.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from nommer.data.sources import ImageSource, source_name
from nommer.errors import InputError
from nommer.files import to_json, write_atomically, write_json
from nommer.predictions import Answer
from nommer.predictions.plain import as_plain
from nommer.settings.predict import PredictSettings
from nommer.tasks.names import UniqueNames

LINES, CALL, RESULT = "answers.jsonl", "call.json", "result.json"

_ASKED = (
    *("model", "images", "top", "inference", "threshold", "refuse", "most", "stride", "track"),
    *("watch", "pictures"),
)
"""Settings that must be the same where a stream goes on; another `frames` is welcome."""


class StreamFiles:
    """The folder of a stream.

    Args:
        folder: exists.
        settings: of `nommer predict`.

    Raises:
        InputError: it is to be gone on with, and was made with other settings, or by another verb.
    """

    def __init__(self, folder: Path, settings: PredictSettings) -> None:
        self.folder, self.settings = folder, settings
        self._videos, self._pictures = UniqueNames(), UniqueNames()
        path = folder / LINES
        if settings.resume:
            self._check_call()
            _drop_half_a_line(path)
        write_json(folder / CALL, self._call())
        self._lines = path.open("ab", buffering=0)

    def earlier(self, name: str | None = None) -> Iterator[dict[str, Any]]:
        """Yield the lines of earlier sessions, of one source or all."""
        path = self.folder / LINES
        if not self.settings.resume or not path.exists():
            return
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                told = json.loads(line)
                if name is None or told["image"] == name:
                    yield told

    def line(self, answer: Answer, **also: Any) -> None:
        """Write one answer: pixels as run lengths or PNG in base64."""
        told = as_plain(answer, top=self.settings.top or 5, pixels=True)
        told.pop("colours", None)
        self._lines.write(f"{to_json(told | also)}\n".encode())

    def video_path(self, name: str) -> Path:
        """Return the name of the annotated video; the next call gives another."""
        return self.folder / "videos" / f"{self._videos.of(name)}.mp4"

    def picture(self, source: ImageSource, picture: Image.Image) -> str:
        """Write the annotated image of a file, and return its name in the folder."""
        path = self.folder / "images" / f"{self._pictures.of(source)}.jpg"
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, lambda stream: picture.save(stream, "JPEG", quality=90))
        return path.relative_to(self.folder).as_posix()

    def pass_over(self, line: dict[str, Any]) -> None:
        """Give away the name of the picture of an image that was answered earlier."""
        if "picture" in line:
            self._pictures.of(line["image"])

    def result(self, told: dict[str, Any]) -> None:
        """Replace `result.json`."""
        write_json(self.folder / RESULT, told)

    def close(self) -> None:
        """Close what is open."""
        self._lines.close()

    def _call(self) -> dict[str, Any]:
        values = {name: getattr(self.settings, name) for name in _ASKED}
        values["images"] = [source_name(one) for one in _listed(values["images"])]
        plain = json.dumps(values, default=_plain)
        return dict(json.loads(plain))

    def _check_call(self) -> None:
        path = self.folder / CALL
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            if any(one.name not in ("environment.json", ".lock") for one in self.folder.iterdir()):
                raise InputError(
                    f"--resume: {self.folder} holds no stream of answers; choose another --out"
                ) from None
            return
        for name, value in self._call().items():
            if before.get(name) != value:
                raise InputError(
                    f"--resume: {self.folder} was begun with {name} {before.get(name)}, not "
                    f"{value}; give the same, or another --out"
                )


def _listed(images: Any) -> list[Any]:
    return list(images) if isinstance(images, list | tuple) else [images]


def _plain(value: Any) -> Any:
    return vars(value) if hasattr(value, "__dict__") and not isinstance(value, Path) else str(value)


def _drop_half_a_line(path: Path) -> None:
    """Cut off what a full disk left behind the last whole line."""
    if not path.exists():
        return
    with path.open("r+b") as lines:
        end = lines.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - (1 << 16))
            lines.seek(start)
            at = lines.read(end - start).rfind(b"\n")
            if at >= 0:
                lines.truncate(start + at + 1)
                return
            end = start
        lines.truncate(0)
