"""The contract of timm, over the whole family; the two largest networks run in slow tests."""

import copy
import pickle

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.data import resolve_model_data_config
from timm.models import group_parameters
from timm.models._manipulate import reinit_non_persistent_buffers
from timm.optim import create_optimizer_v2, param_groups_layer_decay, param_groups_weight_decay
from torch import nn

from nommer.backbone.checkpoint import to_published
from nommer.backbone.variants import VARIANTS

OURS = ["nommer_micro", "nommer_pico", "nommer_nano", "nommer_pico64"]
EVERY = [
    *OURS,
    "nommer_tiny",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("nommer_small", "nommer_base")),
]
SIZE = (64, 96)
GRIDS = [(16, 24), (8, 12), (4, 6), (2, 3)]


@pytest.fixture(scope="module")
def shared(create):
    """A model per name that no test may change."""
    models = {}

    def shared(name="nommer_micro"):
        if name not in models:
            models[name] = create(name)
        return models[name]

    return shared


@pytest.fixture(scope="module")
def images(draw):
    return draw(2, 3, *SIZE)


def on_meta(name, **options):
    with torch.device("meta"):
        return timm.create_model(name, **options).eval()


def assert_equal(first, second):
    assert len(first) == len(second)
    assert all(map(torch.equal, first, second))


# ---- registry and configuration


def test_the_family_is_registered():
    assert set(timm.list_models("nommer*")) == set(VARIANTS)
    assert all(timm.is_model(name) for name in VARIANTS)


@pytest.mark.parametrize("name", VARIANTS)
def test_pretrained_cfg_describes_the_network(name):
    model = on_meta(name)
    cfg, state = model.pretrained_cfg, model.state_dict()
    assert cfg["architecture"] == name
    assert isinstance(model.get_submodule(cfg["first_conv"]), nn.Conv2d)
    assert isinstance(model.get_submodule(cfg["classifier"]), nn.Linear)
    assert model.get_submodule(cfg["classifier"]) is model.get_classifier()
    assert {f"{cfg['first_conv']}.weight", f"{cfg['classifier']}.weight"} <= state.keys()
    assert cfg["num_classes"] == model.num_classes == 1000
    data = resolve_model_data_config(model)
    assert data["input_size"] == (3, *VARIANTS[name].image_sides)
    assert data["crop_pct"] == 0.875


def test_pretrained_weights_are_refused_clearly():
    with pytest.raises(
        RuntimeError, match=r"No pretrained weights exist for nommer_micro. Use `pretrained=False`"
    ):
        timm.create_model("nommer_micro", pretrained=True)


# ---- shapes over the family


@pytest.mark.parametrize("name", VARIANTS)
def test_shapes_of_every_output(name):
    model = on_meta(name)
    images = torch.empty(2, 3, *SIZE, device="meta")
    width = 8 * VARIANTS[name].embed_dim
    tokens = model.forward_features(images)
    assert tokens.shape == (2, 1 + 2 * 3, width)
    assert model.forward_head(tokens, pre_logits=True).shape == (2, width)
    assert model(images).shape == (2, 1000)
    assert model.num_features == model.head_hidden_size == width
    assert model.num_prefix_tokens == 1


@pytest.mark.parametrize("name", VARIANTS)
def test_shapes_of_features(name):
    model = on_meta(name, features_only=True)
    width = VARIANTS[name].embed_dim
    assert model.feature_info.channels() == [width, 2 * width, 4 * width, 8 * width]
    assert model.feature_info.reduction() == [4, 8, 16, 32]
    assert model.feature_info.module_name() == [f"stages.{stage}" for stage in range(4)]
    features = model(torch.empty(2, 3, *SIZE, device="meta"))
    expected = zip(model.feature_info.channels(), GRIDS, strict=True)
    assert [tuple(f.shape) for f in features] == [
        (2, channels, *grid) for channels, grid in expected
    ]


@pytest.mark.parametrize("name", VARIANTS)
def test_without_classifier_and_pooling(name):
    images = torch.empty(2, 3, *SIZE, device="meta")
    width = 8 * VARIANTS[name].embed_dim
    reset = on_meta(name)
    for options, shape in (
        ({"num_classes": 0}, (2, width)),
        ({"num_classes": 0, "global_pool": ""}, (2, 7, width)),
    ):
        model = on_meta(name, **options)
        assert not any(key.startswith("head.") for key in model.state_dict())
        assert model(images).shape == shape
        reset.reset_classifier(**options)
        assert reset(images).shape == shape


# ---- forward


@pytest.mark.parametrize("name", EVERY)
@torch.no_grad()
def test_forward_is_features_then_head(shared, images, name):
    model = shared(name)
    scores, tokens = model(images), model.forward_features(images)
    assert scores.isfinite().all()
    assert torch.equal(scores, model.forward_head(tokens))
    hidden = model.forward_head(tokens, pre_logits=True)
    pooled = tokens[:, 1:].mean(1) if VARIANTS[name].global_pool == "avg" else tokens[:, 0]
    assert torch.equal(hidden, pooled)
    assert torch.equal(scores, model.get_classifier()(hidden))


@pytest.mark.parametrize("name", EVERY)
def test_every_parameter_gets_a_gradient(create, images, name):
    model = create(name, num_classes=10, drop_path_rate=0.0).train()
    model(images).square().mean().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.any(), key


# ---- intermediates


@pytest.mark.parametrize("name", EVERY)
@torch.no_grad()
def test_intermediates_end_in_the_features(shared, images, name):
    model = shared(name)
    final, intermediates = model.forward_intermediates(images)
    assert torch.equal(final, model.forward_features(images))
    widths = [VARIANTS[name].embed_dim * 2**stage for stage in range(4)]
    assert [tuple(f.shape) for f in intermediates] == [
        (2, w, *g) for w, g in zip(widths, GRIDS, strict=True)
    ]
    normed = model.forward_intermediates(images, norm=True, intermediates_only=True)
    assert_equal(normed[:3], intermediates[:3])
    assert torch.equal(normed[3].flatten(2).transpose(1, 2), final[:, 1:])
    assert torch.allclose(
        model.norm(intermediates[3].permute(0, 2, 3, 1)), normed[3].permute(0, 2, 3, 1)
    )


@pytest.mark.parametrize(
    ("indices", "taken"),
    [
        (None, [0, 1, 2, 3]),
        (1, [3]),
        (2, [2, 3]),
        ([0], [0]),
        ([-1, 0], [3, 0]),
        ((1, -2), [1, 2]),
        ([2, 2], [2, 2]),
    ],
    ids=str,
)
@torch.no_grad()
def test_indices_choose_stages(shared, images, indices, taken):
    model = shared()
    everything = model.forward_intermediates(images, intermediates_only=True)
    _, chosen = model.forward_intermediates(images, indices)
    assert_equal(chosen, [everything[stage] for stage in taken])


@pytest.mark.parametrize("indices", [[4], [-5], 5, 0], ids=str)
def test_stages_that_do_not_exist_are_refused(shared, images, indices):
    with pytest.raises(AssertionError, match="out of range"):
        shared().forward_intermediates(images, indices)


@torch.no_grad()
def test_stopping_early_runs_no_later_stage(create, images):
    model = create()
    expected = model.forward_intermediates(images, [0, 1], intermediates_only=True)
    for stage in model.stages[2:]:
        stage.register_forward_hook(
            lambda *_: pytest.fail("a stage after the last one asked for ran")
        )
    stopped = model.forward_intermediates(images, [0, 1], stop_early=True, intermediates_only=True)
    assert_equal(stopped, expected)
    with pytest.raises(ValueError, match="intermediates_only=True"):
        model.forward_intermediates(images, [0, 1], stop_early=True)


@torch.no_grad()
def test_stopping_after_the_last_stage_is_no_stopping(shared, images):
    final, intermediates = shared().forward_intermediates(images, [0, 3], stop_early=True)
    assert torch.equal(final, shared().forward_features(images))
    assert len(intermediates) == 2


@torch.no_grad()
def test_output_format(shared, images):
    first = shared().forward_intermediates(images, output_fmt="NCHW", intermediates_only=True)
    last = shared().forward_intermediates(images, output_fmt="NHWC", intermediates_only=True)
    assert_equal([f.permute(0, 2, 3, 1) for f in first], last)
    with pytest.raises(ValueError, match=r"output_fmt must be 'NCHW' or 'NHWC', got 'NLC'"):
        shared().forward_intermediates(images, output_fmt="NLC")


@torch.no_grad()
def test_prefix_tokens(shared, images):
    model = shared()
    final, pairs = model.forward_intermediates(images, norm=True, return_prefix_tokens=True)
    assert_equal(
        [f for f, _ in pairs],
        model.forward_intermediates(images, norm=True, intermediates_only=True),
    )
    assert [tuple(prefix.shape) for _, prefix in pairs] == [
        (2, 0, 16),
        (2, 0, 32),
        (2, 0, 64),
        (2, 1, 128),
    ]
    assert torch.equal(pairs[3][1], final[:, :1])


@torch.no_grad()
def test_the_class_token_takes_part_in_stage_4(create, images):
    model = create()
    before = model.forward_intermediates(images, intermediates_only=True)
    model.stages[3].cls_token += 1
    after = model.forward_intermediates(images, intermediates_only=True)
    assert_equal(before[:3], after[:3])
    assert not torch.allclose(before[3], after[3])


# ---- features only, pruning


@pytest.mark.parametrize("name", EVERY)
@torch.no_grad()
def test_features_are_the_intermediates(shared, images, name):
    features = timm.create_model(name, features_only=True).eval()
    state = {f"model.{key}": value for key, value in shared(name).state_dict().items()}
    features.load_state_dict({key: state[key] for key in features.state_dict()})
    assert_equal(
        features(images), shared(name).forward_intermediates(images, intermediates_only=True)
    )


@pytest.mark.parametrize(
    ("out_indices", "taken"), [((1, 3), [1, 3]), ((0,), [0]), ((-2,), [2]), (2, [2, 3])], ids=str
)
@torch.no_grad()
def test_a_subset_of_the_features(create, images, out_indices, taken):
    model = create(features_only=True, out_indices=out_indices)
    assert model.feature_info.channels() == [16 * 2**stage for stage in taken]
    assert model.feature_info.reduction() == [4 * 2**stage for stage in taken]
    assert [tuple(f.shape[1:]) for f in model(images)] == [
        (16 * 2**stage, *GRIDS[stage]) for stage in taken
    ]
    assert len(model.model.stages) == max(taken) + 1
    assert not any("head" in key or key.startswith("norm") for key in model.model.state_dict())


@pytest.mark.parametrize("indices", [[0], [0, 1], [2], 1, [-1, 1]], ids=str)
@torch.no_grad()
def test_pruning_keeps_the_intermediates(create, images, indices):
    model = create()
    expected = model.forward_intermediates(images, indices, intermediates_only=True)
    before = sum(p.numel() for p in model.parameters())
    taken = model.prune_intermediate_layers(indices)
    assert len(model.stages) == max(taken) + 1
    assert isinstance(model.norm, nn.LayerNorm) == (max(taken) == 3)
    assert isinstance(model.get_classifier(), nn.Identity)
    assert sum(p.numel() for p in model.parameters()) < before
    final, intermediates = model.forward_intermediates(images, taken)
    assert_equal(intermediates, expected)
    assert final.isfinite().all()


@torch.no_grad()
def test_pruning_only_what_is_asked(create, images):
    model = create()
    scores = model(images)
    assert model.prune_intermediate_layers(1, prune_norm=False, prune_head=False) == [3]
    assert torch.equal(model(images), scores)
    model.prune_intermediate_layers(1, prune_norm=True)
    assert isinstance(model.norm, nn.Identity)


# ---- classifier


@torch.no_grad()
def test_reset_classifier(create, images):
    model = create()
    hidden = model.forward_head(model.forward_features(images), pre_logits=True)
    model.reset_classifier(7)
    assert model.num_classes == model.config.num_classes == 7
    assert model.get_classifier().weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert not model.get_classifier().bias.any()
    assert torch.equal(model(images), model.get_classifier()(hidden))
    model.reset_classifier(0)
    assert torch.equal(model(images), hidden)
    model.reset_classifier(5, global_pool="avg")
    assert model.global_pool == model.config.global_pool == "avg"
    assert model(images).shape == (2, 5)


def test_reset_classifier_keeps_device_and_precision(create):
    model = create().to(torch.bfloat16)
    model.reset_classifier(5)
    assert model.get_classifier().weight.dtype == torch.bfloat16
    model = on_meta("nommer_micro")
    model.reset_classifier(5)
    assert model.get_classifier().weight.device.type == "meta"


# ---- optimisers


@pytest.mark.parametrize("coarse", [False, True])
@pytest.mark.parametrize("name", VARIANTS)
def test_layers_are_grouped_in_data_order(name, coarse):
    model = on_meta(name)
    layer = group_parameters(model, model.group_matcher(coarse=coarse), reverse=True)
    assert layer.keys() == {key for key, _ in model.named_parameters()}
    depths = VARIANTS[name].depths
    assert (
        max(layer.values()) + 1 == 1 + (4 if coarse else sum(depths)) + 1
    )  # stem, stages or blocks, head
    assert {place for key, place in layer.items() if key.startswith("stem.")} == {0}
    assert layer["head.weight"] == layer["head.bias"] == max(layer.values())
    assert layer["norm.weight"] == layer["head.weight"] - (
        not coarse
    )  # with the last block, as timm has it
    for stage in range(4):
        prefix = f"stages.{stage}."
        first = min(number for key, number in layer.items() if key.startswith(prefix))
        for key, number in layer.items():
            if key.startswith(f"{prefix}blocks."):
                assert number == first + (0 if coarse else int(key.split(".")[3])), key
            elif key.startswith(prefix):
                assert number == first, key
        assert first == 1 + (stage if coarse else sum(depths[:stage]))


def test_layer_decay_grows_towards_the_head(create):
    model = create()
    groups = param_groups_layer_decay(
        model, no_weight_decay_list=model.no_weight_decay(), layer_decay=0.5
    )
    scale = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    assert len(scale) == len(list(model.parameters()))
    order = [
        "stem.conv.weight",
        *(f"stages.{stage}.blocks.0.norm1.weight" for stage in range(4)),
        "head.weight",
    ]
    assert [scale[id(model.get_parameter(key))] for key in order] == [
        0.5**n for n in (5, 4, 3, 2, 1, 0)
    ]


@pytest.mark.parametrize("name", VARIANTS)
def test_embeddings_and_bias_tables_are_not_decayed(name):
    model = on_meta(name)
    exempt = model.no_weight_decay()
    assert exempt <= {key for key, _ in model.named_parameters()}
    assert {"stages.2.pos_embed", "stages.3.cls_token"} < exempt
    assert len(exempt) == 2 + sum(VARIANTS[name].depths[:2])
    decayed = param_groups_weight_decay(model, 0.05, no_weight_decay_list=exempt)
    kept = {id(p) for group in decayed if group["weight_decay"] for p in group["params"]}
    for key, parameter in model.named_parameters():
        assert (id(parameter) in kept) == (parameter.ndim > 1 and key not in exempt), key


def test_timm_builds_an_optimiser_that_steps(create, images):
    model = create(num_classes=5).train()
    optimiser = create_optimizer_v2(
        model, opt="adamw", lr=1e-3, weight_decay=0.05, layer_decay=0.75
    )
    before = copy.deepcopy(model.state_dict())
    model(images).square().mean().backward()
    optimiser.step()
    assert all(
        not torch.equal(before[key], parameter) for key, parameter in model.named_parameters()
    )


# ---- construction and storage


@pytest.mark.parametrize("name", [*OURS, "nommer_tiny"])
@torch.no_grad()
def test_construction_on_the_meta_device_then_fresh_weights(images, name):
    model = on_meta(name)
    assert all(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))
    model = model.to_empty(device="cpu")
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.fill_(torch.nan if tensor.is_floating_point() else -1)
    torch.manual_seed(5)
    model.init_weights()
    torch.manual_seed(5)
    direct = timm.create_model(name).eval()
    torch.manual_seed(5)
    direct.init_weights()
    assert torch.equal(model(images), direct(images))
    assert_equal(list(model.buffers()), list(direct.buffers()))


@pytest.mark.parametrize("name", EVERY)
@torch.no_grad()
def test_construction_on_the_meta_device_then_a_checkpoint(shared, images, name):
    model = on_meta(name)
    model.load_state_dict(shared(name).state_dict(), assign=True)
    for module in model.modules():
        for key, buffer in module.named_buffers(recurse=False):
            if buffer.is_meta:
                module.register_buffer(
                    key, torch.empty_like(buffer, device="cpu"), persistent=False
                )
    assert len(reinit_non_persistent_buffers(model)) == 3 * sum(VARIANTS[name].depths[:2])
    assert torch.equal(model(images), shared(name)(images))


def test_new_weights_differ_from_model_to_model():
    first, second = (timm.create_model("nommer_micro") for _ in range(2))
    drawn = [key for key, p in first.named_parameters() if p.std() > 0]
    assert not any(
        torch.equal(first.get_parameter(key), second.get_parameter(key)) for key in drawn
    )
    assert {"stages.2.pos_embed", "head.weight", "stem.conv.weight"} <= set(drawn)


@pytest.mark.parametrize("name", EVERY)
@torch.no_grad()
def test_state_dict_round_trip(shared, images, name):
    model = timm.create_model(name).eval()
    keys = model.load_state_dict(copy.deepcopy(shared(name).state_dict()), strict=True)
    assert not keys.missing_keys
    assert not keys.unexpected_keys
    assert torch.equal(model(images), shared(name)(images))


@torch.no_grad()
def test_safetensors_round_trip(shared, images, tmp_path):
    save_file(shared().state_dict(), tmp_path / "model.safetensors")
    model = timm.create_model("nommer_micro").eval()
    model.load_state_dict(load_file(tmp_path / "model.safetensors"))
    assert torch.equal(model(images), shared()(images))
    by_path = timm.create_model(
        "nommer_micro", checkpoint_path=str(tmp_path / "model.safetensors")
    ).eval()
    assert torch.equal(by_path(images), shared()(images))


@torch.no_grad()
def test_copies_and_pickles_are_equal_and_independent(create, images):
    model = create()
    scores = model(images)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin(images), scores)
        twin.stem.conv.weight.zero_()
        assert torch.equal(model(images), scores)


@pytest.mark.parametrize("layout", ["ours", "published"])
@torch.no_grad()
def test_timm_loads_weights_from_a_file(shared, images, tmp_path, layout):
    path = tmp_path / "weights.pth"
    state = shared().state_dict()
    torch.save(state if layout == "ours" else to_published(state), path)
    overlay = {"pretrained": True, "pretrained_cfg_overlay": {"file": str(path)}}
    model = timm.create_model("nommer_micro", **overlay).eval()
    assert torch.equal(model(images), shared()(images))
    features = timm.create_model("nommer_micro", features_only=True, **overlay).eval()
    assert_equal(features(images), shared().forward_intermediates(images, intermediates_only=True))
    grey = timm.create_model("nommer_micro", in_chans=1, num_classes=5, **overlay).eval()
    torch.testing.assert_close(
        grey.stem.conv.weight, state["stem.conv.weight"].sum(1, keepdim=True)
    )
    assert torch.equal(grey.norm.weight, state["norm.weight"])
    assert grey(images[:, :1]).shape == (2, 5)
    smaller = timm.create_model("nommer_micro", img_size=SIZE, **overlay).eval()
    assert smaller.stages[2].pos_embed.shape[1:3] == (4, 6)
    assert torch.equal(smaller(images), shared()(images))
