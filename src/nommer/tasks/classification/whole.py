"""A whole file of a classifier: the crop before the network, probabilities behind it."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from PIL import Image

from nommer.models.classification import Classifier
from nommer.models.exported_networks import OUTPUT
from nommer.models.whole import OUTPUTS
from nommer.predictions import Classification
from nommer.tasks.exporting import ImageSize
from nommer.tasks.whole import (
    SIZES,
    Agreement,
    WholeExport,
    WholeParts,
    check_interpolation,
    double,
    floats,
    ints,
    normalise,
    resize,
)


class WholeClassification(WholeExport):
    """Probabilities of the classes, of any number of images of one size."""

    measure = "top1"
    any_size = False
    images = 256

    def parts(self, model: Classifier, size: ImageSize) -> WholeParts:
        """Return the crop, and softmax or sigmoid."""
        check_interpolation(model.preprocessing)
        classes, kind = len(model.class_names), "Softmax<axis=-1>"
        if model.threshold is not None:
            kind = "Sigmoid"
        temperatures = model.decisions.temperatures or (1.0,)
        offsets = model.decisions.offsets or (0.0,)
        finish = f"""
finish (float[batch, {classes}] f_{OUTPUT}, int64[2] f_image, int64[2] f_seen)
    => (float[batch, {classes}] probabilities, int64[batch] class_ids)
{{
    f_temperatures = {floats(temperatures, f"[{len(temperatures)}]")}
    f_offsets = {floats(offsets, f"[{len(offsets)}]")}
    f_cooled = Div(f_{OUTPUT}, f_temperatures)
    f_moved = Add(f_cooled, f_offsets)
    probabilities = {kind}(f_moved)
    class_ids = ArgMax<axis=-1, keepdims=0>(f_moved)
}}
"""
        return WholeParts(prepare(model), finish, (OUTPUT,), OUTPUTS[model.task])

    def expected(self, model: Classifier, image: Image.Image) -> Any:
        """Return the answer, also of an image that is unlike those that were learned."""
        return model.predict([image], refuse=False)[0]

    def compare(self, expected: Classification, found: Classification) -> Agreement:
        """Compare the classes that are answered, and all probabilities."""
        pairs = zip(expected.probabilities, found.probabilities, strict=True)
        same = replace(expected, class_thresholds=()).chosen == found.chosen
        return Agreement(int(same), 1, max(abs(one - other) for one, other in pairs))

    def score(self, data: Any, samples: Sequence[Any], answers: Sequence[Classification]) -> float:
        """Return the share of images whose answer is the true class, or are the true classes."""
        rights = [
            set(answer.chosen) == {answer.class_names[label] for label in sample.classes}
            for sample, answer in zip(samples, answers, strict=True)
        ]
        return sum(rights) / max(1, len(rights))


def prepare(model: Classifier) -> str:
    """Return `Preprocessing` as a graph."""
    told = model.preprocessing
    side = told.image_size
    if told.crop_mode == "squash":
        steps = resize(told, "p_pixels", "p_seen", "p_cropped")
    else:
        scaled = max(side, math.floor(side / (told.crop_pct or 1.0)))
        steps = _limit_aspect() + _scale(told, scaled) + _centre("p_scaled", "p_cropped")
    return f"""
prepare (uint8[batch, height, width, 3] images)
    => (float[batch, 3, {side}, {side}] prepared, int64[2] p_image, int64[2] p_seen)
{{
    p_zero = {ints(0)}
    p_two = {double(2)}
    p_axes = {ints(2, 3)}
    p_seen = {ints(side, side)}{SIZES}{steps}{normalise(told, "p_cropped", "prepared")}
}}
"""


def _limit_aspect() -> str:
    """Return the middle of images that are more than four times as long as wide."""
    return f"""
    p_four = {double(4)}
    p_longest = Mul(p_short, p_four)
    p_limited = Min(p_sides, p_longest)
    p_kept = Cast<to=7>(p_limited)
{_crop("p_pixels", "p_sides", "p_limited", "p_kept", "p_narrowed")}"""


def _scale(preprocessing: Any, side: int) -> str:
    """Return the resizing of the shorter side to `side`, of the longer in proportion."""
    return f"""
    p_side = {double(side)}
    p_product = Mul(p_limited, p_side)
    p_quotient = Div(p_product, p_short)
    p_floor = Floor(p_quotient)
    p_rows = Cast<to=7>(p_floor)
{resize(preprocessing, "p_narrowed", "p_rows", "p_scaled")}"""


def _centre(source: str, target: str) -> str:
    """Return the square in the middle."""
    return "    p_square = Cast<to=11>(p_seen)\n" + _crop(
        source, "p_floor", "p_square", "p_seen", target
    )


def _crop(source: str, sides: str, wanted: str, whole: str, target: str) -> str:
    """Return the middle of images, as torchvision's `center_crop` has it."""
    return f"""
    {target}_spare = Sub({sides}, {wanted})
    {target}_half = Div({target}_spare, p_two)
    {target}_round = Round({target}_half)
    {target}_from = Cast<to=7>({target}_round)
    {target}_to = Add({target}_from, {whole})
    {target} = Slice({source}, {target}_from, {target}_to, p_axes)
"""
