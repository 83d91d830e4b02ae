"""Losses of imitation, against literal forms; the teacher stays as it is."""

import pytest
import timm
import torch
import torch.nn.functional as F

from nommer.errors import InputError
from nommer.settings.distillation import DistillationOptions
from nommer.tasks.distillation import (
    Distillation,
    Teacher,
    feature_loss,
    pair_maps,
    soft_answer_loss,
)
from nommer.tasks.teachers import find_columns

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def make_teacher(columns=(2, 0, 1), image_size=None):
    torch.manual_seed(0)
    network = timm.create_model("resnet10t", num_classes=3)
    normalisation = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
    student = {"student_mean": MEAN, "student_std": STD}
    return Teacher(network, columns=columns, image_size=image_size, **normalisation, **student)


def make_distillation(teacher, **settings):
    options = DistillationOptions(**settings)
    return Distillation(teacher, options, channels=(8, 16), strides=(4, 8), image_size=64)


def test_soft_answers_are_the_divergence_of_softmaxes_times_the_temperature_squared():
    own, theirs = torch.randn(5, 7, dtype=torch.float64), torch.randn(5, 7, dtype=torch.float64)
    p, q = (theirs / 3).softmax(-1), (own / 3).softmax(-1)
    literal = 9 * (p * (p / q).log()).sum(-1).mean()
    torch.testing.assert_close(
        soft_answer_loss(own, theirs, 3.0).double(), literal, atol=1e-5, rtol=0
    )


def test_a_teacher_sees_what_the_student_sees_in_its_own_normalisation():
    teacher, image = make_teacher(), torch.rand(2, 3, 64, 64)
    student_sees = (image - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    knowledge = teacher(student_sees)
    expected = teacher.network((image - 0.5) / 0.5)[:, [2, 0, 1]]
    torch.testing.assert_close(knowledge.logits, expected, atol=1e-4, rtol=1e-4)
    assert [tuple(m.shape[1:]) for m in knowledge.maps[1:3]] == [(64, 16, 16), (128, 8, 8)]


def test_a_teacher_s_maps_are_channels_last():
    maps = make_teacher()(torch.rand(2, 3, 64, 64)).maps
    assert all(one.is_contiguous(memory_format=torch.channels_last) for one in maps)


def test_a_teacher_never_learns_and_never_leaves_evaluation_mode():
    teacher = make_teacher().train()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    distillation = make_distillation(teacher, imitate="both").train()
    maps = [torch.randn(2, 8, 16, 16, requires_grad=True), torch.randn(2, 16, 8, 8)]
    logits = torch.randn(2, 3, requires_grad=True)
    distillation(torch.rand(2, 3, 64, 64), torch.zeros(()), maps, logits).backward()
    assert not any(module.training for module in teacher.modules())
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    assert logits.grad is not None
    assert maps[0].grad is not None
    assert not any(name.startswith("_teacher") for name in distillation.state_dict())
    assert len(list(distillation.parameters())) == 4  # two projections, weight and bias


@pytest.mark.parametrize("imitate", ["answers", "hard", "features", "both"])
def test_the_total_is_the_sum_of_its_parts(imitate):
    teacher, images = make_teacher(), torch.rand(4, 3, 64, 64)
    distillation = make_distillation(teacher, imitate=imitate, share=0.25, feature_weight=3.0)
    maps = [torch.randn(4, 8, 16, 16), torch.randn(4, 16, 8, 8)]
    own, labels = torch.randn(4, 3), torch.tensor(2.0)
    logits = None if imitate == "features" else own
    knowledge, expected = teacher(images), labels
    if imitate == "hard":
        answers = F.cross_entropy(own, knowledge.logits.argmax(-1))
        expected = 0.75 * labels + 0.25 * answers
    elif logits is not None:
        expected = 0.75 * labels + 0.25 * soft_answer_loss(own, knowledge.logits, 2.0)
    if imitate in ("features", "both"):
        first, second = distillation.projections
        losses = [
            feature_loss(first(maps[0]), knowledge.maps[1]),
            feature_loss(second(maps[1]), knowledge.maps[2]),
        ]
        expected = expected + 3.0 * sum(losses) / 2
    torch.testing.assert_close(distillation(images, labels, maps, logits), expected)


def test_maps_are_compared_in_units_of_the_teachers_deviation_at_every_position():
    theirs = 5 + 100 * torch.randn(2, 6, 4, 4, dtype=torch.float64)
    wanted = (theirs - theirs.mean(1, keepdim=True)) / theirs.std(1, keepdim=True, correction=0)
    torch.testing.assert_close(
        feature_loss(torch.zeros_like(theirs), theirs).double(),
        wanted.square().mean(),
        atol=1e-5,
        rtol=0,
    )
    assert feature_loss(wanted, theirs) < 1e-10


def test_maps_of_an_enlarged_image_are_paired_by_their_stride_on_the_students():
    assert pair_maps([4, 8, 16, 32], [2, 4, 8, 16, 32]) == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert pair_maps([4, 8, 16], [1, 2, 4, 8, 16]) == [(0, 2), (1, 3), (2, 4)]
    assert pair_maps([4, 8], [8, 8, 8]) == [
        (1, 2)
    ]  # of several, as of a plain transformer, the last
    with pytest.raises(InputError, match="--teacher: its feature maps have strides 14"):
        pair_maps([4, 8, 16, 32], [14])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0}, "temperature must be above 0, got 0"),
        ({"share": 1.5}, "share must be from 0 to 1, got 1.5"),
        ({"feature_weight": float("nan")}, "feature_weight must be 0 or more, got nan"),
        ({"image_size": 8}, "image_size must be 32 or more, got 8"),
        ({"imitate": "softly"}, "imitate"),
    ],
)
def test_values_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        DistillationOptions(**options)


def test_a_teacher_knows_classes_by_their_names_or_by_their_ids(tiny_classifier):
    teacher = tiny_classifier(("blue", "green", "red"))
    teacher.class_ids = ("n1", "n2", "n3")
    assert find_columns(teacher, tiny_classifier(("red", "blue"))) == [2, 0]
    assert find_columns(teacher, tiny_classifier(("n3", "n1"))) == [2, 0]
    assert find_columns(teacher, tiny_classifier(("n3", "blue"))) is None
