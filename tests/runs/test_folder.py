"""The run folder: what may be deleted to make room for results, and by whom."""

import json
from pathlib import Path

import pytest

from nommer.data.formats.labelled import Issue
from nommer.errors import InputError
from nommer.runs.folder import RunFolder
from nommer.runs.lock import locked
from nommer.runs.results import ENVIRONMENT, check_folder, environment, prepare_folder
from nommer.runs.results_folder import results_folder


def make_run(path):
    """A folder as a training leaves it, with results of W&B that hold a `config.yaml` too."""
    for name in ("checkpoints", "model", "wandb/run-1/files"):
        (path / name).mkdir(parents=True)
    for name in (
        "config.yaml",
        "checkpoints/last.ckpt",
        "model/model.safetensors",
        "wandb/run-1/files/config.yaml",
    ):
        (path / name).touch()
    (path / ENVIRONMENT).write_text(json.dumps(environment()))
    return path


@pytest.fixture
def run_folder(tmp_path):
    return make_run(tmp_path / "run")


@pytest.mark.parametrize("lost", ["nothing", "config.yaml", "checkpoints/last.ckpt"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_no_results_take_the_place_of_a_run(run_folder, digest, lost, overwrite):
    (run_folder / lost).unlink(missing_ok=True)
    before = digest(run_folder)
    with pytest.raises(InputError) as caught:
        results_folder(None, "check", run_folder, overwrite=overwrite)
    told = f"{run_folder}: holds a training run, {run_folder}, which may not be deleted"
    assert str(caught.value) == f"{told}; choose another --out"
    assert digest(run_folder) == before


def test_nor_of_a_folder_with_a_run_in_it(tmp_path, digest):
    prepare_folder(tmp_path / "demo")
    run = make_run(tmp_path / "demo" / "deep" / "run")
    before = digest(tmp_path)
    for replaced in (
        None,
        tmp_path / "demo",
        tmp_path / "demo" / "run",
    ):  # another verb, a training, the demo
        with pytest.raises(
            InputError, match=f"demo: holds a training run, {run}, which may not be deleted"
        ):
            prepare_folder(tmp_path / "demo", overwrite=True, replaced=replaced)
    assert digest(tmp_path) == before


def test_a_training_replaces_its_run_and_the_demo_its_own(run_folder, tmp_path):
    RunFolder(run_folder).check(resume=False, overwrite=True)
    with locked(run_folder):
        prepare_folder(run_folder, overwrite=True, replaced=run_folder)
    assert not (run_folder / "model").exists()
    prepare_folder(tmp_path / "demo")
    run = make_run(tmp_path / "demo" / "run")
    with locked(run), pytest.raises(InputError, match="demo/run: a run is writing there"):
        prepare_folder(tmp_path / "demo", overwrite=True, replaced=run)
    assert (run / "model").exists()
    prepare_folder(tmp_path / "demo", overwrite=True, replaced=run)
    assert {path.name for path in (tmp_path / "demo").iterdir()} == {ENVIRONMENT}


def test_a_run_without_a_checkpoint_is_started_again(run_folder):
    run = RunFolder(run_folder)
    with pytest.raises(InputError, match=r"or use --overwrite, or --resume to go on with a run$"):
        run.check(resume=False, overwrite=False)
    run.check(resume=True, overwrite=False)
    run.last.unlink()
    with pytest.raises(InputError, match=r"choose another --out or use --overwrite$"):
        run.check(resume=False, overwrite=False)
    with pytest.raises(InputError) as caught:
        run.check(resume=True, overwrite=False)
    assert str(caught.value) == (
        f"{run_folder}: nothing to resume, {run.last} does not exist; start again with "
        "--overwrite, without --resume"
    )
    run.check(resume=False, overwrite=True)


def test_results_are_not_put_where_a_run_is_being_made(tmp_path):
    with locked(tmp_path / "out"), pytest.raises(InputError, match="out: a run is writing there"):
        check_folder(tmp_path / "out", overwrite=False)


def test_overwrite_does_not_delete_the_model_or_the_images(tmp_path, monkeypatch):
    out, elsewhere = tmp_path / "out", tmp_path / "photo.png"
    prepare_folder(out)
    for file in (out / "model.onnx", out / "images" / "a.png", elsewhere):
        file.parent.mkdir(exist_ok=True)
        file.touch()
    for model, image in ((out / "model.onnx", elsewhere), (None, out / "images" / "a.png")):
        with pytest.raises(
            InputError, match=f"{out}/.*: lies in {out}, which --overwrite would delete"
        ):
            results_folder(model, "predict", out, overwrite=True, images=[elsewhere, image])
    assert (out / "model.onnx").exists()
    monkeypatch.chdir(out)
    results_folder(
        elsewhere.with_name("nommer_nano"), "predict", out, overwrite=True, images=[elsewhere]
    )
    assert {path.name for path in out.iterdir()} == {ENVIRONMENT}


def test_issues_are_read_as_they_were_written_whatever_the_file_is_called(tmp_path):
    names = ("a b.png", "a\u2028b\u0085c\x1cd.png", "a\nb\r.png", "f\udcfc.png")
    issues = [Issue(str(tmp_path / name), "is damaged", "left out") for name in names]
    run = RunFolder(tmp_path)
    assert run.read_issues() == []
    for written in (issues, []):
        run.write_issues(written)
        assert run.read_issues() == written


def test_a_new_folder_is_given_to_one_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mkdir = Path.mkdir

    def too_late(path, *arguments, **options):
        if path.name in (
            "check",
            "check-2",
        ):  # another process makes it once it was seen to be free
            mkdir(path, exist_ok=True)
        mkdir(path, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", too_late)
    assert results_folder(None, "check", None, overwrite=False) == Path("runs/check-3")
    assert not list((tmp_path / "runs" / "check").iterdir())


@pytest.mark.parametrize("name", ["runs", "away"])
def test_a_new_folder_that_cannot_be_made_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").symlink_to("away")
    if name == "away":
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=r"runs/check: cannot be made: .*; choose another --out"):
        results_folder(None, "check", None, overwrite=False)


@pytest.mark.parametrize(
    "content", [b"[", b"[]", b"null", b"5", b"[" * 100_000, b'{"a":' * 100_000, b"\xff\0" * 9]
)
def test_damaged_small_files_are_told_in_one_sentence(tmp_path, content):
    run = RunFolder(tmp_path)
    run.classes.write_bytes(content)
    with pytest.raises(InputError, match=r"classes.json: is damaged \(.*\); put back a copy, or"):
        run.read_json(run.classes)
    (tmp_path / "data_issues.jsonl").write_bytes(content)
    with pytest.raises(InputError, match=r"data_issues.jsonl: is damaged \(.*\); put back a copy"):
        run.read_issues()
    run.config.write_bytes(content)
    with pytest.raises(
        InputError, match=r"config.yaml: (cannot be read as YAML|holds no settings)"
    ):
        run.settings()
