"""The stages of a cascade against formulas written out, and pooling against what it means."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

import nommer
from nommer.models.box_stage import Samples
from nommer.models.object_masks import crop_masks, paste_mask
from nommer.models.roi_pool import RoIPool
from nommer.predictions.run_lengths import encode_pixels
from nommer.settings.rcnn import RCNNProtocol

SHAPES = [(64, 64), (48, 40)]


def iou(one, other):
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (sum(areas) - shared)


def encode(box, wanted, deviations):
    """Return how far, in deviations, a box is from the wanted one."""
    width, height = box[2] - box[0], box[3] - box[1]
    moves = (
        ((wanted[0] + wanted[2]) / 2 - (box[0] + box[2]) / 2) / width,
        ((wanted[1] + wanted[3]) / 2 - (box[1] + box[3]) / 2) / height,
        math.log((wanted[2] - wanted[0]) / width),
        math.log((wanted[3] - wanted[1]) / height),
    )
    return [move / deviation for move, deviation in zip(moves, deviations, strict=True)]


def decode(box, moves, deviations, shape):
    """The box that is moved so far, inside an image of this height and width."""
    x, y, log_width, log_height = (
        move * deviation for move, deviation in zip(moves, deviations, strict=True)
    )
    width, height = box[2] - box[0], box[3] - box[1]
    middle = (box[0] + box[2]) / 2 + x * width, (box[1] + box[3]) / 2 + y * height
    half = width * math.exp(log_width) / 2, height * math.exp(log_height) / 2
    ends = middle[0] - half[0], middle[1] - half[1], middle[0] + half[0], middle[1] + half[1]
    return [
        min(max(end, 0), limit) for end, limit in zip(ends, [shape[1], shape[0]] * 2, strict=True)
    ]


def random_boxes(count, shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    sides = torch.tensor([shape[1], shape[0]])
    corners = torch.rand(count, 2, 2, generator=generator).sort(1).values * sides
    return torch.cat([corners[:, 0], (corners[:, 1] + 2).minimum(sides)], 1)


@pytest.fixture
def scene(tiny_rcnn, make_target):
    """A cascade, maps of two images, proposals and targets."""
    network = tiny_rcnn(cascade=True, masks=True).eval()
    torch.manual_seed(5)
    with torch.no_grad():
        padded = network.pad([torch.randn(3, *shape) for shape in SHAPES])
        maps = list(network.feature_maps(padded.tensors).values())
    targets = [
        make_target([[5, 5, 40, 50], [20, 10, 60, 40]], [2, 1], SHAPES[0]),
        make_target([], [], SHAPES[1]),
    ]
    proposals = [random_boxes(60, shape, seed) for seed, shape in enumerate(SHAPES)]
    near = targets[0]["boxes"].repeat(20, 1) + 6 * torch.randn(40, 4)
    proposals[0] = torch.cat([proposals[0], near.clamp(0, 64)])
    return network.roi_heads, maps, proposals, targets


@pytest.mark.parametrize("stage", range(3))
def test_samples_and_their_classes_are_those_of_the_overlap(scene, stage):
    heads, _, proposals, targets = scene
    threshold, counts = (0.5, 0.6, 0.7)[stage], 0
    for boxes, target in zip(proposals, targets, strict=True):
        samples = heads.stages[stage].sample(boxes, target)
        everything = {tuple(box) for box in torch.cat([boxes, target["boxes"]]).tolist()}
        assert {tuple(box) for box in samples.boxes.tolist()} <= everything
        own = samples.boxes[samples.given]
        assert torch.equal(own, target["boxes"]), (
            "an object's own boxes are always among so few samples"
        )
        for box, label, match in zip(
            samples.boxes.tolist(), samples.labels, samples.matches, strict=True
        ):
            overlaps = [iou(box, other) for other in target["boxes"].tolist()]
            best = max(overlaps, default=0)
            assert label == (target["labels"][overlaps.index(best)] if best >= threshold else 0)
            if label:
                assert match == overlaps.index(best)
                counts += 1
    assert counts > 5


def test_no_more_samples_than_asked_for_and_of_these_no_more_objects(tiny_rcnn, make_target):
    (stage,) = tiny_rcnn(
        protocol=RCNNProtocol(roi_samples=16, roi_positive_share=0.25)
    ).roi_heads.stages
    target = make_target([[10, 10, 50, 50]], [1], (64, 64))
    near = target["boxes"] + torch.rand(50, 4)
    samples = stage.sample(torch.cat([near, random_boxes(50, (64, 8))]), target)
    assert len(samples.labels) == 16
    assert int((samples.labels > 0).sum()) == 4


@pytest.mark.parametrize("stage", range(3))
def test_losses_of_a_stage_are_those_written_out(scene, stage):
    heads, maps, proposals, targets = scene
    one = heads.stages[stage]
    samples = [one.sample(*pair) for pair in zip(proposals, targets, strict=True)]
    scores, moves = one(heads.box_pool(maps, [sample.boxes for sample in samples]))
    classes, boxes = one.losses(scores, moves, samples, targets)
    labels = torch.cat([sample.labels for sample in samples])
    deviations, total, row = heads.protocol.cascade_deviations[stage], 0.0, 0
    for sample, target in zip(samples, targets, strict=True):
        for box, label, match in zip(
            sample.boxes.tolist(), sample.labels, sample.matches, strict=True
        ):
            if label:
                wanted = encode(box, target["boxes"][match].tolist(), deviations)
                total += sum(
                    abs(a - b) for a, b in zip(moves[row, 0].tolist(), wanted, strict=True)
                )
            row += 1
    assert boxes.item() == pytest.approx(total / len(labels), rel=1e-4)
    assert classes.item() == pytest.approx(cross_entropy(scores, labels).item())


def generalised_iou(one, other):
    hull = (max(one[2], other[2]) - min(one[0], other[0])) * (
        max(one[3], other[3]) - min(one[1], other[1])
    )
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    shared = iou(one, other) * sum(areas) / (1 + iou(one, other))
    return iou(one, other) - (hull - (sum(areas) - shared)) / hull


def test_the_loss_of_generalised_iou_is_that_of_the_moved_boxes(tiny_rcnn):
    protocol = RCNNProtocol(box_loss="giou", box_convolutions=2)
    stage = tiny_rcnn(cascade=True, protocol=protocol).roi_heads.stages[1]
    boxes = torch.tensor([[5.0, 5, 25, 35], [10.0, 0, 50, 20], [0.0, 0, 9, 9]])
    samples = Samples(
        boxes, torch.tensor([1, 2, 0]), torch.tensor([0, 1, 0]), torch.zeros(3, dtype=torch.bool)
    )
    target = {
        "boxes": torch.tensor([[8.0, 4, 30, 30], [70.0, 60, 90, 80]]),
        "labels": torch.tensor([1, 2]),
    }
    moves = torch.randn(3, 1, 4, requires_grad=True)
    _, loss = stage.losses(torch.zeros(3, 3), moves, [samples], [target])
    wanted, deviations = target["boxes"].tolist(), protocol.cascade_deviations[1]
    pairs = zip(boxes.tolist(), moves[:, 0].tolist(), strict=True)
    moved = [decode(box, move, deviations, (10**6, 10**6)) for box, move in pairs]
    written_out = sum(1 - generalised_iou(*pair) for pair in zip(moved, wanted, strict=False))
    assert loss.item() == pytest.approx(10 * written_out / 3, rel=1e-4)
    loss.backward()
    assert moves.grad[:2].abs().amax(-1).min() > 0
    assert moves.grad[2].abs().max() == 0


def test_a_box_head_with_convolutions_is_swins_and_its_norms_are_folded_by_fuse(tiny_rcnn):
    network = tiny_rcnn(
        cascade=True, masks=True, protocol=RCNNProtocol(box_convolutions=4, box_loss="giou")
    )
    for stage in network.roi_heads.stages:
        kinds = [
            type(module).__name__ for module in stage.head.modules() if not list(module.children())
        ]
        assert kinds == ["Conv2d", "BatchNorm2d", "ReLU"] * 4 + ["Flatten", "Linear", "ReLU"]
        for norm in (
            module for module in stage.head.modules() if isinstance(module, torch.nn.BatchNorm2d)
        ):
            norm.running_mean.normal_()
    network.eval()
    image = torch.randn(3, 64, 64)
    with torch.inference_mode():
        (plain,), (fused,) = network([image]), nommer.fuse(network)([image])
    assert len(plain["scores"]) > 5
    assert torch.allclose(plain["scores"], fused["scores"], atol=1e-5)
    assert torch.allclose(plain["boxes"], fused["boxes"], atol=1e-3)


def test_each_class_moves_boxes_in_its_own_way_without_a_cascade(tiny_rcnn):
    (stage,) = tiny_rcnn().roi_heads.stages
    samples = Samples(
        torch.tensor([[0.0, 0, 10, 10]]),
        torch.tensor([2]),
        torch.tensor([0]),
        torch.tensor([False]),
    )
    target = {"boxes": torch.tensor([[1.0, 0, 11, 10]]), "labels": torch.tensor([2])}
    moves = torch.zeros(1, 3, 4)
    moves[0, 2, 0] = 1.0  # a tenth of the width, in deviations of a tenth
    _, loss = stage.losses(torch.zeros(1, 3), moves, [samples], [target])
    assert loss.item() == pytest.approx(0, abs=1e-6)
    _, loss = stage.losses(torch.zeros(1, 3), moves.flip(1), [samples], [target])
    assert loss.item() == pytest.approx(1, abs=1e-6)


def test_losses_of_stages_add_up_by_their_weights_and_each_starts_from_the_boxes_before(scene):
    heads, maps, proposals, targets = scene
    torch.manual_seed(7)
    losses = heads.losses(maps, proposals, SHAPES, targets)
    torch.manual_seed(7)
    classes = boxes = 0.0
    for number, (stage, weight) in enumerate(zip(heads.stages, (1.0, 0.5, 0.25), strict=True)):
        samples = [stage.sample(*pair) for pair in zip(proposals, targets, strict=True)]
        scores, moves = stage(heads.box_pool(maps, [sample.boxes for sample in samples]))
        of_classes, of_boxes = stage.losses(scores, moves, samples, targets)
        classes, boxes = classes + weight * of_classes.item(), boxes + weight * of_boxes.item()
        rows, proposals = iter(moves[:, 0].tolist()), []
        for sample, shape in zip(samples, SHAPES, strict=True):
            moved = [
                decode(box, next(rows), heads.protocol.cascade_deviations[number], shape)
                for box in sample.boxes.tolist()
            ]
            proposals.append(torch.tensor(moved)[~sample.given])
    assert losses["loss_classifier"].item() == pytest.approx(classes, rel=1e-4)
    assert losses["loss_box_reg"].item() == pytest.approx(boxes, rel=1e-4)
    assert losses["loss_mask"] > 0


def test_answers_of_a_cascade_are_the_last_boxes_with_the_mean_scores(scene):
    heads, maps, proposals, _ = scene
    with torch.no_grad():
        found = heads.detect(maps, proposals, SHAPES, threshold=0.0, most=10**6)
        boxes, scores = proposals, []
        for number, stage in enumerate(heads.stages):
            of_stage, moves = stage(heads.box_pool(maps, boxes))
            scores.append(of_stage)
            rows, moved = iter(moves[:, 0].tolist()), []
            for of_image, shape in zip(boxes, SHAPES, strict=True):
                deviations = heads.protocol.cascade_deviations[number]
                moved.append(
                    torch.tensor(
                        [decode(box, next(rows), deviations, shape) for box in of_image.tolist()]
                    )
                )
            boxes = moved
    probabilities = (sum(scores) / 3).softmax(-1).split([len(part) for part in boxes])
    for answer, of_image, chances in zip(found, boxes, probabilities, strict=True):
        assert len(answer.labels) > 10
        for box, score, label in zip(answer.boxes, answer.scores, answer.labels, strict=True):
            row = (of_image - box).abs().sum(1).argmin()
            assert torch.allclose(of_image[row], box, atol=1e-3)
            assert score.item() == pytest.approx(chances[row, label].item(), abs=1e-5)
        for label in (1, 2):
            kept = answer.boxes[answer.labels == label].tolist()
            assert all(
                iou(one, other) <= 0.5 + 1e-6 for i, one in enumerate(kept) for other in kept[:i]
            )


@pytest.mark.parametrize("sampling_ratio", [0, 2])
def test_aligned_pooling_of_a_ramp_gives_the_middles_of_the_cells(sampling_ratio):
    stride, box = 4, torch.tensor([[30.0, 41.0, 58.0, 69.0]])
    ramp = (torch.arange(40.0) + 0.5) * stride
    maps = [torch.stack(torch.meshgrid(ramp, ramp, indexing="ij"))[None]] * 4
    pool = RoIPool(7, [stride, 8, 16, 32], RCNNProtocol(sampling_ratio=sampling_ratio))
    middles = torch.arange(7) * 4.0 + 2
    (pooled,) = pool(maps, [box])
    assert torch.allclose(pooled[0], (41 + middles)[:, None].expand(7, 7), atol=1e-4)
    assert torch.allclose(pooled[1], (30 + middles).expand(7, 7), atol=1e-4)
    first = RoIPool(
        7, [stride, 8, 16, 32], RCNNProtocol(sampling_ratio=sampling_ratio, aligned=False)
    )
    assert torch.allclose(first(maps, [box])[0, 1], pooled[1] + stride / 2, atol=1e-4), (
        "half a cell off"
    )


@pytest.mark.parametrize(("finest", "levels"), [(4, [0, 0, 1, 2, 3, 3]), (2, [0, 1, 2, 3, 3, 3])])
def test_larger_boxes_are_pooled_from_coarser_maps(finest, levels):
    strides = [finest * 2**level for level in range(4)]
    maps = [torch.full((2, 1, 64, 64), float(level)) for level in range(4)]
    sides = torch.tensor([5.0, 57, 113, 225, 449, 900])
    boxes = torch.stack([torch.zeros(6), torch.zeros(6), sides, sides], 1)
    pooled = RoIPool(1, strides, RCNNProtocol())(maps, [boxes[:2], boxes[2:]])
    inside = sides < 64 * torch.tensor(strides)[levels]
    assert inside.sum() >= 5
    assert pooled[inside, 0, 0, 0].tolist() == torch.tensor(levels)[inside].tolist()


def test_nothing_is_pooled_from_no_boxes():
    pool = RoIPool(7, [4, 8, 16, 32], RCNNProtocol())
    assert pool([torch.ones(2, 5, 8, 8)] * 4, [torch.zeros(0, 4)] * 2).shape == (0, 5, 7, 7)


def test_a_mask_is_learned_in_the_cells_of_its_box_and_comes_back_from_them():
    rows, columns = torch.meshgrid(torch.arange(60), torch.arange(80), indexing="ij")
    disc = (((rows - 30) ** 2 + (columns - 41) ** 2) < 18**2).to(torch.uint8)
    box = torch.tensor([[23.0, 12.0, 60.0, 49.0]])
    masks = torch.stack([torch.zeros_like(disc), disc])
    (cells,) = crop_masks(masks, box, torch.tensor([1]), cells=28, aligned=True)
    assert set(cells.unique().tolist()) == {0, 1}
    pixels = paste_mask(cells, box[0].double(), (60, 80), threshold=0.5)
    assert pixels.shape == (60, 80)
    shared, either = (pixels & disc.numpy()).sum(), (pixels | disc.numpy()).sum()
    assert shared / either > 0.95
    assert abs(pixels.nonzero()[0].mean() - 30) < 0.2, "not moved"
    assert abs(pixels.nonzero()[1].mean() - 41) < 0.2
    assert len(encode_pixels(pixels)) > 5
    (shares,) = crop_masks(masks, box, torch.tensor([1]), cells=28, aligned=False)
    assert ((shares > 0) & (shares < 1)).any()


@pytest.mark.parametrize(
    "box",
    [(3.3, 2.2, 9.7, 6.1), (0.0, 0.0, 12.0, 8.0), (11.2, 7.1, 12.0, 8.0), (4.0, 4.0, 4.01, 8)],
)
def test_pasting_interpolates_between_the_cells_of_the_box(box):
    generator = torch.Generator().manual_seed(1)
    mask = torch.rand(4, 4, generator=generator)
    padded = torch.nn.functional.pad(mask, (1, 1, 1, 1))
    expected = torch.zeros(8, 12, dtype=torch.uint8)
    for y in range(8):
        for x in range(12):
            row, column = (
                (y + 0.5 - box[1]) / (box[3] - box[1]) * 4,
                (x + 0.5 - box[0]) / (box[2] - box[0]) * 4,
            )
            row, column = (
                row + 0.5,
                column + 0.5,
            )  # cells of the padded mask; its first one is centred on 0
            top, left = math.floor(row), math.floor(column)
            if not (0 <= top < 5 and 0 <= left < 5):
                continue
            down, right = row - top, column - left
            upper = padded[top, left] * (1 - right) + padded[top, left + 1] * right
            lower = padded[top + 1, left] * (1 - right) + padded[top + 1, left + 1] * right
            reaches = math.floor(box[1]) <= y < math.ceil(box[3]) and math.floor(
                box[0]
            ) <= x < math.ceil(box[2])
            expected[y, x] = int(reaches and upper * (1 - down) + lower * down >= 0.4)
    assert paste_mask(mask, torch.tensor(box), (8, 12), threshold=0.4).tolist() == expected.tolist()
