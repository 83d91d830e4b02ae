"""A whole file of a detector: boxes and masks in pixels of the image, without doubles."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision.ops import box_iou

from nommer.data.formats.detection import as_coco
from nommer.errors import InputError
from nommer.models.decisions import EDGE
from nommer.models.detection import Detector
from nommer.models.exported_networks import OBJECTS
from nommer.models.whole import THRESHOLDS
from nommer.models.whole_kinds import MASKS, WholeObjects
from nommer.predictions import Detections, Failure
from nommer.predictions.failure import NOT_FINITE
from nommer.tasks.detection.graph import CELLS_OF_MASKS
from nommer.tasks.detection.matching import SAME_PLACE
from nommer.tasks.image_size import ImageSize
from nommer.tasks.whole import (
    Agreement,
    WholeExport,
    WholeParts,
    check_interpolation,
    double,
    doubles,
    floats,
    ints,
    prepare_whole,
)


class WholeDetection(WholeExport):
    """The objects in an image, one image at a time."""

    needed = 0.97
    images = 16
    all_scores = 0.0

    def parts(self, model: Detector, size: ImageSize) -> WholeParts:
        """Return the resizing before the network, and the way back behind it."""
        check_interpolation(model.preprocessing)
        masks = model.network.has_masks
        threshold = model.network.protocol.mask_threshold
        if masks and threshold <= 0:
            raise InputError(
                "--whole: a mask_threshold of 0 takes every pixel for the object; export without "
                "--whole"
            )
        prepare = prepare_whole(model.preprocessing, size.smallest or size.usual)
        outputs = (*WholeObjects.outputs, *([MASKS] if masks else []))
        network = (*OBJECTS, *([CELLS_OF_MASKS] if masks else []))
        cells = 2 * model.network.protocol.mask_cells
        finish = _finish(model, cells if masks else 0, threshold)
        return WholeParts(prepare, finish, network, outputs)

    def describe(self, model: Detector) -> dict[str, Any]:
        """Return the least scores and the most objects that the file answers with."""
        protocol, decisions = model.network.protocol, model.decisions
        labels = range(len(model.class_names))
        least = max(decisions.calibrated_score(protocol.threshold, label) for label in labels)
        found = decisions.thresholds(model.class_names, None)
        return {"least_score": least, "most": protocol.most, "class_thresholds": found}

    def scored(self, model: Detector, image: Image.Image) -> Any:
        """Return all objects, with scores as the network has them."""
        found = model.find(image)
        return Failure("image", NOT_FINITE) if found is None else found

    def compare(self, expected: Detections, found: Detections) -> Agreement:
        """Compare objects one by one: of the same class at the same place, and their scores."""
        count = max(len(expected), len(found))
        if not len(expected) or not len(found):
            return Agreement(0, count, 0.0)
        boxes = (torch.from_numpy(one.boxes) for one in (expected, found))
        other = torch.from_numpy(expected.labels[:, None] != found.labels)
        overlaps, at = box_iou(*boxes).masked_fill(other, 0).max(1)
        same = (overlaps > SAME_PLACE).numpy()
        differences = np.abs(expected.scores - found.scores[at.numpy()])[same]
        return Agreement(int(same.sum()), count, float(differences.max(initial=0.0)))

    def score(
        self, data: Any, samples: Sequence[Any], answers: Sequence[Detections]
    ) -> tuple[str, float]:
        """Return the average precision of masks where there are any, else of boxes.

        Calibration does not matter, for it changes no order in a class.
        """
        from nommer.tasks.detection.matching import ImageAnswer  # noqa: PLC0415
        from nommer.tasks.detection.metrics import evaluate_detections  # noqa: PLC0415

        results = [
            ImageAnswer.of(answer, sample, data.category_ids)
            for answer, sample in zip(answers, samples, strict=True)
        ]
        truth = as_coco(data, samples)
        masks = answers[0].masks is not None and all(
            sample.objects.have_masks.all() for sample in samples
        )
        report = evaluate_detections(results, truth, masks=masks, most=100)
        if report.masks is None:
            return "box_ap", report.box_ap
        return "mask_ap", report.masks.numbers["ap"] or 0.0


def _finish(model: Detector, cells: int, threshold: float) -> str:
    """Return boxes at the size of the image, as decided; with `cells`, masks as large as it too."""
    taken = f", float[n, {cells}, {cells}] f_{CELLS_OF_MASKS}" if cells else ""
    given = f", uint8[found, height, width] {MASKS}" if cells else ""
    classes = len(model.class_names)
    least = model.decisions.thresholds(model.class_names, None) or (0.0,) * classes
    return f"""
finish (float[n, 4] f_boxes, float[n] f_scores, int64[n] f_labels{taken},
        int64[2] f_image, int64[2] f_seen,
        double[{classes}] {THRESHOLDS} = {{{", ".join(map(repr, map(float, least)))}}})
    => (float[found, 4] boxes, float[found] scores, int64[found] class_ids{given})
{{
{_decide(model)}
    f_image_d = Cast<to=11>(f_image)
    f_seen_d = Cast<to=11>(f_seen)
    f_ratio = Div(f_image_d, f_seen_d)
    f_order = {ints(1, 0, 1, 0)}
    f_ratios = Gather<axis=0>(f_ratio, f_order)
    f_seen_far = Gather<axis=0>(f_seen_d, f_order)
    f_image_far = Gather<axis=0>(f_image_d, f_order)
    f_chosen = Gather<axis=0>(f_boxes, f_kept)
    f_exact = Cast<to=11>(f_chosen)
    f_inside = Min(f_exact, f_seen_far)
    f_moved = Mul(f_inside, f_ratios)
    f_own = Min(f_moved, f_image_far)
    boxes = Cast<to=1>(f_own)
{_paste(cells, threshold) if cells else ""}}}
"""


def _decide(model: Detector) -> str:
    """Return `decided`: calibrated scores, from the thresholds of their classes on, best first."""
    return f"""
    f_exact_scores = Cast<to=11>(f_scores)
{_calibrate(model) if model.decisions.temperatures else "    f_sure = Identity(f_exact_scores)"}
    f_count = Shape(f_scores)
    f_falling, f_by_score = TopK(f_sure, f_count)
    f_classes = Gather<axis=0>(f_labels, f_by_score)
    f_wanted = Gather<axis=0>({THRESHOLDS}, f_classes)
    f_reached = GreaterOrEqual(f_falling, f_wanted)
    f_kept = Compress<axis=0>(f_by_score, f_reached)
    class_ids = Compress<axis=0>(f_classes, f_reached)
    f_found = Compress<axis=0>(f_falling, f_reached)
    scores = Cast<to=1>(f_found)"""


def _calibrate(model: Detector) -> str:
    """Return `Decisions.calibrated`, in 64 bits as there."""
    found, classes = model.decisions, len(model.class_names)
    temperatures = found.temperatures * (classes // len(found.temperatures))
    offsets = (found.offsets or (0.0,)) * (classes // max(1, len(found.offsets)))
    return f"""
    f_edge = {double(EDGE)}
    f_top = {double(1 - EDGE)}
    f_all = {double(1)}
    f_edged = Clip(f_exact_scores, f_edge, f_top)
    f_against = Sub(f_all, f_edged)
    f_odds = Div(f_edged, f_against)
    f_logits = Log(f_odds)
    f_temperatures = {doubles(temperatures)}
    f_temperature = Gather<axis=0>(f_temperatures, f_labels)
    f_scaled = Div(f_logits, f_temperature)
    f_offsets = {doubles(offsets)}
    f_offset = Gather<axis=0>(f_offsets, f_labels)
    f_shifted = Add(f_scaled, f_offset)
    f_sure = Sigmoid(f_shifted)"""


def _paste(cells: int, threshold: float) -> str:
    """Return `paste_mask` of every object: its cells, interpolated along both axes.

    Bilinear interpolation with zeros around is a product with triangles on both sides; one object
    is pasted after the other, so that no tensor of real numbers has all objects and pixels. A
    blank one stands behind them, for ONNX Runtime's Scan refuses to go over none.
    """
    return f"""
    f_zero = {ints(0)}
    f_one = {ints(1)}
    f_two = {ints(2)}
    f_three = {ints(3)}
    f_four = {ints(4)}
    f_none = {floats([0])}
    f_unit = {floats([1])}
    f_half = {floats([0.5])}
    f_cells = {floats([cells])}
    f_least = {floats([threshold])}
    f_places = {floats(range(cells), f"[1, {cells}]")}
    f_height = Slice(f_image, f_zero, f_one)
    f_width = Slice(f_image, f_one, f_two)
    f_height_f = Cast<to=1>(f_height)
    f_width_f = Cast<to=1>(f_width)
    f_height_s = Squeeze(f_height_f)
    f_width_s = Squeeze(f_width_f)
    f_kept_cells = Gather<axis=0>(f_{CELLS_OF_MASKS}, f_kept)
    f_blank = {floats([0] * cells**2, f"[1, {cells}, {cells}]")}
    f_unit_box = {floats([0, 0, 1, 1], "[1, 4]")}
    f_more_cells = Concat<axis=0>(f_kept_cells, f_blank)
    f_more_boxes = Concat<axis=0>(boxes, f_unit_box)
    f_rows = Range(f_none, f_height_s, f_unit)
    f_columns = Range(f_none, f_width_s, f_unit)
    f_pasted = Scan<num_scan_inputs=2, body=paste (float[4] box, float[{cells}, {cells}] mask)
        => (uint8[height, width] pasted) {{
{_triangles("y", "f_rows", "f_one", "f_two", "f_three", "f_four")}
{_triangles("x", "f_columns", "f_zero", "f_one", "f_two", "f_three")}
        x_turned = Transpose<perm=[1, 0]>(x_weights)
        down = MatMul(y_weights, mask)
        shares = MatMul(down, x_turned)
        on = GreaterOrEqual(shares, f_least)
        pasted = Cast<to=2>(on)
    }}>(f_more_boxes, f_more_cells)
    f_last = {ints(-1)}
    {MASKS} = Slice(f_pasted, f_zero, f_last, f_zero)
"""


def _triangles(axis: str, pixels: str, *bounds: str) -> str:
    """Return the weights of a mask's cells in every row or column; 0 outside of the box."""
    first, first_end, last, last_end = bounds
    return f"""
        {axis}_low = Slice(box, {first}, {first_end})
        {axis}_high = Slice(box, {last}, {last_end})
        {axis}_span = Sub({axis}_high, {axis}_low)
        {axis}_middle = Add({pixels}, f_half)
        {axis}_from = Sub({axis}_middle, {axis}_low)
        {axis}_share = Div({axis}_from, {axis}_span)
        {axis}_scaled = Mul({axis}_share, f_cells)
        {axis}_at = Sub({axis}_scaled, f_half)
        {axis}_column = Unsqueeze({axis}_at, f_one)
        {axis}_far = Sub({axis}_column, f_places)
        {axis}_absolute = Abs({axis}_far)
        {axis}_near = Sub(f_unit, {axis}_absolute)
        {axis}_triangle = Max({axis}_near, f_none)
        {axis}_start = Floor({axis}_low)
        {axis}_stop = Ceil({axis}_high)
        {axis}_after = GreaterOrEqual({pixels}, {axis}_start)
        {axis}_before = Less({pixels}, {axis}_stop)
        {axis}_inside = And({axis}_after, {axis}_before)
        {axis}_inside_f = Cast<to=1>({axis}_inside)
        {axis}_mask = Unsqueeze({axis}_inside_f, f_one)
        {axis}_weights = Mul({axis}_triangle, {axis}_mask)"""
