"""Programs of torch.export.

Read where they are plain data, refused where anything would be executed.
"""

import json
import pickle
import zipfile

import pytest
import torch
from torch import nn
from torch.export import Dim

from nommer import InputError
from nommer.models.programs import open_program


class Touch:
    """Pickled, it writes a file when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp("program") / "program.pt2"
    exported = torch.export.export(
        nn.Linear(3, 2), (torch.ones(2, 3),), dynamic_shapes=({0: Dim("batch")},)
    )
    for node in exported.graph.nodes:
        node.meta = {name: value for name, value in node.meta.items() if name == "val"}
    exported.example_inputs = None
    torch.export.save(exported, path, extra_files={"told": "names"})
    return path


@pytest.fixture
def changed(program, tmp_path):
    """The program with one member changed by a function of its content."""

    def change(ending, function):
        path = tmp_path / "program.pt2"
        with zipfile.ZipFile(program) as source, zipfile.ZipFile(path, "w") as target:
            for name in source.namelist():
                content = source.read(name)
                target.writestr(name, function(content) if name.endswith(ending) else content)
        return path

    return change


def changed_json(function):
    def change(content):
        value = json.loads(content)
        function(value)
        return json.dumps(value).encode()

    return change


def test_a_program_of_plain_data_runs(program, changed):
    for path in (program, changed("nothing", bytes)):
        module, extra = open_program(path)
        assert extra == {"told": "names"}
        assert module(torch.ones(5, 3)).shape == (5, 2)


def rename_target(value):
    value["graph_module"]["graph"]["nodes"][-1]["target"] = "torch.os.system"


def add_guard(value):
    value["guards_code"] = ["__import__('os').system('true')"]


def add_expression(value):
    value["graph_module"]["graph"]["sym_int_values"]["s9"] = {
        "as_expr": {"expr_str": "__import__('os').system('true')", "hint": None}
    }


@pytest.mark.parametrize("harm", [rename_target, add_guard, add_expression])
def test_code_in_the_graph_is_refused(changed, harm):
    with pytest.raises(InputError, match="could run code when it is loaded"):
        open_program(changed("models/model.json", changed_json(harm)))


def test_pickles_are_refused_unread(changed, tmp_path):
    touched = tmp_path / "touched"
    harmful = pickle.dumps(Touch(touched))
    with pytest.raises(InputError, match=r"pickled values in data/sample_inputs/model.pt"):
        open_program(changed("sample_inputs/model.pt", lambda _: harmful))

    def mark(value):
        for entry in value["config"].values():
            entry["use_pickle"] = True

    with pytest.raises(InputError, match="use_pickle True"):
        open_program(changed("weights_config.json", changed_json(mark)))
    assert not touched.exists()


@pytest.mark.parametrize("content", [b"", b"no program", b"PK\x03\x04 cut short"])
def test_what_is_no_program_is_refused_in_one_sentence(tmp_path, content):
    (tmp_path / "broken.pt2").write_bytes(content)
    with pytest.raises(InputError, match=r"broken.pt2: cannot be read as a torch.export program"):
        open_program(tmp_path / "broken.pt2")
    with pytest.raises(InputError, match=r"absent.pt2: cannot be read"):
        open_program(tmp_path / "absent.pt2")
