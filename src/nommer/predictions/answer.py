"""The base of all answers: they are shown in a line, in a notebook, as a table."""

from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from PIL import Image

from nommer.extras import require
from nommer.predictions.drawing import captioned, fitted
from nommer.predictions.picture import Picture, as_uri
from nommer.shown import clean

if TYPE_CHECKING:
    import pandas as pd

_SIDE = 480
"""Longest side of a picture in a notebook, in pixels."""

_LONGEST = 100
"""Letters of a list in a short representation."""

Colour = tuple[int, int, int]
"""RGB, 0 to 255."""

Given = TypeVar("Given")


FRAME_SIDE = 1920
"""Longest side of an annotated frame of a video, in pixels."""


@dataclass(frozen=True)
class Moment:
    """The place of an answer in a video."""

    frame: int
    """Counted from 0, those that were passed over too."""
    seconds: float | None
    """Since the first frame; None where the video has no times."""
    is_damaged: bool = False
    """The decoder could read a part of the frame only and made up the rest."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        damaged = {"damaged": True} if self.is_damaged else {}
        return {"frame": self.frame, "seconds": self.seconds, **damaged}


class Answer:
    """An answer to one image."""

    options: ClassVar[frozenset[str]] = frozenset()
    """Choices of a request: `top` classes, a `threshold`, the `most` objects, `pixels`.
    """
    explained_by: ClassVar[tuple[str, ...]] = ()
    """Fields of an explanation that it alone has, by their names."""

    source: str
    picture: Picture | None = None
    moment: Moment | None = None

    @property
    def of(self) -> dict[str, Any]:
        """The image, and of a video the frame, as plain values for JSON."""
        return {"image": self.source, **(self.moment.to_dict() if self.moment else {})}

    def headline(self) -> list[str]:
        """Return what is answered in a few words, the most important first."""
        raise NotImplementedError

    def summary(self) -> "Answer":
        """Return what is small enough to be kept of many images."""
        return self

    def title(self, name: str) -> str:
        """Return a title for pictures that explain the answer to an image of this name."""
        return name

    def with_parts(self, image: Image.Image) -> tuple[Image.Image, dict[str, Colour]] | None:
        """Return the image with the answer's parts drawn in, and the colour beside each name.

        None where the answer is of the whole image.
        """
        return None

    def beside_explanation(self) -> dict[str, Any]:
        """Return the plain values for JSON that stand beside an explanation."""
        return self.to_dict()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        raise NotImplementedError

    def rows(self) -> list[dict[str, Any]]:
        """Return the answer as rows of a table, each with its image."""
        raise NotImplementedError

    def on_frame(self, image: Image.Image) -> Image.Image:
        """Return the annotated image for a video, whose size depends on that of `image` alone."""
        return captioned(fitted(image, FRAME_SIDE), self.headline())

    def drawn(self) -> Image.Image | None:
        """Return the picture with the answer drawn in; None where there is no picture any more."""
        image, plot = self.picture and self.picture.open(), getattr(self, "plot", None)
        return plot(image) if image is not None and plot is not None else None

    def __repr__(self) -> str:
        told = ", ".join(self.headline()) or "nothing"
        short = told if len(told) <= _LONGEST else f"{told[:_LONGEST]}..."
        frame = f", frame {self.moment.frame}" if self.moment else ""
        return f"<{type(self).__name__} of {self.source}{frame}: {short}>"

    def _repr_html_(self) -> str:
        """Return the answer with its picture, as notebooks show it."""
        caption = escape(clean(f"{self.source}: {', '.join(self.headline()) or 'nothing'}"))
        return f"<figure>{_as_html(self.drawn())}<figcaption>{caption}</figcaption></figure>"

    def to_pandas(self) -> "pd.DataFrame":
        """Return the answer as a table of pandas, of `rows`.

        Raises:
            InputError: pandas is not installed.
        """
        return to_pandas(self.rows())


def to_pandas(rows: list[dict[str, Any]]) -> "pd.DataFrame":
    """Return rows as a table of pandas.

    Raises:
        InputError: pandas is not installed.
    """
    return require("pandas", "data", "to_pandas").DataFrame(rows)


def with_moment(answer: Given, source: str, moment: Moment | None) -> Given:
    """Return the answer to a frame of the video `source`, which knows both."""
    return replace(answer, source=source, moment=moment)  # type: ignore[type-var]


def with_picture(answer: Given, picture: Picture) -> Given:
    """Return an answer that knows its picture; one of another kind as it is."""
    if isinstance(answer, Answer) and "picture" in getattr(answer, "__dataclass_fields__", ()):
        return replace(answer, picture=picture)  # type: ignore[type-var]  # all are dataclasses
    return answer


def _as_html(picture: Image.Image | None) -> str:
    return "" if picture is None else f'<img src="{as_uri(picture, _SIDE)}">'
