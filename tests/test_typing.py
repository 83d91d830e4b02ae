"""The types of the package reach those who use it (`py.typed`)."""

import pytest

CLIENT = """
from pathlib import Path

import nommer
from nommer import Classifier, Detector, InputError, Segmenter

def top(image: Path) -> str:
    model = nommer.load("run")
    if isinstance(model, Classifier):
        return str(model.predict([image])[0].source)
    if isinstance(model, Segmenter | Detector):
        raise InputError("no classifier")
    return ""

result = nommer.train(data="photos", out="runs/photos", epochs=3)
out: Path = result.out
answers = nommer.predict("run", ["a.jpg"])
reveal_type(answers.out)
nommer.train(data="photos", out="run", epochs="three")
nommer.train(data="photos", out="run", epoch=3)
"""


@pytest.mark.slow
@pytest.mark.long
def test_a_client_is_checked_strictly_by_the_signatures_of_the_package(tmp_path, monkeypatch):
    mypy = pytest.importorskip("mypy.api")
    client = tmp_path / "client.py"
    client.write_text(CLIENT)
    monkeypatch.delenv("MYPYPATH", raising=False)  # it finds the package where it is installed
    monkeypatch.chdir(tmp_path)
    told, _, _ = mypy.run(["--strict", "--follow-imports=silent", str(client)])
    lines = told.splitlines()
    assert any("Revealed type is" in line and "pathlib.Path" in line for line in lines), told
    errors = [line for line in lines if ": error: " in line]
    assert len(errors) == 2, told
    assert 'Argument "epochs" to "train" has incompatible type "str"' in errors[0]
    assert 'Unexpected keyword argument "epoch" for "train"' in errors[1]
