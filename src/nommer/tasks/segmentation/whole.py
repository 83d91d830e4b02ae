"""A whole file of a segmenter: the class of every pixel, at the image's own size."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from nommer.data.masks import read_mask
from nommer.models.exported_networks import CELLS
from nommer.models.inference import WHOLE_PIXELS
from nommer.models.segmentation import Segmenter
from nommer.models.whole_kinds import WholeRegions
from nommer.predictions import Segmentation
from nommer.tasks.image_size import ImageSize
from nommer.tasks.whole import (
    Agreement,
    WholeExport,
    WholeParts,
    check_interpolation,
    double,
    floats,
    ints,
    prepare_whole,
)


class WholeSegmentation(WholeExport):
    """The class of every pixel and its probability, of images that are seen whole."""

    images = 16

    def parts(self, model: Segmenter, size: ImageSize) -> WholeParts:
        """Return the resizing before the network, and the enlarging behind it."""
        check_interpolation(model.preprocessing)
        prepare = prepare_whole(model.preprocessing, size.smallest or size.usual)
        temperatures = model.decisions.temperatures or (1.0,)
        finish = _finish(len(model.class_names), model.network.stride, temperatures)
        return WholeParts(prepare, finish, (CELLS,), WholeRegions.outputs)

    def describe(self, model: Segmenter) -> dict[str, Any]:
        """Return the most pixels: larger images are seen in windows, which the file has not."""
        return {"largest_pixels": WHOLE_PIXELS}

    def compare(self, expected: Segmentation, found: Segmentation) -> Agreement:
        """Compare the classes of all pixels."""
        same = int((expected.labels == found.labels).sum())
        return Agreement(same, expected.labels.size, 0.0)

    def score(
        self, data: Any, samples: Sequence[Any], answers: Sequence[Segmentation]
    ) -> tuple[str, float]:
        """Return the mean intersection over union."""
        from nommer.tasks.segmentation.metrics import SegmentationMetrics  # noqa: PLC0415

        metrics = SegmentationMetrics(len(data.class_names))
        for sample, answer in zip(samples, answers, strict=True):
            truth = torch.from_numpy(np.asarray(read_mask(sample.mask, data.encoding)))
            metrics.update(torch.from_numpy(answer.labels), truth, torch.zeros(1))
        return "miou", metrics.compute().miou


def _finish(classes: int, stride: int, temperatures: Sequence[float]) -> str:
    return f"""
finish (float[batch, {classes}, r, c] f_{CELLS}, int64[2] f_image, int64[2] f_seen)
    => (uint8[batch, height, width] class_ids, float[batch, height, width] probabilities)
{{
    f_stride = {ints(stride)}
    f_less = {ints(stride - 1)}
    f_up = Add(f_seen, f_less)
    f_kept = Div(f_up, f_stride)
    f_origin = {ints(0, 0)}
    f_axes = {ints(2, 3)}
    f_own = Slice(f_{CELLS}, f_origin, f_kept, f_axes)
    f_zero = {ints(0)}
    f_one = {ints(1)}
    f_two = {ints(2)}
    f_half = {double(0.5)}
    f_none = {double(0)}
    f_whole = {double(1)}
    f_pixels = {double(stride)}
    f_seen_d = Cast<to=11>(f_seen)
    f_image_d = Cast<to=11>(f_image)
    f_ratio = Div(f_seen_d, f_image_d)
    f_steps = Div(f_ratio, f_pixels)
    f_kept_d = Cast<to=11>(f_kept)
    f_last = Sub(f_kept_d, f_whole)
{_enlarge("f_own", 3, "f_wide")}{_enlarge("f_wide", 2, "f_scores")}
    f_ids = ArgMax<axis=1, keepdims=0>(f_scores)
    class_ids = Cast<to=2>(f_ids)
    f_temperatures = {floats(temperatures, f"[1, {len(temperatures)}, 1, 1]")}
    f_scaled = Div(f_scores, f_temperatures)
    f_shares = Softmax<axis=1>(f_scaled)
    probabilities = ReduceMax<keepdims=0>(f_shares, f_one)
}}
"""


def _enlarge(source: str, axis: int, target: str) -> str:
    """Return cells between which pixels are interpolated, along an axis of the image."""
    at = "(x, f_zero, f_one, f_zero)" if axis == 2 else "(x, f_one, f_two, f_zero)"
    pick = {name: f"Slice{at.replace('x', name)}" for name in ("f_image_d", "f_steps", "f_last")}
    shape = ints(-1, 1) if axis == 2 else ints(-1)
    return f"""
    {target}_count = {pick["f_image_d"]}
    {target}_step = {pick["f_steps"]}
    {target}_last = {pick["f_last"]}
    {target}_end = Squeeze({target}_count)
    {target}_pixels = Range(f_none, {target}_end, f_whole)
    {target}_middle = Add({target}_pixels, f_half)
    {target}_moved = Mul({target}_middle, {target}_step)
    {target}_free = Sub({target}_moved, f_half)
    {target}_above = Max({target}_free, f_none)
    {target}_place = Min({target}_above, {target}_last)
    {target}_floor = Floor({target}_place)
    {target}_before = Cast<to=7>({target}_floor)
    {target}_next = Add({target}_floor, f_whole)
    {target}_bound = Min({target}_next, {target}_last)
    {target}_after = Cast<to=7>({target}_bound)
    {target}_rest = Sub({target}_place, {target}_floor)
    {target}_share = Cast<to=1>({target}_rest)
    {target}_shape = {shape}
    {target}_weight = Reshape({target}_share, {target}_shape)
    {target}_left = Gather<axis={axis}>({source}, {target}_before)
    {target}_right = Gather<axis={axis}>({source}, {target}_after)
    {target}_difference = Sub({target}_right, {target}_left)
    {target}_part = Mul({target}_difference, {target}_weight)
    {target} = Add({target}_left, {target}_part)
"""
