"""A task's part in a whole file: the graphs before and after the network, and how answers compare.

The graphs are in ONNX's own text form (`onnx.parser`), in which each line is an operator: tracing
would have bound them to torch's operations. They are of any opset from 18 on, the first whose
Resize antialiases. On 8-bit pixels ONNX Runtime's does so in fixed point as Pillow's, so that both
differ by one of 255 steps at most. Names begin with p before the network and with f behind it.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from PIL import Image

from nommer.errors import InputError
from nommer.tasks.image_size import ImageSize

FIRST_OPSET = 18

_MODES = {
    "bicubic": 'mode="cubic", antialias=1, cubic_coeff_a=-0.5, exclude_outside=1',
    "bilinear": 'mode="linear", antialias=1',
    "nearest": 'mode="nearest", nearest_mode="round_prefer_ceil"',
}


@dataclass(frozen=True)
class WholeParts:
    """The graphs around a network, as text."""

    prepare: str
    """From `images` (batch, height, width, 3) uint8 to `prepared` (batch, 3, h, w), and to
    `p_image` and `p_seen`, height and width of the image and of what the network sees of it."""
    finish: str
    """From outputs of the network, called f_ and their names, f_image and f_seen to `outputs`."""
    network: tuple[str, ...]
    """Outputs of the network that are taken."""
    outputs: tuple[str, ...]
    prepared: bool = False
    """`finish` takes `f_seen_pixels`, all that the network sees, too."""


@dataclass(frozen=True)
class Agreement:
    """Agreement of an answer of a whole file with the model's."""

    same: int
    """Of `answers`: classes, pixels, or objects of the same class at the same place."""
    answers: int
    difference: float
    """Largest of a probability, of answers that are the same."""
    refusal: bool | None = None
    """Both refuse the image, or both answer it; None of a model that refuses nothing."""


class WholeExport(ABC):
    """A task's part in a whole file."""

    needed: ClassVar[float] = 0.99
    """Share of the answers that must be the same."""
    images: ClassVar[int] = 64
    """Images on which answers are compared."""
    all_scores: ClassVar[float | None] = None
    """Least score with which a file answers with all that can be evaluated; None where it always
    does."""
    any_size: ClassVar[bool] = True
    """The network inside takes images of any size."""

    @abstractmethod
    def parts(self, model: Any, size: ImageSize) -> WholeParts:
        """Return the graphs around a model's network.

        Raises:
            InputError: a model whose preparation or answers no graph can be written for.
        """

    def describe(self, model: Any) -> dict[str, Any]:
        """Return what the file tells of itself beside task, classes and labels."""
        return {}

    def left_out(self, model: Any) -> tuple[str, ...]:
        """List what whoever runs the file has to decide beyond its outputs."""
        return ()

    def expected(self, model: Any, image: Image.Image) -> Any:
        """Return the model's answer to a decoded image, which the file is to give too."""
        return model.predict([image])[0]

    def scored(self, model: Any, image: Image.Image) -> Any:
        """Return the answer that is scored by labels, which may hold more."""
        return self.expected(model, image)

    @abstractmethod
    def compare(self, expected: Any, found: Any) -> Agreement:
        """Compare two answers to an image."""

    @abstractmethod
    def score(self, data: Any, samples: Sequence[Any], answers: Sequence[Any]) -> tuple[str, float]:
        """Return the name and the value of what answers to labelled samples are scored by."""


def ints(*values: int) -> str:
    """Return a one-dimensional constant of whole numbers."""
    return f"Constant<value = int64[{len(values)}] {{{', '.join(map(str, values))}}}>()"


def double(value: float) -> str:
    """Return a scalar constant of 64 bits."""
    return f"Constant<value = double {{{float(value)!r}}}>()"


def doubles(values: Sequence[float]) -> str:
    """Return a one-dimensional constant of 64 bits."""
    told = ", ".join(repr(float(one)) for one in values)
    return f"Constant<value = double[{len(values)}] {{{told}}}>()"


def floats(values: Sequence[float], shape: str = "") -> str:
    """Return a constant of 32 bits: a scalar, or of a shape such as "[1, 3, 1, 1]"."""
    return f"Constant<value = float{shape} {{{', '.join(repr(float(one)) for one in values)}}}>()"


SIZES = f"""
    p_shape = Shape(images)
    p_one = {ints(1)}
    p_three = {ints(3)}
    p_batch = Slice(p_shape, {{zero}}, p_one)
    p_image = Slice(p_shape, p_one, p_three)
    p_sides = Cast<to=11>(p_image)
    p_short = ReduceMin<keepdims=1>(p_sides)
    p_pixels = Transpose<perm=[0, 3, 1, 2]>(images)
""".replace("{zero}", "p_zero")
"""The size of the images, and their channels first."""


def resize(preprocessing: Any, source: str, rows_columns: str, target: str) -> str:
    """Return the resizing of 8-bit pixels to a size (rows, columns)."""
    mode = _MODES[preprocessing.interpolation]
    return f"""
    {target}_sizes = Concat<axis=0>(p_batch, p_three, {rows_columns})
    {target} = Resize<{mode}, coordinate_transformation_mode="half_pixel">
        ({source}, , , {target}_sizes)
"""


def normalise(preprocessing: Any, source: str, target: str) -> str:
    """Return `Normalisation.normalise` of 8-bit pixels."""
    return f"""
    p_float = Cast<to=1>({source})
    p_step = {floats([1 / 255])}
    p_unit = Mul(p_float, p_step)
    p_mean = {floats(preprocessing.mean, "[1, 3, 1, 1]")}
    p_std = {floats(preprocessing.std, "[1, 3, 1, 1]")}
    p_centred = Sub(p_unit, p_mean)
    {target} = Div(p_centred, p_std)
"""


def fit(preprocessing: Any) -> str:
    """Return `fit_size`: p_seen (rows, columns), the sides in proportion."""
    short, long = preprocessing.short_side, preprocessing.long_side
    if not short and not long:
        return "    p_seen = Identity(p_image)\n"
    factor = f"""
    p_wanted = {double(short or 1)}
    p_factor = {"Div(p_wanted, p_short)" if short else "Identity(p_wanted)"}
"""
    limit = f"""
    p_most = {double(long or 1)}
    p_long = ReduceMax<keepdims=1>(p_sides)
    p_limit = Div(p_most, p_long)
    p_scale = Min(p_factor, p_limit)
"""
    return f"""{factor}{limit if long else "    p_scale = Identity(p_factor)"}
    p_scaled = Mul(p_sides, p_scale)
    p_round = Round(p_scaled)
    p_unity = {double(1)}
    p_least = Max(p_round, p_unity)
    p_seen = Cast<to=7>(p_least)
"""


def prepare_whole(preprocessing: Any, smallest: int) -> str:
    """Return the preparation of an image that is seen whole, by a network of any size.

    Zeros at the right and bottom fill up what is smaller than the smallest size.
    """
    resized = resize(preprocessing, "p_pixels", "p_seen", "p_resized")
    return f"""
prepare (uint8[batch, height, width, 3] images)
    => (float[batch, 3, rows, columns] prepared, int64[2] p_image, int64[2] p_seen)
{{
    p_zero = {ints(0)}{SIZES}{fit(preprocessing)}{resized}
    {normalise(preprocessing, "p_resized", "p_normalised")}
    p_smallest = {ints(smallest, smallest)}
    p_none = {ints(0, 0)}
    p_missing = Sub(p_smallest, p_seen)
    p_beyond = Max(p_missing, p_none)
    p_before = {ints(0, 0, 0, 0, 0, 0)}
    p_pads = Concat<axis=0>(p_before, p_beyond)
    prepared = Pad<mode="constant">(p_normalised, p_pads)
}}
"""


def check_interpolation(preprocessing: Any) -> None:
    """Refuse a way of resampling for which there is no graph.

    Raises:
        InputError: its name.
    """
    if preprocessing.interpolation not in _MODES:
        raise InputError(
            f"--whole: images resampled by {preprocessing.interpolation} cannot be prepared in the "
            "file; export without --whole"
        )
