"""The core answers images without any optional package, and others are missed in one sentence."""

import json
import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
from rich.console import Console

import nommer
from nommer import screen
from nommer.errors import InputError
from nommer.extras import MODULES, require
from nommer.models.storage import save_model
from nommer.tasks.checking import TaskCheck
from nommer.tasks.data import TaskData
from nommer.tasks.exporting import TaskExport
from nommer.tasks.model import TaskModel
from nommer.tasks.module import TaskModule
from nommer.tasks.registry import TASKS
from nommer.tasks.results import TaskResults
from nommer.tasks.studying import Study
from tests.slim import brought, required

SLIM = Path(__file__).with_name("slim.py")


def test_an_installed_package_is_imported():
    assert require("json", "data", "a feature") is json


def test_a_missing_package_is_one_sentence_with_the_command():
    with pytest.raises(
        InputError, match=r"^serve: needs the package no_such; pip install 'nommer\[serve\]'$"
    ):
        require("no_such.part", "serve", "serve")


def test_an_error_inside_the_package_is_not_called_missing(tmp_path, monkeypatch):
    (tmp_path / "broken_package.py").write_text("import not_there_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="not_there_at_all"):
        require("broken_package", "serve", "serve")


_ANSWER = """
import sys
import nommer
from nommer.cli import main

*models, image, out = sys.argv[1:]
for number, model in enumerate(models):
    assert main(["predict", model, image, "--out", f"{out}/{number}"]) == 0
assert nommer.load(models[0]).predict([image])[0].headline()
for name in nommer.__all__:
    getattr(nommer, name)
optional = "lightning torchmetrics sklearn scipy tensorboard matplotlib onnx onnxruntime datasets"
assert not set(optional.split()) & sys.modules.keys()
"""


def in_slim_process(script, *arguments, extras=()):
    command = [sys.executable, str(SLIM), *extras, "--", str(script), *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.slow
def test_models_of_every_kind_answer_with_the_packages_of_the_core_alone(
    tmp_path, tiny_classifier, tiny_segmenter, noisy
):
    models = [tmp_path / "classifier", tmp_path / "segmenter"]
    for path, model in zip(models, (tiny_classifier(), tiny_segmenter()), strict=True):
        save_model(path, model, metrics={}, version="0")
    noisy((200, 40, 30)).save(tmp_path / "image.png")
    (tmp_path / "answer.py").write_text(_ANSWER)
    with_masks = "nommer_nano.dsb2018"
    done = in_slim_process(
        tmp_path / "answer.py", *models, with_masks, tmp_path / "image.png", tmp_path / "out"
    )
    assert done.returncode == 0, done.stderr
    assert "Error" not in done.stderr
    assert len(list((tmp_path / "out").glob("*/result.json"))) == 3


NEEDS = {
    "benchmark": {"train"},
    "check": {"train"},
    "demo": {"train", "explain"},
    "embed": {"train"},
    "evaluate": {"train"},
    "explain": {"explain"},
    "export": {"train", "export"},
    "pretrain": {"train"},
    "prune": {"train"},
    "replay": {"train"},
    "serve": {"serve"},
    "train": {"train"},
}
"""The extras of every verb but predict."""

CALLS = {
    "benchmark": {},
    "check": {"data": "photos"},
    "demo": {},
    "embed": {"model": "run", "images": ["a.png"]},
    "evaluate": {"model": "run", "data": "photos"},
    "explain": {"model": "run", "images": ["a.png"]},
    "export": {"model": "run"},
    "pretrain": {"data": "photos", "teacher": "nommer_nano"},
    "prune": {"model": "run", "data": "photos", "out": "pruned"},
    "replay": {"run": "run"},
    "serve": {"models": ["run"]},
    "train": {"data": "photos", "out": "run"},
}


def take_away(monkeypatch, *extras):
    for module in {module for extra in extras for module in MODULES[extra]}:
        monkeypatch.setitem(sys.modules, module, None)  # as Python knows what is not there


def test_every_verb_is_looked_at():
    verbs = {name for name in nommer.__all__ if hasattr(getattr(nommer, name), "settings")}
    assert verbs == NEEDS.keys() | {"predict"}


@pytest.mark.parametrize(("verb", "extra"), [(v, e) for v, es in NEEDS.items() for e in sorted(es)])
def test_a_verb_whose_extra_lacks_says_so_and_does_nothing(verb, extra, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = set(MODULES[extra])
    take_away(monkeypatch, extra)
    with pytest.raises(InputError) as told:
        getattr(nommer, verb)(**CALLS[verb])
    lacking = [e for e in NEEDS[verb] if own & set(MODULES[e])]
    sentence = str(told.value)
    assert sentence.startswith(f"{verb}: needs what is not installed (")
    assert all(module in sentence for module in own)
    named = sentence.partition("pip install 'nommer[")[2].removesuffix("]'").split(",")
    assert set(named) == set(lacking)
    assert list(tmp_path.iterdir()) == []


def test_a_study_needs_more_than_pictures_of_images(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "lightning", None)
    with pytest.raises(InputError, match=r"^explain --data: .*'nommer\[train\]'$"):
        nommer.explain(model="run", data="photos")


def test_an_onnx_file_without_its_runtime_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(InputError, match=r"model.onnx: needs .* 'nommer\[export\]'$"):
        nommer.load(tmp_path / "model.onnx")


def test_every_package_that_a_verb_asks_for_is_brought_by_its_extra():
    distributions = {
        "sklearn": "scikit-learn",
        "python_multipart": "python-multipart",
    }
    for extra, modules in MODULES.items():
        declared = {requirement.name.lower() for requirement in required([extra])}
        names = {distributions.get(one, one.replace("_", "-")) for one in modules}
        assert names <= declared


def test_the_core_brings_nothing_of_training_and_exporting():
    apart = {"lightning", "torchmetrics", "scikit-learn", "scipy", "tensorboard", "matplotlib"}
    assert not brought() & (apart | {"onnx", "onnxscript", "onnxruntime", "datasets", "pandas"})


def test_every_part_of_a_task_is_there_and_of_its_kind():
    for task in TASKS.values():
        for name, kind in PARTS.items():
            part = getattr(task, name)
            assert isinstance(part, kind) or issubclass(part, kind), (task.name, name)
        assert task.studying is None or isinstance(task.studying, Study)


PARTS = {
    "data": TaskData,
    "model": TaskModel,
    "module": TaskModule,
    "results": TaskResults,
    "checking": TaskCheck,
    "exporting": TaskExport,
}


@pytest.fixture
def demo_without_exporting(monkeypatch, tmp_path):
    """Return the result of a demo whose other verbs answer at once, where no ONNX is installed."""
    from nommer import quickstart  # noqa: PLC0415 - scikit-learn takes seconds

    take_away(monkeypatch, "export")
    digits = tmp_path / "digits"
    for digit in range(10):
        (digits / "val" / str(digit)).mkdir(parents=True)
        (digits / "val" / str(digit) / "0.png").touch()
    done = Mock(out=tmp_path / "run")
    done.report.summary.return_value = {"top1": 1.0}
    monkeypatch.setattr(quickstart, "write_digits", lambda _out: digits)
    for name in ("train_model", "evaluate_model", "predict_images", "explain_files"):
        monkeypatch.setattr(quickstart, name, lambda _settings: done)
    return nommer.demo(out=tmp_path / "demo")


def test_the_demo_exports_nothing_where_the_packages_lack(
    demo_without_exporting, monkeypatch, capsys
):
    assert demo_without_exporting.export is None
    for name in ("show_evaluation", "show_predictions", "show_explanations"):
        monkeypatch.setattr(screen, name, lambda _result, _console: 0)
    assert screen.show_demo(demo_without_exporting, Console()) == 0
    assert "nothing is exported: pip install 'nommer[export]'\n" in capsys.readouterr().out
