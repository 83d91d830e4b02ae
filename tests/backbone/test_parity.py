"""The published numbers: what makes this network NomMer and not something like it."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from nommer.backbone.checkpoint import from_published, is_published, published_config, to_published
from nommer.backbone.network import NomMer
from nommer.backbone.nominator import Nomination
from nommer.backbone.variants import VARIANTS


@pytest.fixture(scope="module")
def published(parity):
    """A full published state dict, constants included, with the values of the parity files."""
    keys = json.loads((parity.folder / "nommer_tiny_keys.json").read_text())
    constant = ("dct_conv_8x8.weight", "idct_conv.0.weight", "relative_position_index")
    learned = {
        key: parity.published_tensor(key, tuple(shape))
        for key, shape in keys
        if not key.endswith(constant)
    }
    constants = {key: torch.zeros(shape) for key, shape in keys if key.endswith(constant)}
    return {key: torch.from_numpy(np.asarray(value)) for key, value in learned.items()} | constants


def build(published, dtype=torch.float64, **changes):
    model = NomMer(replace(published_config(published), **changes))
    model.load_state_dict(from_published(published))
    return model.to(dtype)


@pytest.fixture(scope="module")
def evaluated(parity, published):
    """Logits, nomination counts and stage outputs of the network in float64 evaluation mode."""
    model = build(published).eval()
    nominated, outputs, handles = [], {}, []
    for module in model.modules():
        if isinstance(module, Nomination):
            handles.append(
                module.register_forward_hook(
                    lambda _m, _i, out: nominated.append(out.sum((0, 1, 2)))
                )
            )
    for i, stage in enumerate(model.stages):
        handles.append(
            stage.register_forward_hook(
                lambda _m, _i, out, i=i: outputs.update({f"transformer{i + 1}": out})
            )
        )
        handles.append(
            stage.downsample.register_forward_hook(
                lambda _m, _i, out, i=i: outputs.update({f"merge{i}": out})
            )
        )
    with torch.no_grad():
        logits = model(torch.from_numpy(parity.images()).double())
    return logits, torch.stack(nominated), outputs


def test_logits_float64(parity, evaluated):
    expected = torch.from_numpy(parity.eval["logits"])
    assert (evaluated[0] - expected).abs().max() < 1e-6


def test_logits_float32(parity, published):
    with torch.no_grad():
        logits = build(published, torch.float32).eval()(torch.from_numpy(parity.images()))
    assert (logits.double() - torch.from_numpy(parity.eval["logits"])).abs().max() < 1e-5


def test_nomination_counts_are_exact(parity, evaluated):
    assert (evaluated[1].long().numpy() == parity.eval["nominated"]).all()


def test_stage_samples(parity, evaluated):
    names = [key.removeprefix("sample_") for key in parity.eval.files if key.startswith("sample_")]
    assert len(names) == 7
    for name in names:
        output = evaluated[2][name].reshape(tuple(parity.eval[f"shape_{name}"])).flatten(1)
        sample = output[:, :: max(1, output.shape[1] // 997)][:, :997].numpy()
        assert np.abs(sample - parity.eval[f"sample_{name}"]).max() < 1e-4, name


def test_training_loss_and_gradients(parity, published):
    model = build(published, drop_path_rate=0.0).train()
    nominations = [module for module in model.modules() if isinstance(module, Nomination)]
    for block, module in enumerate(nominations):
        module.noise = lambda logits, block=block: torch.from_numpy(
            parity.gumbel_noise(block, tuple(logits.shape))
        )
    logits = model(torch.from_numpy(parity.images()).double())
    loss = (logits * torch.from_numpy(parity.loss_weights())).sum()
    loss.backward()
    gradients = to_published({name: parameter.grad for name, parameter in model.named_parameters()})
    assert abs(loss.item() - float(parity.train["loss"])) < 1e-6
    assert (logits.detach() - torch.from_numpy(parity.train["logits"])).abs().max() < 1e-6
    for key, norm, total in zip(
        *(parity.train[name] for name in ("keys", "grad_norm", "grad_sum")), strict=True
    ):
        assert gradients[key].norm().item() == pytest.approx(norm, rel=1e-3), key
        assert gradients[key].sum().item() == pytest.approx(total, rel=1e-3, abs=1e-3 * norm), key


def test_round_trip_is_exact(published):
    assert is_published(published)
    ours = from_published(published)
    back = to_published(ours)
    assert back.keys() == published.keys()
    assert all(back[key].shape == value.shape for key, value in published.items())
    assert all(torch.equal(value, ours[key]) for key, value in from_published(back).items())
    assert all(
        torch.equal(value, to_published(from_published(back))[key]) for key, value in back.items()
    )


def test_constants_of_a_wrong_shape_are_refused(published):
    key = "transformer1.layers.0.0.fn.attentionG.dct_conv_8x8.weight"
    with pytest.raises(ValueError, match=key.replace(".", r"\.")):
        from_published(published | {key: torch.zeros(1536, 1, 4, 4)})


def test_unknown_keys_are_refused(published):
    with pytest.raises(ValueError, match="fc_extra"):
        from_published(published | {"fc_extra.weight": torch.zeros(3)})


@pytest.mark.parametrize(
    ("changes", "missing"),
    [({"contexts": ["window", "global"]}, "convolution"), ({"fusion": "sum"}, "nominator")],
)
def test_ablations_have_no_published_layout(changes, missing):
    model = NomMer(replace(VARIANTS["nommer_micro"], **changes))
    with pytest.raises(
        ValueError, match=f"stages.0.blocks.0 has no {missing}, which the published layout needs"
    ):
        to_published(model.state_dict())
