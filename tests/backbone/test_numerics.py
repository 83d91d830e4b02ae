"""Half precision, randomness and reproducibility.

Exactly one context is nominated, whatever the numbers are.
"""

import math

import pytest
import timm
import torch
from torch import nn

from nommer.backbone.nominator import Nomination, Nominator, gumbel_noise

HALVES = [torch.float16, torch.bfloat16]


def assert_one_hot(weights):
    assert ((weights == 0) | (weights == 1)).all()
    assert (weights.sum(-1) == 1).all()


def indices(nomination, rows):
    """Return the context nominated for each row of logits."""
    weights = nomination(torch.as_tensor(rows)[None, None])
    assert_one_hot(weights)
    return weights.argmax(-1).flatten().tolist()


# ---- nomination


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("dtype", [*HALVES, torch.float32, torch.float64])
def test_ties_go_to_the_first(dtype, training):
    nomination = Nomination().train(training)
    nomination.noise = torch.zeros_like
    rows = torch.tensor([[1, 1, 0], [0, 1, 1], [1, 0, 1], [2, 2, 2], [0, 0, 1]], dtype=dtype)
    assert indices(nomination, rows) == [0, 1, 0, 0, 2]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("dtype", [*HALVES, torch.float32])
def test_scores_beyond_the_range_of_the_precision_nominate_one_context(dtype, training):
    nomination = Nomination().train(training)
    infinite, largest = math.inf, torch.finfo(dtype).max
    rows = [
        [-infinite, infinite, 0],
        [infinite, -infinite, infinite],
        [-infinite] * 3,
        [0, -largest, largest],
    ]
    chosen = indices(nomination, torch.tensor(rows, dtype=dtype))
    assert chosen[0] == 1
    assert chosen[1] in (0, 2)
    assert chosen[3] == 2


@pytest.mark.parametrize("dtype", HALVES)
def test_a_score_that_overflows_has_a_finite_gradient(dtype):
    logits = torch.tensor(
        [[[[math.inf, 3.0, -math.inf], [1.0, 2.0, 3.0]]]], dtype=dtype, requires_grad=True
    )
    weights = Nomination().train()(logits)
    (weights * torch.arange(3.0)).sum().backward()
    assert logits.grad.isfinite().all()
    assert logits.grad[0, 0, 1].any()


def test_not_a_number_is_not_hidden():
    weights = Nomination().train()(torch.full((1, 1, 1, 3), math.nan))
    assert weights.isnan().all()


def test_weights_are_exactly_one_hot_in_training(draw):
    for seed in range(5):
        weights = Nomination().train()(10 * draw(4, 16, 16, 3, seed=seed))
        assert_one_hot(weights)


def test_gradient_of_the_weights_is_that_of_the_softmax(draw):
    nomination, noise = Nomination().train(), gumbel_noise(draw(2, 5, 5, 3))
    nomination.noise = lambda _logits: noise
    logits, copy = (draw(2, 5, 5, 3, seed=1).requires_grad_() for _ in range(2))
    cotangent = draw(2, 5, 5, 3, seed=2)
    nomination(logits).backward(cotangent)
    (copy + noise).softmax(-1).backward(cotangent)
    assert logits.grad.any()
    torch.testing.assert_close(logits.grad, copy.grad)


def test_evaluation_is_without_noise(draw):
    nomination = Nomination().eval()
    nomination.noise = None
    logits = draw(2, 5, 5, 3)
    assert torch.equal(nomination(logits), nn.functional.one_hot(logits.argmax(-1), 3).float())


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("training", [False, True])
def test_large_activations_under_autocast_nominate_one_context(draw, dtype, training):
    nominator = Nominator(64).train(training)
    nn.init.normal_(nominator.score.weight)
    seen = []
    nominator.nomination.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    contexts = [(2e4 * draw(1, 8, 8, 64, seed=seed).tanh()).to(dtype) for seed in range(3)]
    with torch.autocast("cpu", dtype=dtype):
        assert nominator.score(sum(contexts)).isinf().any() == (dtype == torch.float16)
        nominated = nominator(*contexts)
    assert_one_hot(seen[0])
    chosen = torch.stack(contexts, -1).gather(
        -1, seen[0].argmax(-1)[..., None, None].expand(1, 8, 8, 64, 1)
    )[..., 0]
    assert torch.equal(nominated, chosen)


# ---- noise


@pytest.mark.parametrize(
    ("logits", "noise"),
    [(dtype, torch.float32) for dtype in (*HALVES, torch.float32)]
    + [(torch.float64, torch.float64)],
)
def test_noise_is_drawn_in_float32_at_least(logits, noise):
    drawn = gumbel_noise(torch.zeros(4, 8, 8, 3, dtype=logits))
    assert drawn.dtype == noise
    assert drawn.shape == (4, 8, 8, 3)
    assert drawn.isfinite().all()
    assert torch.equal(drawn.float().to(noise), drawn) == (noise == torch.float32)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("uniform", [0.0, 1.0])
def test_noise_is_finite_for_the_most_extreme_uniforms(monkeypatch, dtype, uniform):
    monkeypatch.setattr(
        torch, "rand", lambda shape, **options: torch.full(shape, uniform, **options)
    )
    noise = gumbel_noise(torch.zeros(1, 2, 2, 3, dtype=dtype))
    assert noise.isfinite().all()
    assert (noise > 10).all() if uniform else (noise < -4).all()


def test_noise_has_the_gumbel_distribution():
    noise = gumbel_noise(torch.zeros(400_000))
    assert noise.mean().item() == pytest.approx(0.57722, abs=0.01)  # Euler's constant
    assert noise.var().item() == pytest.approx(math.pi**2 / 6, abs=0.03)
    assert (noise < 0).double().mean().item() == pytest.approx(math.exp(-1), abs=0.005)


def test_contexts_are_nominated_as_often_as_the_softmax_says():
    logits = torch.tensor([0.3, -1.0, 1.2])
    weights = Nomination().train()(logits.expand(1, 500, 500, 3))
    torch.testing.assert_close(weights.mean((0, 1, 2)), logits.softmax(-1), rtol=0, atol=0.005)


# ---- whole network


@pytest.mark.parametrize("size", [(64, 64), (97, 131)], ids=str)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("dtype", HALVES)
def test_autocast(create, record, draw, dtype, training, size):
    model = create(num_classes=10).train(training)
    recorder = record(model)
    with torch.autocast("cpu", dtype=dtype):
        scores = model(draw(2, 3, *size))
    assert scores.isfinite().all()
    assert len(recorder.weights) == 2
    for weights in recorder.weights:
        assert_one_hot(weights)
    if training:
        scores.float().square().mean().backward()
        assert all(
            p.grad.isfinite().all() and p.grad.dtype == torch.float32 for p in model.parameters()
        )


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("dtype", HALVES)
def test_weights_in_half_precision(create, record, draw, dtype, training):
    model = create(num_classes=10).to(dtype).train(training)
    recorder = record(model)
    scores = model(draw(2, 3, 97, 131, dtype=dtype))
    assert scores.dtype == dtype
    assert scores.isfinite().all()
    for weights in recorder.weights:
        assert_one_hot(weights)


@pytest.mark.parametrize(("dtype", "agree"), [(torch.float16, 0.99), (torch.bfloat16, 0.9)])
@torch.no_grad()
def test_half_precision_nominates_nearly_the_same(create, record, draw, dtype, agree):
    model, images = create(), draw(2, 3, 64, 64)
    recorder = record(model)
    model(images)
    with torch.autocast("cpu", dtype=dtype):
        model(images)
    full, half = recorder.weights[:2], recorder.weights[2:]
    for ours, theirs in zip(full, half, strict=True):
        assert (ours == theirs).all(-1).float().mean() >= agree


@pytest.mark.parametrize("scale", [0.0, 1e4])
@torch.no_grad()
def test_extreme_images_in_float16(create, draw, scale):
    model = create(num_classes=10)
    with torch.autocast("cpu", dtype=torch.float16):
        assert model(scale * draw(2, 3, 64, 64)).isfinite().all()


@pytest.mark.parametrize("name", ["nommer_micro", "nommer_nano", "nommer_tiny"])
@torch.no_grad()
def test_a_new_network_nominates_all_three_contexts_in_every_block(record, draw, name):
    model = timm.create_model(name).eval()
    recorder = record(model)
    model(draw(4, 3, 64, 64))
    assert all((weights.sum((0, 1, 2)) > 0).all() for weights in recorder.weights)


def seeded_step(model, images, seed):
    torch.manual_seed(seed)
    model.zero_grad()
    scores = model(images)
    scores.square().mean().backward()
    return [scores.detach(), *(p.grad.clone() for p in model.parameters())]


def test_the_same_seed_gives_the_same_outputs_and_gradients(create, draw):
    model, images = (
        create(drop_path_rate=0.3, drop_rate=0.1, num_classes=5).train(),
        draw(4, 3, 64, 64),
    )
    first, again, other = (seeded_step(model, images, seed) for seed in (1, 1, 2))
    assert all(map(torch.equal, first, again))
    assert not torch.equal(first[0], other[0])


def test_the_same_seed_gives_the_same_weights(create):
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(type(create())(create().config).state_dict())
    assert all(torch.equal(states[0][key], value) for key, value in states[1].items())


def test_evaluation_does_not_touch_the_random_state(create, draw):
    model, images = create(), draw(1, 3, 64, 64)
    before = torch.get_rng_state()
    model(images)
    assert torch.equal(torch.get_rng_state(), before)


def test_everything_stays_on_the_device_of_the_images():
    with torch.device("meta"):
        model = timm.create_model("nommer_micro").train()
    scores = model(torch.empty(2, 3, 97, 131, device="meta"))
    scores.sum().backward()
    assert scores.device.type == "meta"
    assert all(p.grad.device.type == "meta" for p in model.parameters())
