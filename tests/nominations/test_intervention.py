"""Counterfactuals do what they say, where they say it, and leave nothing behind."""

import pytest
import torch

from nommer import NominationTrace
from nommer.acceleration.fuse import fuse
from nommer.backbone.contexts import CONTEXTS
from nommer.nominations.intervention import KINDS, intervene

BLOCKS = ["stage 1 block 1", "stage 2 block 1"]


@pytest.fixture
def images():
    return torch.rand(3, 3, 32, 40, generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=["plain", "fused"])
def model(request, images, tiny_classifier, enliven_norms):
    """A classifier whose blocks nominate all three contexts."""
    model = enliven_norms(tiny_classifier())
    generator = torch.Generator().manual_seed(0)
    for nominator in (
        model.network.get_submodule(f"stages.{stage}.blocks.0.mixer.nominator") for stage in (0, 1)
    ):
        torch.nn.init.normal_(nominator.score.weight, generator=generator)
        logits = []
        with (
            torch.no_grad(),
            nominator.score.register_forward_hook(
                lambda *args, logits=logits: logits.append(args[-1])
            ),
        ):
            model(images)
            nominator.score.bias -= logits[0].mean((0, 1, 2))  # no context is ahead of the others
    return fuse(model) if request.param == "fused" else model


def test_the_model_of_these_tests_nominates_every_context(model, images):
    with NominationTrace(model) as trace:
        model(images)
    assert trace.counts().min() > 50


def hooks(model):
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()
    )


def maps(model, images):
    """Return the nominations of every block and the scores of the classes."""
    with torch.no_grad(), NominationTrace(model, keep_maps=True) as trace:
        scores = model(images)
    return {name: trace.maps(name) for name in trace.blocks}, scores


@pytest.mark.parametrize("kind", CONTEXTS)
def test_a_forced_context_has_every_token(model, images, kind):
    with intervene(model, kind):
        forced, scores = maps(model, images)
    assert all((map_ == CONTEXTS.index(kind)).all() for map_ in forced.values())
    assert not torch.equal(scores, model(images))


@pytest.mark.parametrize("kind", KINDS)
def test_afterwards_the_model_is_as_it_was(model, images, kind):
    before = model(images)
    with intervene(model, kind):
        inside = model(images)
    assert hooks(model) == 0
    assert torch.equal(model(images), before)
    assert not torch.equal(inside, before)


def test_sampled_contexts_are_as_frequent_as_they_are_probable(model, images):
    first = BLOCKS[0]  # those after it see other tokens
    with intervene(model, "sampled", blocks=[first]), NominationTrace(model) as trace:
        model(images)
    probable = trace.statistics()[first].probabilities
    assert trace.shares()[first] == pytest.approx(probable, abs=0.05)


def test_hooks_are_gone_after_an_exception(model, images):
    with intervene(model, "mean"):
        assert hooks(model) == 2
    with (
        pytest.raises(RuntimeError),
        intervene(model, "mean"),
    ):  # in the words of whatever computes the convolution
        model(images[:, :2])
    assert hooks(model) == 0


@pytest.mark.parametrize("context", CONTEXTS)
def test_forcing_what_is_nominated_changes_nothing(model, images, context):
    """Each context is forced in just the tokens that nominate it anyway."""
    own, before = maps(model, images)
    assert any((map_ == CONTEXTS.index(context)).any() for map_ in own.values())
    first, second = (
        {"blocks": [name], "region": own[name] == CONTEXTS.index(context)} for name in BLOCKS
    )
    with torch.no_grad(), intervene(model, context, **first), intervene(model, context, **second):
        assert torch.equal(model(images), before)


def test_only_the_chosen_blocks_change(model, images):
    own, _ = maps(model, images)
    with intervene(model, "global", blocks=["stage 2 block 1"]):
        forced, _ = maps(model, images)
    assert torch.equal(forced["stage 1 block 1"], own["stage 1 block 1"])
    assert (forced["stage 2 block 1"] == 2).all()


def test_only_the_region_changes(model, images):
    own, _ = maps(model, images)
    region = torch.zeros(32, 40, dtype=torch.bool)
    region[:8, 20:] = True
    with intervene(model, "window", region=region, blocks=["stage 1 block 1"]):
        forced, _ = maps(model, images)
    cells = torch.zeros(16, 20, dtype=torch.bool)
    cells[:4, 10:] = True
    first = BLOCKS[0]
    assert (forced[first][:, cells] == 1).all()
    assert torch.equal(forced[first][:, ~cells], own[first][:, ~cells])
    assert not torch.equal(forced[first], own[first])


def test_every_image_may_have_a_region_of_its_own(model, images):
    own, _ = maps(model, images)
    region = torch.tensor([True, False, True])[:, None, None].expand(3, 32, 40)
    with intervene(model, "window", region=region):
        forced, _ = maps(model, images)
    for name in BLOCKS:
        assert (forced[name][[0, 2]] == 1).all()
        assert torch.equal(forced[name][1], own[name][1])


def test_interventions_nest(model, images):
    with intervene(model, "convolution"), intervene(model, "global", blocks=BLOCKS[1:]):
        forced, both = maps(model, images)
        assert (forced[BLOCKS[0]] == 0).all()
        assert (forced[BLOCKS[1]] == 2).all()
    with (
        intervene(model, "convolution", blocks=BLOCKS[:1]),
        intervene(model, "global", blocks=BLOCKS[1:]),
    ):
        assert torch.equal(maps(model, images)[1], both)


def contexts_of_first_block(model, images):
    """Return the inputs and the output of the first nominator."""
    nominator = model.network.stages[0].blocks[0].mixer.nominator
    seen = []
    handle = nominator.register_forward_hook(
        lambda _module, contexts, out: seen.append((contexts, out))
    )
    with torch.no_grad():
        model(images)
    handle.remove()
    return seen[0]


def test_the_mean_is_the_mean_of_the_three_contexts(model, images):
    with intervene(model, "mean"):
        contexts, out = contexts_of_first_block(model, images)
    torch.testing.assert_close(out, torch.stack(contexts).mean(0))


@pytest.mark.parametrize("kind", ["second", "window"])
def test_the_answer_of_a_block_is_the_context_that_is_said(model, images, kind):
    with intervene(model, kind), NominationTrace(model, keep_maps=True) as trace:
        contexts, out = contexts_of_first_block(model, images)
    chosen = trace.maps(BLOCKS[0]).long()[..., None, None].expand(*out.shape, 1)
    assert torch.equal(out, torch.stack(contexts, -1).gather(-1, chosen)[..., 0])


def test_the_second_choice_has_the_second_score(model, images):
    with intervene(model, "second"), NominationTrace(model, keep_maps=True) as trace:
        model(images)
    for name in BLOCKS:
        assert torch.equal(
            trace.maps(name).long(), trace.probabilities(name).argsort(-1, descending=True)[..., 1]
        )


def test_chance_is_uniform_and_the_same_for_the_same_seed(model, images):
    drawn = []
    for options in ({}, {}, {"seed": 1}, {"blocks": BLOCKS[1:]}):
        with intervene(model, "chance", **options):
            drawn.append(maps(model, images)[0])
    first, again, other, alone = drawn
    for name in BLOCKS:
        assert torch.equal(first[name], again[name])
        assert not torch.equal(first[name], other[name])
        assert torch.bincount(first[name].flatten().long()).min() > first[name].numel() / 4
    assert torch.equal(alone[BLOCKS[1]], first[BLOCKS[1]]), (
        "a block draws the same, whichever others do"
    )


def test_chance_leaves_the_random_state_alone(model, images):
    before = torch.get_rng_state()
    with intervene(model, "chance"):
        model(images)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_trace_outside_counts_what_would_have_been_nominated(model, images):
    own, _ = maps(model, images)
    with (
        NominationTrace(model, keep_maps=True) as trace,
        intervene(model, "global", blocks=BLOCKS[:1]),
    ):
        model(images)
    assert torch.equal(trace.maps(BLOCKS[0]), own[BLOCKS[0]])


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("spectral", {}, f"unknown intervention 'spectral'; choose from {', '.join(KINDS)}"),
        (
            "mean",
            {"blocks": ["stage 3 block 1"]},
            f"unknown block 'stage 3 block 1'; this model has {BLOCKS[0]}, ",
        ),
        (
            "mean",
            {"region": torch.zeros(4, 4)},
            r"region must be bool, \(H, W\) or \(B, H, W\), got torch.float32",
        ),
        ("mean", {"region": torch.zeros(4, dtype=torch.bool)}, r"region must be bool"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_mistakes_are_named(tiny_classifier, kind, options, message):
    with pytest.raises(ValueError, match=message), intervene(tiny_classifier(), kind, **options):
        pass


def test_a_model_without_nominations_is_refused():
    with (
        pytest.raises(ValueError, match="Linear holds no NomMer"),
        intervene(torch.nn.Linear(2, 2), "mean"),
    ):
        pass
