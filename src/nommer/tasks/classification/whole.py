"""A whole file of a classifier: the crop before the network, probabilities behind it."""

import math
from collections.abc import Sequence
from typing import Any

from nommer.models.classification import Classifier
from nommer.models.exported_networks import FEATURES, OUTPUT
from nommer.models.whole_kinds import NONE_OF_THESE, WholeClasses
from nommer.predictions import Classification
from nommer.tasks.classification.familiar_graph import unfamiliar
from nommer.tasks.image_size import ImageSize
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
        familiarity = model.decisions.familiarity if model.threshold is None else None
        refuses = familiarity is not None
        side = model.preprocessing.image_size
        taken = f", float[batch, 3, {side}, {side}] f_seen_pixels" if refuses else ""
        features = familiarity is not None and familiarity.uses_features
        taken += f", float[batch, width] f_{FEATURES}" if features else ""
        given = f", bool[batch] {NONE_OF_THESE}" if refuses else ""
        finish = f"""
finish (float[batch, {classes}] f_{OUTPUT}, int64[2] f_image, int64[2] f_seen{taken})
    => (float[batch, {classes}] probabilities, int64[batch] class_ids{given})
{{
    f_temperatures = {floats(temperatures, f"[{len(temperatures)}]")}
    f_offsets = {floats(offsets, f"[{len(offsets)}]")}
    f_scaled = Div(f_{OUTPUT}, f_temperatures)
    f_moved = Add(f_scaled, f_offsets)
    probabilities = {kind}(f_moved)
    class_ids = ArgMax<axis=-1, keepdims=0>(f_moved)
{unfamiliar(familiarity, side) if familiarity is not None else ""}}}
"""
        outputs = (*WholeClasses.outputs, *([NONE_OF_THESE] if refuses else []))
        return WholeParts(
            prepare(model, pixels=refuses),
            finish,
            (OUTPUT, FEATURES) if features else (OUTPUT,),
            outputs,
            prepared=refuses,
        )

    def describe(self, model: Classifier) -> dict[str, Any]:
        """Return the thresholds where an image may have several classes."""
        several = model.threshold is not None
        found = model.decisions.thresholds(model.class_names, None) if several else ()
        return {"class_thresholds": found}

    def left_out(self, model: Classifier) -> tuple[str, ...]:
        """List the comparison with thresholds, of a model that may answer several classes."""
        if model.threshold is None:
            return ()
        return ("comparing probabilities with `class_thresholds`, or with `threshold` without",)

    def compare(self, expected: Classification, found: Classification) -> Agreement:
        """Compare the classes that are answered, or that none is, and all probabilities."""
        pairs = zip(expected.probabilities, found.probabilities, strict=True)
        same, differences = expected.chosen == found.chosen, [abs(a - b) for a, b in pairs]
        knows = expected.none_of_these is not None
        refusal = expected.none_of_these == found.none_of_these if knows else None
        return Agreement(int(same), 1, max(differences), refusal)

    def score(
        self, data: Any, samples: Sequence[Any], answers: Sequence[Classification]
    ) -> tuple[str, float]:
        """Return the share of images whose answer is the true class, or are the true classes.

        The most probable class counts also where none is answered.
        """
        rights = [
            set(answer.chosen or (answer.name,) * (answer.threshold is None))
            == {answer.class_names[label] for label in sample.classes}
            for sample, answer in zip(samples, answers, strict=True)
        ]
        return "top1", sum(rights) / max(1, len(rights))


def prepare(model: Classifier, *, pixels: bool) -> str:
    """Return `Preprocessing` as a graph, with what it makes of the `pixels` a second time."""
    told = model.preprocessing
    side = told.image_size
    if told.crop_mode == "squash":
        steps = resize(told, "p_pixels", "p_seen", "p_cropped")
    else:
        scaled = max(side, math.floor(side / (told.crop_pct or 1.0)))
        steps = _limit_aspect() + _scale(told, scaled) + _centre("p_scaled", "p_cropped")
    given = f", float[batch, 3, {side}, {side}] p_seen_pixels" if pixels else ""
    return f"""
prepare (uint8[batch, height, width, 3] images)
    => (float[batch, 3, {side}, {side}] prepared, int64[2] p_image, int64[2] p_seen{given})
{{
    p_zero = {ints(0)}
    p_two = {double(2)}
    p_axes = {ints(2, 3)}
    p_seen = {ints(side, side)}{SIZES}{steps}{normalise(told, "p_cropped", "prepared")}
{"    p_seen_pixels = Identity(prepared)" if pixels else ""}
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
