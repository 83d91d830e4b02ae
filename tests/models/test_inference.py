"""Sliding, blending and enlarging against a literal re-computation in float64.

No seams, and little memory.
"""

import subprocess
import sys
from itertools import pairwise

import jaxtyping
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nommer import InputError
from nommer.models import inference as module
from nommer.models.inference import DenseNetwork, score_bands
from nommer.settings.inference import Inference


class Local(DenseNetwork):
    """Scores that depend on the pixels below a cell, on the whole window, and on where in it the
    cell is.
    """

    num_classes, stride = 3, 4

    def __init__(self, fixed_size=None):
        super().__init__()
        self.fixed_size, self.seen = fixed_size, []

    def scores(self, images):
        self.seen += [tuple(images.shape[-2:])] * len(images)
        cells = F.avg_pool2d(images, self.stride, ceil_mode=True)
        rows, columns = (torch.arange(count, dtype=images.dtype) for count in cells.shape[-2:])
        return (
            cells
            + images.mean((1, 2, 3), keepdim=True)
            + 0.1 * rows[:, None]
            - 0.05 * columns.square()
        )


class Constant(Local):
    def scores(self, images):
        rows, columns = (-(-side // self.stride) for side in images.shape[-2:])
        return torch.tensor([0.3, -1.0, 7.0]).view(1, 3, 1, 1).expand(len(images), 3, rows, columns)


def draw(height, width, seed=0):
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def infer(network, image, size=None, **options):
    inference = Inference(**options)
    bands = list(
        score_bands(network, image, size=size or image.shape[-2:], inference=inference, window=32)
    )
    assert [start for start, _ in bands] == [
        sum(b.shape[1] for _, b in bands[:i]) for i in range(len(bands))
    ]
    return torch.cat([scores for _, scores in bands], 1)


# ---- the literal twin
# ------------------------------------------------------------------------------------------------


def literal_starts(cells, side, overlap):
    """The fewest windows, evenly spread, whose neighbours share `overlap` of their cells."""
    count = 1
    while (cells - side) > (count - 1) * max(1, int(side * (1 - overlap) + 1e-9)):
        count += 1
    return [round(i * (cells - side) / (count - 1)) if i else 0 for i in range(count)]


def literal_slide(network, image, window, overlap):
    """Every cell: the mean over the windows on it, weighted by the distance from the nearer border
    along each axis.
    """
    stride = network.stride
    rows, columns = (-(-side // stride) for side in image.shape[-2:])
    padded = torch.zeros(1, 3, rows * stride, columns * stride, dtype=torch.float64)
    padded[..., : image.shape[-2], : image.shape[-1]] = image
    tall, wide = min(window // stride, rows), min(window // stride, columns)
    total = torch.zeros(network.num_classes, rows, columns, dtype=torch.float64)
    weights = torch.zeros(rows, columns, dtype=torch.float64)
    for top in literal_starts(rows, tall, overlap):
        for left in literal_starts(columns, wide, overlap):
            part = padded[
                ..., top * stride : (top + tall) * stride, left * stride : (left + wide) * stride
            ]
            scores = network.scores(part)[0]
            for y in range(tall):
                for x in range(wide):
                    weight = (min(y, tall - 1 - y) + 0.5) * (min(x, wide - 1 - x) + 0.5)
                    total[:, top + y, left + x] += weight * scores[:, y, x]
                    weights[top + y, left + x] += weight
    return total / weights


def literal_enlarge(cells, seen, size, stride):
    """Every pixel: its middle in cells, and the four cells around it by their nearness.

    The border cells go on.
    """
    rows, columns = cells.shape[1:]
    pixels = torch.zeros(len(cells), *size, dtype=torch.float64)
    for y in range(size[0]):
        for x in range(size[1]):
            down = min(max((y + 0.5) * seen[0] / size[0] / stride - 0.5, 0), rows - 1)
            right = min(max((x + 0.5) * seen[1] / size[1] / stride - 0.5, 0), columns - 1)
            for row in {int(down), min(int(down) + 1, rows - 1)}:
                for column in {int(right), min(int(right) + 1, columns - 1)}:
                    pixels[:, y, x] += (
                        (1 - abs(down - row)) * (1 - abs(right - column)) * cells[:, row, column]
                    )
    return pixels


@pytest.mark.parametrize(("height", "width"), [(64, 96), (61, 99), (33, 70), (20, 130), (90, 7)])
@pytest.mark.parametrize("overlap", [0.0, 1 / 3, 0.5, 0.8])
def test_blended_windows_are_those_of_the_literal_twin(height, width, overlap):
    image = draw(height, width)
    expected = literal_slide(Local(), image.double(), 32, overlap)
    strips = list(module._slide(Local(), image, 32, overlap))
    assert (torch.cat(strips, 1) - expected).abs().max() < 1e-4
    pixels = infer(Local(), image, mode="slide", overlap=overlap)
    assert (
        pixels - literal_enlarge(expected, (height, width), (height, width), 4)
    ).abs().max() < 1e-4


@pytest.mark.parametrize("size", [(30, 41), (60, 82), (7, 100), (1, 1), (95, 33)])
@pytest.mark.parametrize("mode", ["whole", "slide"])
def test_scores_at_another_size_are_those_of_the_literal_twin(size, mode):
    image = draw(61, 83)
    cells = (
        Local().scores(image.double())[0]
        if mode == "whole"
        else literal_slide(Local(), image.double(), 32, 1 / 3)
    )
    found = infer(Local(), image, size, mode=mode)
    assert (found - literal_enlarge(cells, (61, 83), size, 4)).abs().max() < 1e-4


@pytest.mark.parametrize("band", [1, 100, 5000, 2**23])
@pytest.mark.parametrize("size", [(96, 128), (50, 70), (301, 111)])
def test_enlarging_in_bands_is_interpolating_the_whole(monkeypatch, band, size):
    image = draw(96, 128)
    expected = F.interpolate(
        Local().scores(image), size=size, mode="bilinear", align_corners=False
    )[0]
    monkeypatch.setattr(module, "_BAND", band)
    assert (
        infer(Local(), image, size, mode="whole") - expected
    ).abs().max() < 1e-6 * expected.abs().max()


@given(st.integers(1, 400), st.integers(1, 64), st.floats(0, 0.9))
def test_windows_cover_every_cell_and_overlap_enough(cells, side, overlap):
    side = min(side, cells)
    starts = module.starts(cells, side, overlap)
    assert starts[0] == 0
    assert starts[-1] == cells - side
    for one, other in pairwise(starts):
        assert one < other
        assert side - (other - one) >= min(side - 1, side * overlap - 1e-9)


class NoDoubles(TorchDispatchMode):
    """No float64 but on the CPU: as on Apple's GPUs, whose place the meta device takes."""

    def __torch_dispatch__(self, operator, _types, args=(), kwargs=None):
        found = operator(*args, **(kwargs or {}))
        for tensor in tree_leaves(found):
            if isinstance(tensor, torch.Tensor):
                assert tensor.device.type == "cpu" or tensor.dtype != torch.float64, operator
        return found


@pytest.mark.parametrize(
    "options", [{"mode": "whole"}, {"mode": "slide"}, {"scales": (0.5, 1.0), "flip": True}]
)
def test_devices_without_float64_are_not_asked_for_it_nor_waited_for(monkeypatch, options):
    monkeypatch.setattr(module, "_BAND", 5000)
    with NoDoubles(), torch.device("meta"):
        scores = infer(Constant(), torch.empty(1, 3, 96, 70), (50, 61), **options)
    assert (scores.device.type, scores.dtype, scores.shape) == ("meta", torch.float32, (3, 50, 61))


# ---- what follows from it
# --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{"mode": "slide"}, {"mode": "slide", "overlap": 0.0}, {"scales": (0.5, 1.0, 1.5)}]
)
@pytest.mark.parametrize("size", [(75, 111), (20, 200)])
def test_constant_scores_leave_no_seams(options, size):
    scores = infer(Constant(), draw(75, 111), size, flip=True, **options)
    expected = torch.tensor([0.3, -1.0, 7.0]).softmax(0)
    assert torch.allclose(scores.softmax(0), expected[:, None, None].expand(3, *size), atol=1e-6)


def test_between_two_windows_scores_go_over_smoothly():
    """Two windows that disagree.

    Along a row the answer goes from one to the other in even, small steps.
    """

    class Numbered(Constant):
        calls = 0

        def scores(self, images):
            values = torch.arange(len(images), dtype=torch.float32).view(-1, 1, 1, 1)
            return values.expand(-1, 3, images.shape[-2] // 4, images.shape[-1] // 4)

    row = infer(Numbered(), draw(32, 56), mode="slide", overlap=0.2)[0, 16]
    steps = row.diff()
    assert row[0] == 0
    assert row[-1] == 1
    assert steps.min() >= 0
    assert steps.max() < 0.25


def test_one_window_is_the_whole_image():
    for height, width in ((32, 32), (28, 16), (8, 32)):
        image = draw(height, width)
        assert torch.allclose(
            infer(Local(), image, mode="slide"), infer(Local(), image, mode="whole"), atol=1e-6
        )


def test_small_images_are_not_filled_up_for_a_network_of_any_size():
    network = Local()
    infer(network, draw(20, 70), mode="slide")
    assert set(network.seen) == {(20, 32)}


def test_small_images_are_filled_up_for_a_network_of_one_size():
    network = Local(fixed_size=32)
    scores = infer(network, draw(20, 70))
    assert set(network.seen) == {(32, 32)}
    assert scores.shape == (3, 20, 70)


@pytest.mark.parametrize("options", [{"mode": "whole"}, {"window": 64}])
def test_a_network_of_one_size_takes_its_windows_only(options):
    with pytest.raises(InputError, match="takes windows of 32 x 32 pixels and nothing else"):
        infer(Local(fixed_size=32), draw(64, 64), **options)
    expected = infer(Local(), draw(64, 64), mode="slide")
    assert torch.equal(infer(Local(fixed_size=32), draw(64, 64), window=32), expected)
    assert torch.equal(infer(Local(fixed_size=32), draw(64, 64)), expected)


def test_auto_takes_whole_what_fits(monkeypatch):
    monkeypatch.setattr(module, "WHOLE_PIXELS", 64 * 64)
    for size, windows in (((64, 64), {(64, 64)}), ((64, 65), {(32, 32)})):
        network = Local()
        infer(network, draw(*size))
        assert set(network.seen) == windows


def test_windows_are_batched_only_as_far_as_memory_allows(monkeypatch):
    image, sizes = draw(32, 200), []

    class Counting(Local):
        def scores(self, images):
            sizes.append(len(images))
            return super().scores(images)

    expected = infer(Counting(), image, mode="slide")
    monkeypatch.setattr(module, "WHOLE_PIXELS", 3 * 32 * 32)
    found = infer(Counting(), image, mode="slide")
    assert sizes == [10, 3, 3, 3, 1]
    assert torch.equal(found, expected)


def test_several_views_are_the_mean_of_their_probabilities():
    image = draw(50, 90)
    single = [infer(Local(), image, scales=(scale,)).softmax(0) for scale in (0.5, 1.0)]
    flipped = infer(Local(), image.flip(-1)).softmax(0).flip(-1)
    assert torch.allclose(
        infer(Local(), image, scales=(0.5, 1.0)).softmax(0), sum(single) / 2, atol=1e-6
    )
    assert torch.allclose(
        infer(Local(), image, flip=True).softmax(0), (single[1] + flipped) / 2, atol=1e-6
    )


def test_a_mirrored_image_is_mirrored_back_exactly_whatever_its_width():
    class Pixels(DenseNetwork):
        num_classes, stride = 3, 1

        def scores(self, images):
            return images

    for width in (33, 45, 64, 99):
        image = draw(40, width)
        probabilities = image[0].softmax(0)
        for mode in ("whole", "slide"):
            assert torch.allclose(
                infer(Pixels(), image, mode=mode, flip=True).softmax(0), probabilities, atol=1e-5
            )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 31}, "inference.window must be 32 pixels or more, got 31"),
        ({"overlap": 0.95}, "inference.overlap must be from 0 to 0.9, got 0.95"),
        ({"overlap": -0.1}, "inference.overlap must be from 0 to 0.9, got -0.1"),
        (
            {"scales": ()},
            r"inference.scales must be numbers from 0.1 to 10, at least one, got \(\)",
        ),
        ({"scales": (1.0, 0.0)}, "inference.scales must be numbers from 0.1 to 10"),
        ({"scales": (float("nan"),)}, "inference.scales must be numbers from 0.1 to 10"),
    ],
)
def test_values_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        Inference(**options)


def test_a_mode_that_does_not_exist_is_refused(monkeypatch):
    monkeypatch.setattr(
        jaxtyping.config, "jaxtyping_disable", True
    )  # its check of types would come first
    with pytest.raises(
        InputError, match=r"inference\.mode must be auto, whole or slide, got 'all'"
    ):
        Inference(mode="all")


MEMORY = """
import resource, sys
import numpy as np
import torch
from nommer import NomMer
from nommer.backbone.variants import VARIANTS
from nommer.data.joint_transforms import DensePreprocessing
from nommer.models.segmentation import Segmenter
from nommer.models.upernet import UPerNet

torch.set_num_threads(1)
classes = 150
options = {"num_classes": classes, "decoder_channels": 8, "auxiliary_channels": 0}
network = UPerNet(NomMer(VARIANTS["nommer_micro"]), **options)
names, colours = [str(i) for i in range(classes)], [(i, i, i) for i in range(classes)]
prepared = DensePreprocessing(image_size=512)
model = Segmenter(network, class_names=names, colours=colours, preprocessing=prepared)
model.predict(np.zeros((64, 64, 3), np.uint8))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
(answer,) = model.predict(np.random.default_rng(0).integers(0, 256, (1500, 2000, 3), np.uint8))
assert answer.labels.shape == (1500, 2000)
unit = 1 if sys.platform == "darwin" else 1024
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit)
"""


@pytest.mark.slow
def test_the_memory_for_a_large_image_is_bounded():
    """All scores of 150 classes would be 1.8 GB.

    The prepared image is 36 MB and is held a few times over.
    """
    ran = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, check=True, text=True)
    assert int(ran.stdout) < 600_000_000
