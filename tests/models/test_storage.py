"""Models on disk: what is written comes back exactly, what is damaged or hostile is refused and
never run.
"""

import json
import os
import pickle
import signal
import zipfile
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import nommer
from nommer.backbone.checkpoint import to_published
from nommer.errors import InputError
from nommer.models.storage import FORMAT, load, save_model
from nommer.models.weights import read_checkpoint


@pytest.fixture
def saved(tmp_path, tiny_classifier):
    model = tiny_classifier(("Käfer", "猫", "with space"), seed=3, global_pool="avg")
    save_model(tmp_path / "model", model, metrics={"top1": 0.5}, version="1.2.3")
    return tmp_path / "model", model


def test_a_model_comes_back_bit_for_bit(saved):
    folder, model = saved
    loaded = load(folder)
    assert not loaded.training
    assert loaded.class_names == model.class_names
    assert loaded.preprocessing == model.preprocessing
    assert loaded.network.config == model.network.config
    for (name, one), (other_name, other) in zip(
        model.state_dict().items(), loaded.state_dict().items(), strict=True
    ):
        assert name == other_name
        assert torch.equal(one, other)
    images = torch.rand(2, 3, 40, 50)
    assert torch.equal(model(images), loaded(images))


def test_the_description_tells_what_one_wants_to_know(saved):
    description = json.loads((saved[0] / "model.json").read_text(encoding="utf-8"))
    assert description["format"] == FORMAT
    assert description["nommer_version"] == "1.2.3"
    assert description["task"] == "classification"
    assert description["class_names"] == ["Käfer", "猫", "with space"]
    assert description["metrics"] == {"top1": 0.5}
    assert description["preprocessing"]["image_size"] == 32
    assert description["architecture"]["embed_dim"] == 16


@pytest.mark.parametrize(
    ("name", "number"), [(name, number) for name in ("replace", "fsync") for number in (1, 2, 3)]
)
def test_numbers_never_stand_beside_weights_that_they_are_not_of(
    saved, tiny_classifier, name, number
):
    """A process that replaces a model is killed instead of the n-th call of a function."""
    folder, old = saved
    new = tiny_classifier(old.class_names, seed=4, global_pool="avg")
    numbers = {0.5: old, 0.75: new}
    process = os.fork()
    if process == 0:
        calls = iter(range(1, 100))
        original = getattr(os, name)
        setattr(
            os,
            name,
            lambda *a: (
                original(*a) if next(calls) < number else os.kill(os.getpid(), signal.SIGKILL)
            ),
        )
        save_model(folder, new, metrics={"top1": 0.75}, version="1.2.3")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL
    weights = load(folder).network.state_dict()
    told = json.loads((folder / "model.json").read_text())["metrics"].get("top1")
    owners = [numbers[told]] if told else [old, new]
    assert any(
        all(torch.equal(value, weights[key]) for key, value in m.network.state_dict().items())
        for m in owners
    )
    save_model(folder, new, metrics={"top1": 0.75}, version="1.2.3")
    assert torch.equal(load(folder).network.head.weight, new.network.head.weight)


def test_a_folder_is_found_as_itself_and_in_its_run(saved):
    folder, model = saved
    for path in (folder, str(folder), folder.parent, str(folder.parent)):
        assert load(path).class_names == model.class_names


def change(folder, **changes):
    """As whoever means it does: the checksums would tell."""
    path = folder / "model.json"
    description = json.loads(path.read_text()) | changes
    del description["sha256"]
    path.write_text(json.dumps(description))


def damage_shapes(folder):
    change(folder)
    weights = load_file(folder / "model.safetensors")
    weights["norm.weight"] = torch.zeros(3)
    del weights["norm.bias"]
    weights["extra"] = torch.zeros(1)
    save_file(weights, folder / "model.safetensors")


def spoil_weights(folder):
    change(folder)
    weights = load_file(folder / "model.safetensors")
    weights["norm.weight"][5], weights["head.bias"][0] = float("nan"), float("inf")
    save_file(weights, folder / "model.safetensors")


def make_whole_numbers(folder):
    change(folder)
    weights = load_file(folder / "model.safetensors")
    save_file(
        weights | {"norm.weight": weights["norm.weight"].long()}, folder / "model.safetensors"
    )


def enlarge(folder, **changes):
    """Describe a network that would fill the memory, beside small weights."""
    described = json.loads((folder / "model.json").read_text())["architecture"]
    change(folder, architecture=described | changes)


NAMES = ["a", "b", "c"]


def names(*first):
    return lambda folder: change(folder, class_names=[*first, *NAMES[len(first) :]])


def options(**values):
    return lambda folder: change(
        folder, architecture={"timm": "test_resnet", "num_classes": 3, "options": values}
    )


UNFIT = [
    (names(5), "class_names must be text, got 5"),
    (names(None), "class_names must be text, got None"),
    (names("x" * 100_000), "class_names must have 1000 letters at most, got 100000: 'xxx"),
    (names("\ud800"), "class_names must be text, got letters that are none"),
    (names("a\0b"), "class_names must be text, got letters that are none"),
    (lambda f: change(f, class_names="abc"), "class_names must be a list, got 'abc'"),
    (lambda f: change(f, class_names={"a": 1}), "class_names must be a list, got {'a': 1}"),
    (lambda f: change(f, threshold="NaN"), "threshold must be a number, got 'NaN'"),
    (lambda f: change(f, threshold=float("nan")), "threshold must be from 0 to 1, got nan"),
    (
        lambda f: change(f, preprocessing={"image_size": True}),
        "image_size must be a whole number, got True",
    ),
    (
        lambda f: change(f, preprocessing={"image_size": 1e9}),
        "image_size must be a whole number, got 1000000000.0",
    ),
    (
        lambda f: change(f, preprocessing={"image_size": 10**9}),
        "image_size must be from 0 to 16384, got 1000000000",
    ),
    (
        lambda f: change(f, preprocessing={"image_size": 10**400}),
        "image_size must be from 0 to 16384, got 1000",
    ),
    (
        lambda f: change(f, preprocessing={"imagesize": 32}),
        "preprocessing has no 'imagesize'; known: interpolation, mean",
    ),
    (
        lambda f: change(f, preprocessing={"background": [0, 0, "0"]}),
        "background must be a whole number, got '0'",
    ),
    (
        lambda f: change(f, preprocessing={"mean": [0.5, 0.5]}),
        "mean must be 3 values, got [0.5, 0.5]",
    ),
    (lambda f: enlarge(f, img_size=[10**7, 32]), "img_size must be from 1 to 16384"),
    (lambda f: enlarge(f, window_size=1000), "entries do not fit the network"),
    (lambda f: enlarge(f, block_sizes=[10**4, 10**4]), "entries do not fit the network"),
    (lambda f: enlarge(f, drop_rate="0.5"), "drop_rate must be a number, got '0.5'"),
    (options(layers=[10**6] * 4), "parameters, which the weights do not have"),
    (options(stem_width=10**9), "stem_width must be from -1e+06 to 1e+06, got 1000000000"),
    (options(stem_width=2**14), "entries do not fit the network"),
    (options(stem_width=[[[1]]]), "stem_width must be text, got ["),
    (options(act_layer="x" * 10_000), "act_layer must have 1000 letters at most, got 10000"),
]
"""Entries that do not belong where they stand, and the message about each."""


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("damage", "message"), UNFIT)
def test_values_that_do_not_belong_where_they_stand_are_refused(saved, damage, message):
    damage(saved[0])
    with pytest.raises(InputError) as caught:
        load(saved[0])
    said = str(caught.value)
    assert message in said
    assert said.startswith(f"{saved[0] / 'model.json'}: does not describe a model: ")
    assert len(said) < 600 + len(str(saved[0]))


def write_header(folder, length, header):
    (folder / "model.safetensors").write_bytes(length.to_bytes(8, "little") + header)


def promise_data(folder):
    """A header that tells of more than the file holds."""
    header = b'{"a":{"dtype":"F32","shape":[1000000000],"data_offsets":[0,4000000000]}}'
    write_header(folder, len(header), header)


def cut_weights(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.usefixtures(
    "unchecked"
)  # the checks would refuse a list for an object before the code does
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut_weights, "model.safetensors: cannot be read as safetensors"),
        (
            lambda f: (f / "model.safetensors").write_bytes(b""),
            "model.safetensors: cannot be read as safetensors",
        ),
        (
            lambda f: (f / "model.safetensors").write_bytes(b"\xff" * 99),
            "cannot be read as safetensors",
        ),
        (
            lambda f: (f / "model.safetensors").unlink(),
            "model.safetensors: cannot be read as safetensors",
        ),
        (lambda f: (f / "model.json").unlink(), "holds no model; expected a run folder"),
        (lambda f: (f / "model.json").write_text("{"), "model.json: cannot be read as JSON"),
        (
            lambda f: (f / "model.json").write_bytes(b"\xff\xfe"),
            "model.json: cannot be read as JSON",
        ),
        (
            lambda f: (f / "model.json").write_text("[]"),
            "model.json: is not the description of a nommer model",
        ),
        (
            lambda f: (f / "model.json").write_text('{"a": 1}'),
            "is not the description of a nommer model",
        ),
        (
            lambda f: change(f, format=FORMAT + 1),
            "written by a newer nommer (format 2, known: 1); upgrade nommer",
        ),
        (lambda f: change(f, format="x"), "written by a newer nommer (format 'x', known: 1)"),
        (
            lambda f: change(f, architecture={"embed_dim": 7}),
            "does not describe a model: num_heads of stage 1",
        ),
        (lambda f: change(f, architecture={"colour": 7}), "does not describe a model"),
        (lambda f: change(f, architecture=None), "does not describe a model"),
        (
            lambda f: change(f, preprocessing={"image_size": 5}),
            "image_size must be 32 pixels or more, got 5",
        ),
        (
            lambda f: change(f, preprocessing={"crop_mode": "squish"}),
            "crop_mode must be center or squash, got",
        ),
        (
            lambda f: change(f, preprocessing={"interpolation": ["nearest"]}),
            "interpolation must be bicubic, bilin",
        ),
        (lambda f: change(f, preprocessing={"mean": None}), "does not describe a model"),
        (
            lambda f: change(f, preprocessing={"mean": [0.5, float("nan"), 0.5]}),
            "mean must be from -10000 to 10000, got nan",
        ),
        (
            lambda f: change(f, preprocessing={"mean": [1e39, 0, 0]}),
            "mean must be from -10000 to 10000, got 1e+39",
        ),
        (
            lambda f: change(f, preprocessing={"std": [1, 1e39, 1]}),
            "std must be from 0.0001 to 10000, got 1e+39",
        ),
        (
            lambda f: change(f, preprocessing={"std": [1e-39, 1, 1]}),
            "std must be from 0.0001 to 10000, got 1e-39",
        ),
        (
            lambda f: change(f, class_names=["a", "b"]),
            "the network has 3 outputs but 2 class names were given",
        ),
        (lambda f: write_header(f, 10**15, b"{}"), "cannot be read as safetensors"),
        (lambda f: write_header(f, 2**64 - 1, b"{}"), "cannot be read as safetensors"),
        (promise_data, "cannot be read as safetensors"),
        (
            spoil_weights,
            "2 entries hold values that are NaN or infinite: ",
        ),
        (make_whole_numbers, "norm.weight holds torch.int64, which the network does not"),
        (
            lambda f: enlarge(f, embed_dim=10**9),
            "embed_dim must be from -1e+06 to 1e+06, got 1000000000",
        ),
        (
            lambda f: enlarge(f, embed_dim=2**14),
            "entries do not fit the network: head.weight: expected (3, 131072), found (3, 128)",
        ),
        (
            lambda f: enlarge(f, depths=[1, 1, 10**9, 1]),
            "depths must be from -1e+06 to 1e+06, got 1000000000",
        ),
        (
            lambda f: enlarge(f, depths=[1, 1, 10**6, 1]),
            "parameters, which the weights do not have",
        ),
        (
            lambda f: (f / "model.json").write_text("[" * 100_000),
            "model.json: cannot be read as JSON",
        ),
        (
            lambda f: change(f, task="segmentation"),
            "does not describe a model: preprocessing has no 'crop_pct'",
        ),
        (lambda f: change(f, task=[]), "a model for the task [], which this nommer does not know"),
        (
            lambda f: change(f, architecture=[]),
            "model.json: does not describe a model: architecture must hold named values, got []",
        ),
        (
            lambda f: change(f, architecture="x"),
            "model.json: does not describe a model: architecture must hold named values, got 'x'",
        ),
        (
            lambda f: change(f, task="detection", head={"protocol": []}),
            "model.json: does not describe a model: protocol must hold named values, got []",
        ),
        (
            lambda f: change(f, task="clairvoyance"),
            "a model for the task 'clairvoyance', which this nommer does not know",
        ),
        (
            damage_shapes,
            "3 entries do not fit the network: extra: expected none, found (1,); norm.bias: "
            "expected (128,)",
        ),
    ],
)
def test_a_damaged_model_is_refused_with_the_file_and_the_reason(saved, damage, message):
    damage(saved[0])
    with pytest.raises(InputError) as caught:
        load(saved[0])
    assert message in str(caught.value)
    assert str(saved[0]) in str(caught.value)


def test_weights_of_another_model_are_refused(saved, tiny_classifier, tmp_path):
    folder, model = saved
    other = tiny_classifier(model.class_names, seed=4, global_pool="avg")
    save_model(tmp_path / "other", other, metrics={}, version="1")
    (tmp_path / "other" / "model.safetensors").rename(folder / "model.safetensors")
    with pytest.raises(
        InputError,
        match=r"safetensors: is damaged or was changed: its SHA-256 is \w{64}, model.json has",
    ):
        load(folder)


def test_models_from_before_there_were_checksums_load_without_a_word(saved, capsys):
    folder, model = saved
    change(folder)
    assert load(folder).class_names == model.class_names
    assert capsys.readouterr().err == ""


def test_a_description_that_is_written_otherwise_is_the_same(saved):
    folder, model = saved
    path = folder / "model.json"
    description = json.loads(path.read_text())
    path.write_text(json.dumps(dict(reversed(description.items())), ensure_ascii=True))
    assert load(folder).class_names == model.class_names


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(InputError, match=r"nowhere: does not exist; expected a run folder"):
        load(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"holds no model; expected a run folder"):
        load(tmp_path)
    (tmp_path / "config.yaml").touch()
    with pytest.raises(
        InputError, match=r"has no model/ yet \(training has not finished an epoch\)"
    ):
        load(tmp_path)


class Malice:
    """Unpickled, it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def save_legacy(content, path):
    torch.save(content, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize(
    "wrap", [lambda malice: malice, lambda malice: {"model": {"cnn1.weight": malice}}]
)
@pytest.mark.parametrize(
    "save", [torch.save, save_legacy, lambda c, p: p.write_bytes(pickle.dumps(c))]
)
@pytest.mark.parametrize("name", ["a.pt", "a.pth", "checkpoint"])
def test_a_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path, wrap, save, name):
    trace = tmp_path / "was here"
    save(wrap(Malice(trace)), tmp_path / name)
    with pytest.raises(InputError, match="anything else could run code when it is loaded"):
        load(tmp_path / name)
    assert not trace.exists()
    pickle.loads(pickle.dumps(Malice(trace)))
    assert trace.exists(), "it would have"


@pytest.fixture
def published(tiny_classifier):
    """A micro network, and its weights in the published layout."""
    torch.manual_seed(0)
    model = nommer.NomMer(nommer.backbone.variants.VARIANTS["nommer_micro"])
    model.reset_classifier(5)
    return model.eval(), to_published(model.state_dict())


@pytest.mark.parametrize(
    "wrap", [lambda s: s, lambda s: {"model": s, "epoch": 3}, lambda s: {"state_dict": s}]
)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_published_checkpoints_load(tmp_path, published, wrap, prefix):
    network, weights = published
    torch.save(wrap({prefix + name: value for name, value in weights.items()}), tmp_path / "a.pth")
    loaded = nommer.load(tmp_path / "a.pth")
    images = torch.rand(1, 3, 64, 64)
    assert torch.equal(loaded(images), network(images))
    assert loaded.class_names == tuple(f"class {index}" for index in range(5))
    assert loaded.preprocessing.image_size == 224
    assert not loaded.training


def test_published_weights_as_safetensors_load(tmp_path, published):
    network, weights = published
    save_file(
        {name: value.contiguous() for name, value in weights.items()}, tmp_path / "a.safetensors"
    )
    images = torch.rand(1, 3, 64, 64)
    assert torch.equal(nommer.load(tmp_path / "a.safetensors")(images), network(images))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"a": torch.zeros(1)},
            "not in the layout of the published NomMer checkpoints; for a nommer model give its",
        ),
        ({"a": 1, "b": 2}, "is not a state dict"),
        ([torch.zeros(1)], "is not a state dict"),
    ],
)
def test_checkpoints_of_other_things_are_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(InputError, match=message):
        load(tmp_path / "a.pt")


@pytest.mark.parametrize(
    "missing", ["pos_embedding", "mlp_head.0.weight", "transformer3.layers.0.0.norm.weight"]
)
def test_an_incomplete_published_checkpoint_is_refused(tmp_path, published, missing):
    weights = {name: value for name, value in published[1].items() if name != missing}
    torch.save(weights, tmp_path / "a.pt")
    with pytest.raises(InputError, match=r"a.pt: (no complete checkpoint|.* entries do not fit)"):
        load(tmp_path / "a.pt")


def test_a_published_layout_of_no_known_size_is_refused(tmp_path, published):
    weights = {
        name: value for name, value in published[1].items() if not name.startswith("transformer3")
    }
    torch.save(weights, tmp_path / "a.pt")
    with pytest.raises(InputError, match=r"no variant has width 16, depths \(1, 1, 0, 1\)"):
        load(tmp_path / "a.pt")


def test_files_that_are_no_checkpoints_are_refused(tmp_path):
    whole = tmp_path / "whole.pt"
    torch.save({"a": torch.zeros(1000)}, whole)
    contents = {
        "cut.pt": whole.read_bytes()[:500],
        "text.pt": b"hello there",
        "empty.pt": b"",
        "cut.safetensors": b"\x08",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError) as caught:
            load(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: ")


@given(st.binary(max_size=60).map(lambda tail: b"\x80\x02" + tail) | st.binary(max_size=60))
def test_any_bytes_are_refused_and_nothing_else(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "random.pt"
    path.write_bytes(content)
    with pytest.raises(InputError):
        load(path)


def test_weights_of_many_dtypes_are_refused_or_read(saved):
    folder, model = saved
    change(folder)
    weights = load_file(folder / "model.safetensors")
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        halves = {
            name: value.to(dtype) if value.is_floating_point() else value
            for name, value in weights.items()
        }
        save_file(halves | {"head.bias": weights["head.bias"]}, folder / "model.safetensors")
        assert load(folder).class_names == model.class_names
    for dtype in (torch.float8_e4m3fn, torch.complex64):
        changed = weights["head.bias"].to(dtype)
        save_file(weights | {"head.bias": changed}, folder / "model.safetensors")
        with pytest.raises(InputError, match=r"head.bias holds torch\.\w+, which the network does"):
            load(folder)


def zeros(*size):
    """As many zeros as one likes, of which the file holds one."""
    return torch.zeros(1).expand(*size)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"cnn1.weight": zeros(10**6, 10**6)}, "has more numbers than the file holds"),
        ({"a": torch.zeros(4).as_strided((10**9,), (0,))}, "more numbers than the file holds"),
        ({5: torch.zeros(1)}, "is not a state dict (names to tensors): 5 is Tensor"),
        ({("a",): torch.zeros(1)}, "is not a state dict (names to tensors): ('a',) is Tensor"),
        ({"a": torch.zeros(1), "b": {}}, "is not a state dict (names to tensors): b is dict"),
        ({"a": torch.zeros(2, 2).to_sparse()}, "is no checkpoint of plain tensors"),
        ({"a": torch.zeros(1, device="meta")}, "a is no plain tensor"),
        ({"x" * 100_000: 3}, f"is not a state dict (names to tensors): {'x' * 57}... is int"),
        ({}, "is not a state dict"),
        ({"model": {"state_dict": 3}}, "is not a state dict"),
    ],
)
def test_checkpoints_of_what_is_no_plain_tensor_are_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(InputError) as caught:
        load(tmp_path / "a.pt")
    assert message in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_packed_checkpoint_is_refused_before_it_is_unpacked(tmp_path):
    torch.save({"a": torch.zeros(10**6)}, tmp_path / "plain.pt")
    with (
        zipfile.ZipFile(tmp_path / "plain.pt") as source,
        zipfile.ZipFile(tmp_path / "a.pt", "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            target.writestr(name, source.read(name))
    with pytest.raises(InputError, match=r"is packed, and would take 400\d{4} bytes of memory"):
        load(tmp_path / "a.pt")


@pytest.mark.parametrize("rows", [10**6, 13**2 + 1, 0])
def test_constants_are_not_made_as_large_as_a_stranger_likes(tmp_path, published, rows):
    weights = dict(published[1])
    table = "transformer1.layers.0.0.fn.attention.relative_position_bias_table"
    weights[table] = torch.zeros(rows, weights[table].shape[1])
    torch.save(weights, tmp_path / "a.pt")
    with pytest.raises(InputError, match=r"a.pt: no complete checkpoint of a NomMer: "):
        load(tmp_path / "a.pt")


def with_prefix(prefix):
    return lambda weights: {prefix + name: value for name, value in weights.items()}


def compiled_inside(weights):
    return {
        name.replace(".layers.", ".layers._orig_mod."): value for name, value in weights.items()
    }


def in_lightning(weights):
    named = with_prefix("model._orig_mod.")(weights)
    return {"state_dict": named | {"loss.weight": torch.ones(3)}, "epoch": 3, "loops": {}}


def with_the_rest(weights):

    beside = {"args": Namespace(lr=0.1, out=Path("/x")), "best": np.float64(0.5)}
    return {"model": weights, "history": np.zeros(3), **beside}


@pytest.mark.parametrize(
    "wrap",
    [
        with_prefix("_orig_mod."),
        with_prefix("module._orig_mod."),
        with_prefix("model."),
        with_prefix("model.network."),
        compiled_inside,
        in_lightning,
        with_the_rest,
        lambda weights: {"model_ema": weights},
        lambda weights: {"ema": {"module": weights, "updates": 7}},
        lambda weights: {"model": {"state_dict": weights}},
    ],
)
@pytest.mark.parametrize("own", [False, True])
def test_weights_that_people_saved_by_hand_load(tmp_path, published, wrap, own, capsys):
    network, weights = published
    torch.save(wrap(network.state_dict() if own else weights), tmp_path / "a.pth")
    images = torch.rand(1, 3, 64, 64)
    assert torch.equal(nommer.load(tmp_path / "a.pth")(images), network(images))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("average", ["state_dict_ema", "model_ema", "ema"])
def test_of_two_kinds_of_weights_it_is_said_which(tmp_path, published, average, capsys):
    network, weights = published
    others = {name: torch.zeros_like(value) for name, value in weights.items()}
    torch.save({"state_dict": others, average: weights}, tmp_path / "a.pth")
    images = torch.rand(1, 3, 64, 64)
    assert torch.equal(nommer.load(tmp_path / "a.pth")(images), network(images))
    assert f"holds {average} and state_dict; the average, {average}, is taken" in (
        " ".join(capsys.readouterr().err.split())
    )


def test_nothing_that_lies_beside_weights_is_made(tmp_path, published):
    """Not even the module of its class is imported."""
    torch.save({"model": published[1], "at": Path("/somewhere")}, tmp_path / "a.pth")
    assert read_checkpoint(tmp_path / "a.pth").keys() == published[1].keys()
    trace = tmp_path / "was here"
    torch.save({"model": published[1], "args": Malice(trace)}, tmp_path / "b.pth")
    with pytest.raises(InputError, match="anything else could run code when it is loaded"):
        load(tmp_path / "b.pth")
    assert not trace.exists()


def test_a_checkpoint_of_a_run_tells_of_the_run(tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    path = tmp_path / "run" / "checkpoints" / "best.ckpt"
    torch.save({"state_dict": {"model.network.a": torch.zeros(1)}, "loops": {}}, path)
    with pytest.raises(InputError, match=rf"give the run folder, {tmp_path / 'run'}"):
        load(path)
