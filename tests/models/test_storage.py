"""Models on disk: what is written comes back exactly, what is damaged or hostile is refused and
never run.
"""

import json
import os
import pickle
import signal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import nommer
from nommer.backbone.checkpoint import to_published
from nommer.errors import InputError
from nommer.models.storage import FORMAT, load, save_model


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
            "mean must be from -10000 to 10000, got (0.5, nan, 0.5)",
        ),
        (
            lambda f: change(f, preprocessing={"mean": [1e39, 0, 0]}),
            "mean must be from -10000 to 10000, got (1e+39, 0, 0)",
        ),
        (
            lambda f: change(f, preprocessing={"std": [1, 1e39, 1]}),
            "std must be above 0, from 0.0001 to 10000, got (1, 1e+39, 1)",
        ),
        (
            lambda f: change(f, preprocessing={"std": [1e-39, 1, 1]}),
            "std must be above 0, from 0.0001 to 10000, got (1e-39, 1, 1)",
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
            "2 entries hold values that are no numbers (NaN or infinite): ",
        ),
        (make_whole_numbers, "norm.weight holds torch.int64, which the network does not"),
        (
            lambda f: enlarge(f, embed_dim=10**9),
            "embed_dim 1000000000, but no entry of the weights is wider than",
        ),
        (lambda f: enlarge(f, depths=[1, 1, 10**9, 1]), "1000000003 blocks, but"),
        (
            lambda f: (f / "model.json").write_text("[" * 100_000),
            "model.json: cannot be read as JSON",
        ),
        (lambda f: change(f, task="segmentation"), "does not describe a model: 'head'"),
        (lambda f: change(f, task=[]), "a model for the task [], which this nommer does not know"),
        (
            lambda f: change(f, architecture=[]),
            "model.json: does not describe a model: 'list' object has no",
        ),
        (
            lambda f: change(f, architecture="x"),
            "model.json: does not describe a model: 'str' object has no",
        ),
        (
            lambda f: change(f, task="detection", head={"protocol": []}),
            "model.json: does not describe a model: 'list' object has no",
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
