"""Programs of torch.export: written and never read, whoever made them and whatever they hold.

What such a file holds is decoded, looked up and evaluated by PyTorch in so many places that no list
of forbidden words is complete.
"""

import json
import zipfile

import pytest
import torch
from torch import nn

import nommer
from nommer import InputError


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp("program") / "program.pt2"
    exported = torch.export.export(nn.Linear(3, 2), (torch.ones(2, 3),))
    torch.export.save(
        exported, path, extra_files={"nommer": json.dumps({"task": "classification"})}
    )
    return path


@pytest.fixture(autouse=True)
def _unread(monkeypatch):
    """Nothing may reach PyTorch's readers of programs."""

    def touched(*_args, **_kwargs):
        raise AssertionError("the file was read")

    for name in ("load", "pt2_archive.PT2ArchiveReader", "pt2_archive._package.load_pt2"):
        monkeypatch.setattr(f"torch.export.{name}", touched)


def refusal(path):
    with pytest.raises(InputError) as caught:
        nommer.load(path)
    return str(caught.value)


@pytest.mark.parametrize("name", ["model.pt2", "MODEL.PT2", "model.Pt2"])
@pytest.mark.parametrize("content", [None, b"", b"no program", b"PK\x03\x04 cut short"])
def test_programs_are_refused_in_one_sentence(program, tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(program.read_bytes() if content is None else content)
    assert refusal(path) == (
        f"{path}: is a program of torch.export, which can run any code when it is loaded; nommer "
        "writes such files and reads none: give model.onnx, or the run folder or model folder that "
        "it was made from"
    )


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "model", "model.zip", "model.onnx"])
def test_programs_under_other_names_are_refused_too(program, tmp_path, name):
    (tmp_path / name).write_bytes(program.read_bytes())
    assert refusal(tmp_path / name).startswith(f"{tmp_path / name}: ")


def test_programs_that_would_run_code_do_not(program, tmp_path):
    """Members that PyTorch's reader imports, evaluates or loads as a library."""
    touched = tmp_path / "touched"
    harm = f"__import__('pathlib').Path({str(touched)!r}).touch()"
    for member, change in {
        "guards_code": lambda value: value.update(guards_code=[harm]),
        "in_spec": lambda value: value["graph_module"]["module_call_graph"][0]["signature"].update(
            in_spec='[1, {"type":"collections.defaultdict", "context": "[]"}]'
        ),
    }.items():
        path = tmp_path / f"{member}.pt2"
        with zipfile.ZipFile(program) as source, zipfile.ZipFile(path, "w") as target:
            for name in source.namelist():
                content = source.read(name)
                if name.endswith("models/model.json"):
                    value = json.loads(content)
                    change(value)
                    content = json.dumps(value).encode()
                target.writestr(name, content)
        assert "reads none" in refusal(path)
    assert not touched.exists()
