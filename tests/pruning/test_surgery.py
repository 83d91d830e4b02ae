"""A network with fewer contexts is the one that it was made of, where those are not nominated."""

import json
from dataclasses import asdict

import pytest
import torch

from nommer.acceleration.fuse import fuse
from nommer.backbone.ablations import ContextSum
from nommer.backbone.config import NomMerConfig
from nommer.backbone.network import NomMer
from nommer.models.storage import load, save_model
from nommer.nominations.trace import nominator_blocks
from nommer.pruning.gain import compare
from nommer.pruning.surgery import ContextMeans, contexts_of, mixers_of, pruned_config, pruned_model

ALL = ("convolution", "window", "global")
FIRST, SECOND = "stage 1 block 1", "stage 2 block 1"
KEPT = [
    {FIRST: ("convolution",), SECOND: ("global",)},
    {FIRST: ("window",), SECOND: ("window",)},
    {FIRST: ALL, SECOND: ("convolution",)},
    {FIRST: ("convolution", "global"), SECOND: ("window", "global")},
]


@pytest.fixture(scope="module")
def images():
    return list(torch.randn(3, 1, 3, 32, 32, generator=torch.Generator().manual_seed(0)))


@pytest.fixture(scope="module")
def model(tiny_classifier, enliven_norms):
    model = tiny_classifier()
    enliven_norms(model)
    for mixer in mixers_of(model.network).values():
        torch.nn.init.normal_(mixer.nominator.score.weight)
    return model


@pytest.fixture(scope="module")
def means(model, images):
    found = ContextMeans(model.network)
    with torch.inference_mode():
        for image in images:
            model.network(image)
    return found.close()


@pytest.mark.parametrize("kept", KEPT, ids=str)
def test_it_is_the_network_under_an_intervention(model, images, means, kept):
    pruned = pruned_model(model, kept, means)
    assert contexts_of(pruned.network) == kept
    assert contexts_of(model.network) == {FIRST: ALL, SECOND: ALL}
    parity = compare(model, pruned, kept, means, images)
    assert parity.difference < 1e-6
    assert parity.images == 3
    for name, mixer in mixers_of(pruned.network).items():
        assert isinstance(mixer.nominator, ContextSum) == (len(kept[name]) == 1)


@pytest.mark.parametrize("kept", KEPT, ids=str)
def test_it_is_saved_loaded_and_fused(model, images, means, kept, tmp_path):
    pruned = pruned_model(model, kept, means)
    save_model(tmp_path, pruned, metrics={}, version="0")
    loaded = load(tmp_path)
    assert loaded.network.config == pruned.network.config
    with torch.inference_mode():
        wanted = pruned.network(images[0])
        assert torch.equal(loaded.network(images[0]), wanted)
        torch.testing.assert_close(fuse(loaded).network(images[0]), wanted, rtol=1e-4, atol=1e-4)
    assert json.loads((tmp_path / "model.json").read_text())["architecture"]["contexts"] == [
        name for name in ALL if any(name in left for left in kept.values())
    ]


def test_untouched_images_keep_their_answers(model, images, means):
    """Two scores that are far apart: the removed context is never nominated."""
    copied = pruned_model(model, {FIRST: ALL, SECOND: ALL}, {})
    with torch.no_grad():
        for nomination in mixers_of(copied.network).values():
            nomination.nominator.score.bias.copy_(torch.tensor([1e4, 0.0, 0.0]))
    kept = {FIRST: ("convolution",), SECOND: ("convolution",)}
    parity = compare(copied, pruned_model(copied, kept, means), kept, means, images)
    assert parity.untouched == 3
    assert parity.untouched_difference < 1e-6


def test_a_pruned_network_is_pruned_again(model, means):
    once = pruned_model(model, KEPT[2], means)
    again = pruned_model(once, KEPT[0] | {SECOND: ("convolution",)}, means)
    assert again.network.config.contexts == ("convolution",)
    assert again.network.config.block_contexts is None
    assert not again.network.config.nominates
    assert list(nominator_blocks(once)) == [FIRST]


def test_the_description_of_every_block_is_checked():
    config = NomMerConfig(block_contexts=[list(ALL)] * 4)
    assert config == NomMerConfig()
    assert not config.ablates
    fewer = pruned_config(NomMerConfig(), [("window",), ("window", "convolution"), *[ALL] * 2])
    assert fewer.ablates
    assert fewer.nominates
    assert fewer.contexts_of(0, 1) == ("convolution", "window")
    assert fewer.contexts_of(1, 1) == ALL
    assert NomMerConfig(**json.loads(json.dumps(asdict(fewer)))) == fewer
    for wrong in ([ALL] * 3, [ALL, ALL, ALL, ()], [ALL, ALL, ALL, ("window", "window")]):
        with pytest.raises(ValueError, match="block_contexts must be, for each of the 4 blocks"):
            NomMerConfig(block_contexts=wrong)
    with pytest.raises(ValueError, match="one or more of convolution, each once"):
        NomMerConfig(contexts=["convolution"], block_contexts=[("window",)] * 4)


def test_a_description_of_before_still_builds_the_published_network():
    told = asdict(NomMerConfig(embed_dim=16, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 4)))
    del told["block_contexts"]
    assert not NomMer(NomMerConfig(**told)).config.ablates
