"""Attention in bfloat16 on the CPU against its literal form in float64: values and gradients."""

import pytest
import torch

from nommer.acceleration import attention as attention_module
from nommer.acceleration.attention import Bfloat16Attention, Bfloat16GlobalAttention
from nommer.backbone.attention import MultiHeadAttention

pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.fixture
def applied(monkeypatch):
    """Return whether the faster form was taken, call by call."""
    answers, applies = [], attention_module._applies

    def asked(query):
        answers.append(applies(query))
        return answers[-1]

    monkeypatch.setattr(attention_module, "_applies", asked)
    return answers


def attended(attend, given, cotangent, dtype):
    """Return what is attended to, and the gradients, of a form in a dtype, in float64."""
    leaves = [None if tensor is None else tensor.clone().requires_grad_() for tensor in given]
    query, key, value = (leaf.to(dtype) for leaf in leaves[:3])
    out = attend(query, key, value, leaves[3])
    out.backward(cotangent.to(dtype))
    return [out.detach().double(), *(leaf.grad.double() for leaf in leaves if leaf is not None)]


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("tokens", [1, 16, 49, 64, 65, 100])
def test_values_and_gradients_are_as_near_as_torchs(draw, applied, biased, tokens):
    module = Bfloat16Attention(24, heads=3)
    given = [draw(4, 3, tokens, 8, seed=seed) for seed in range(3)]
    given.append(draw(1, 3, tokens, tokens, seed=3) if biased else None)
    cotangent = draw(4, 3, tokens, 8, seed=4)
    literal = super(Bfloat16Attention, module).attend
    exact = attended(literal, given, cotangent, torch.float64)
    torchs = attended(literal, given, cotangent, torch.bfloat16)
    found = attended(module.attend, given, cotangent, torch.bfloat16)
    assert applied == [True]
    for one, other, truth in zip(found, torchs, exact, strict=True):
        error, torchs_error = ((x - truth).norm() / truth.norm().clamp_min(1) for x in (one, other))
        assert error <= 2 * torchs_error + 5e-3


def test_it_applies_to_bfloat16_that_is_learned(draw, applied):
    module, x = Bfloat16GlobalAttention(24, heads=3), draw(2, 3, 4, 24)
    plain = MultiHeadAttention(24, heads=3)
    plain.load_state_dict(module.state_dict())
    assert torch.equal(module(x), plain(x.flatten(1, 2)).view_as(x))
    with torch.autocast("cpu", torch.bfloat16):
        assert module(x).dtype == torch.bfloat16
        with torch.inference_mode():
            assert torch.equal(module(x), plain(x.flatten(1, 2)).view_as(x))
    assert applied == [False, True, False]
