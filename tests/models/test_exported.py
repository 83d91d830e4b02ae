"""Exported files that are no models.

Refused in one sentence, which says what is the matter and nothing else.
"""

import json

import onnx
import pytest
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

    def build(text):
        images, logits = (
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [3])
            for name in ("images", "logits")
        )
        graph = helper.make_graph(
            [helper.make_node("Identity", ["images"], ["logits"])], "g", [images], [logits]
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        helper.set_model_props(model, {} if text is None else {"nommer": text})
        onnx.save(model, str(tmp_path / "model.onnx"))
        return tmp_path / "model.onnx"

    return build


def refusal(path):
    """What is said of a file, without its name."""
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
        ({"task": []}, FOREIGN),
        ({"preprocessing": None}, FOREIGN),
        ({"task": "detection", "category_ids": [1], "protocol": []}, FOREIGN),
    ],
)
def test_metadata_that_do_not_fit_are_refused_for_what_is_wrong_with_them(write, changes, said):
    assert refusal(write(json.dumps(TOLD | changes))).startswith(said)


@pytest.mark.parametrize("text", [None, "", "[]", "{}", "[" * 100_000])
def test_other_peoples_files_are_said_to_be_such(write, text):
    assert refusal(write(text)).startswith(FOREIGN)


def test_what_cannot_be_read_is_not_called_somebody_elses(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"nothing")
    assert refusal(tmp_path / "model.onnx").startswith("cannot be read as an ONNX model: ")
    assert "metadata" not in refusal(tmp_path / "model.onnx")
