"""The description of a whole file, as its metadata tell it. Loads no PyTorch."""

from dataclasses import dataclass

from nommer.errors import InputError
from nommer.settings.pixel_range import PixelRange, Reading, check_range
from nommer.settings.schema import Settings

Colour = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class WholeDescription(Settings):
    """Facts that the metadata of a whole file tell.

    Raises:
        InputError: a value of another type, or out of range; the message names it.
    """

    task: str
    """One of those in `models.whole_kinds`."""
    class_names: tuple[str, ...]
    outputs: tuple[str, ...]
    class_ids: tuple[str, ...] = ()
    """Of a classifier, other names of the classes, such as WordNet ids."""
    threshold: float | None = None
    """Of a classifier where an image may have several classes."""
    class_thresholds: tuple[float, ...] = ()
    """Least score of an answer of each class, by default: of a detector, and of such a classifier.
    Empty where none were found."""
    colours: tuple[Colour, ...] = ()
    """Of a segmenter, one RGB colour (0-255) per class."""
    category_ids: tuple[int, ...] = ()
    """Of a detector, one per class."""
    least_score: float = 0.0
    """Of a detector: objects of lower (calibrated) scores are not, or not all, in the answers."""
    most: int | None = None
    """Objects that a detector answers with, at most."""
    largest_pixels: int | None = None
    """Pixels of an image, at most."""
    background: Colour = (255, 255, 255)
    range: PixelRange = None
    precision: str = "float32"

    def __post_init__(self) -> None:
        object.__setattr__(self, "range", check_range(self.range))
        super().__post_init__()

    def check(self) -> None:
        """Refuse labels that are not as many as the classes."""
        classes = len(self.class_names)
        if len(self.class_thresholds) not in (0, classes):
            found = len(self.class_thresholds)
            raise InputError(f"{classes} class names, but {found} class_thresholds")

    @property
    def reading(self) -> Reading:
        """The reading of image files as RGB."""
        return Reading(self.background, self.range)
