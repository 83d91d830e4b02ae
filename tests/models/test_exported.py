"""Exported files that are no models.

Refused in one sentence, which says what is the matter and nothing else.
"""

import json

import onnx
import pytest
import torch
from onnx import TensorProto, helper

from nommer import InputError
from nommer.models.exported import load_exported

TOLD = {
    "format": 1,
    "task": "classification",
    "class_names": ["a", "b", "c"],
    "outputs": ["logits"],
    "preprocessing": {"image_size": 32},
    "precision": "float32",
}


@pytest.fixture
def write(tmp_path):
    """An ONNX file that computes nothing, with this text for its metadata, or without any."""

    def build(text, *, taken=("b", 3, 32, 32), given=("b", 3), kind=TensorProto.FLOAT):
        images = helper.make_tensor_value_info("images", kind, taken)
        logits = helper.make_tensor_value_info("logits", kind, given)
        axes = helper.make_tensor("axes", TensorProto.INT64, [2], [-1, -2])
        nodes = [
            helper.make_node("ReduceMean", ["images", "axes"], ["logits"], keepdims=0)
            if len(given) == 2
            else helper.make_node("Identity", ["images"], ["logits"])
        ]
        graph = helper.make_graph(nodes, "g", [images], [logits], [axes])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        helper.set_model_props(model, {} if text is None else {"nommer": text})
        onnx.save(model, str(tmp_path / "model.onnx"))
        return tmp_path / "model.onnx"

    return build


def refusal(path):
    """Return the message about a file, without its name."""
    with pytest.raises(InputError) as caught:
        load_exported(path)
    name, _, said = str(caught.value).partition(": ")
    assert name == str(path)
    return said


def test_the_small_file_is_a_model(write):
    assert load_exported(write(json.dumps(TOLD))).class_names == ("a", "b", "c")


FOREIGN = "was not written by `nommer export`, its metadata lack or spoil "


@pytest.mark.usefixtures(
    "unchecked"
)  # the checks would refuse a list for an object before the code does
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": 2}, "written by a newer nommer (format 2, known: 1); upgrade nommer"),
        (
            {"task": "depth"},
            "a model for the task 'depth', which this nommer does not know (known: ",
        ),
        ({"preprocessing": {"image_size": 5}}, "image_size must be 32 pixels or more, got 5"),
        ({"class_ids": ["x"]}, "3 class names but 1 class ids were given"),
        ({"task": []}, "a model for the task [], which this nommer does not know (known: "),
        ({"preprocessing": None}, "preprocessing must hold named values, got None"),
        (
            {"task": "detection", "category_ids": [1], "protocol": []},
            "protocol must hold named values, got []",
        ),
        ({"outputs": "logits"}, "outputs must be a list, got 'logits'"),
        ({"outputs": ["scores of all"]}, "gives scores of all with no dimensions, expected"),
        ({"class_names": ["a", "b", "x" * 9999]}, "class_names must have 1000 letters at most"),
        ({"class_names": ["a", "b", "\ud900"]}, "class_names must be text, got letters that are"),
        ({"threshold": float("nan")}, "threshold must be from 0 to 1, got nan"),
        ({"precision": "float17"}, "precision must be float32, float16 or int8, got 'float17'"),
        ({"stride": 0}, "stride must be from 1 to 1024, got 0"),
        ({"input": {"size": "x"}}, "size must be a whole number, got 'x'"),
        ({"preprocessing": {"mean": [float("nan")] * 3}}, "mean must be from -10000 to 10000"),
    ],
)
def test_metadata_that_do_not_fit_are_refused_for_what_is_wrong_with_them(write, changes, said):
    assert refusal(write(json.dumps(TOLD | changes))).startswith(said)


@pytest.mark.parametrize(
    ("graph", "said"),
    [
        ({"taken": (3,), "given": (3,)}, "takes {'images': ('tensor(float)', 1)}, expected images"),
        ({"kind": TensorProto.DOUBLE}, "takes {'images': ('tensor(double)', 4)}, expected images"),
        (
            {"given": ("b", 3, 32, 32)},
            "gives logits with 4 dimensions, expected 2; export the model again",
        ),
    ],
)
def test_graphs_of_another_kind_are_refused(write, graph, said):
    assert refusal(write(json.dumps(TOLD), **graph)).startswith(said)


def test_answers_of_another_shape_are_refused(write):
    """A graph tells other outputs than it gives."""
    path = write(json.dumps(TOLD))
    model = load_exported(path)
    for shape in ((2, 3), (3,), (1, 3, 4), ()):
        model.network.runtime = lambda _names, _images, shape=shape: [torch.zeros(shape)]
        with pytest.raises(
            InputError, match=r"gives logits of shape \(.*\) for images of shape \(1, 3, 32, 32\)"
        ):
            model(torch.zeros(1, 3, 32, 32))
    model.network.runtime = lambda _names, _images: [torch.zeros(1, 2)]
    with pytest.raises(InputError, match="gives scores of 2 classes, but its metadata name 3"):
        model(torch.zeros(1, 3, 32, 32))


@pytest.mark.parametrize("text", [None, "", "[]", "{}", "[" * 100_000])
def test_other_peoples_files_are_said_to_be_such(write, text):
    assert refusal(write(text)).startswith(FOREIGN)


def test_what_cannot_be_read_is_not_called_somebody_elses(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"nothing")
    assert refusal(tmp_path / "model.onnx").startswith("cannot be read as an ONNX model: ")
    assert "metadata" not in refusal(tmp_path / "model.onnx")
