"""`nommer export`: the model elsewhere, with proof."""

import errno
import json
import os
import shutil

import onnx
import pytest

import nommer
from nommer.checksums import BLANK, stamped
from nommer.exporting import export, quantising
from nommer.exporting.delivery import delivery
from nommer.models.onnx_files import CHECKSUM, METADATA, open_session
from nommer.models.storage import load, save_model
from nommer.settings.export import ExportSettings


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    """An export of the trained run."""
    return nommer.export(trained, out=tmp_path_factory.mktemp("export") / "onnx")


def test_export_delivers_a_model_with_a_passed_report(exported):
    report = json.loads((exported.out / "parity.json").read_text())
    assert report["passed"]
    assert report["largest_difference"] <= report["tolerance"] == 1e-4
    assert report["same_top1"] == report["runs"] == report["images"] * len(report["batches"])
    assert (exported.out / "model.onnx").stat().st_size > 100_000
    assert {path.name for path in exported.out.iterdir()} == {
        "model.onnx",
        "parity.json",
        "environment.json",
    }


def test_the_file_tells_classes_and_preprocessing(exported, trained):
    model = load(trained)
    session = open_session(exported.out / "model.onnx")
    told = json.loads(session.get_modelmeta().custom_metadata_map["nommer"])
    assert tuple(told["class_names"]) == model.class_names
    assert told["preprocessing"]["image_size"] == model.preprocessing.image_size
    assert session.get_inputs()[0].shape[1:] == [3, 32, 32]
    assert not isinstance(session.get_inputs()[0].shape[0], int)


def test_predict_and_evaluate_take_the_exported_model(
    exported, trained, run, refused, coloured, tmp_path
):
    file = exported.out / "model.onnx"
    run("evaluate", file, "--data", coloured, "--out", tmp_path / "onnx", "--workers 0")
    run("evaluate", trained, "--data", coloured, "--out", tmp_path / "torch", "--workers 0")
    ours, theirs = (
        json.loads((tmp_path / name / "result.json").read_text()) for name in ("onnx", "torch")
    )
    assert ours["confusion"] == theirs["confusion"]
    assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-5)
    assert (ours["precision"], ours["runtime"]) == ("32", "ONNX Runtime on the CPU")
    assert (theirs["precision"], theirs["runtime"]) == ("32", "PyTorch, fused, on cpu")
    assert "is an exported model, whose precision is float32" in refused(
        "predict", file, coloured, "--precision bf16"
    )
    said = run("predict", file, coloured, "--out", tmp_path / "answers", "--pictures false").err
    assert "precision 32, ONNX Runtime on the CPU" in said
    assert json.loads((tmp_path / "answers" / "environment.json").read_text())["precision"] == "32"
    answers = json.loads((tmp_path / "answers" / "result.json").read_text())
    paths = [answer["image"] for answer in answers]
    for answer, expected in zip(answers, load(trained).predict(paths), strict=True):
        assert answer["top"][0]["probability"] == pytest.approx(expected.probability, abs=1e-5)


@pytest.fixture
def written(exported, monkeypatch):
    """Exports write the exported model again, at once, instead of capturing the model that they are
    given.
    """

    def write(captured, description, path):
        shutil.copy(exported.out / "model.onnx", path)
        return load(path)

    monkeypatch.setattr(export, "capture", lambda model, size, *, whole: (None, None, ()))
    monkeypatch.setattr(export, "Captured", lambda *parts: parts)
    monkeypatch.setitem(export.FORMATS, "onnx", export.Format(".onnx", write))


@pytest.mark.usefixtures("written")
def test_an_earlier_export_stays_until_a_new_one_has_passed(
    exported, trained, coloured, process, refused, tmp_path
):
    out = tmp_path / "out"
    shutil.copytree(exported.out, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def left():
        assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == before
        return {path.name for path in out.glob("attempt/*")}

    command = ("--data", coloured, "--overwrite --out", out)
    killed = process("export", trained, *command, fault=["call", "replace", 3])
    assert killed.code == -9, "parity.json is there, the model is not"
    assert left() == {".candidate.onnx", "parity.json"}
    other = load(trained)
    other.network.head.bias.data += 0.01
    save_model(tmp_path / "other", other, metrics={}, version="0")
    assert "no model was delivered" in refused("export", tmp_path / "other", *command)
    assert left() == {"parity.json"}
    assert not json.loads((out / "attempt" / "parity.json").read_text())["passed"]


def test_what_goes_wrong_while_exporting_leaves_nothing_half_written(tmp_path):
    settings = ExportSettings(tmp_path, out=tmp_path / "out", overwrite=True)

    def deliver(content, error=None):
        with delivery(settings) as (_, made):
            (made / "model.onnx").write_text(content)
            if error:
                raise error

    with pytest.raises(OSError, match=r"No space left on device: '.*/attempt'"):
        deliver("half", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert not (tmp_path / "out").exists()  # so that the same command can be given again
    deliver("first")
    with pytest.raises(KeyboardInterrupt):
        deliver("half", KeyboardInterrupt())
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"model.onnx", "environment.json"}
    assert (tmp_path / "out" / "model.onnx").read_text() == "first"
    (tmp_path / "out" / "quantisation.json").write_text("of the first")
    deliver("second")
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    assert (tmp_path / "out" / "model.onnx").read_text() == "second"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda told: told.clear(),
            "was not written by `nommer export`, its metadata lack or spoil 'task'",
        ),
        (
            lambda told: told.update(format=2),
            "written by a newer nommer (format 2, known: 1); upgrade nommer",
        ),
        (
            lambda told: told.update(task="depth"),
            "a model for the task 'depth', which this nommer does not know",
        ),
        (
            lambda told: told.update(class_names=["red"]),
            "gives scores of 3 classes, but its metadata name 1",
        ),
        (
            lambda told: told["preprocessing"].update(image_size=48),
            "cannot compute images of shape (9, 3, 48, 48)",
        ),
    ],
)
def test_a_file_whose_metadata_were_changed_is_refused(
    exported, refused, coloured, tmp_path, change, message
):
    model = onnx.load(str(exported.out / "model.onnx"))
    props = {prop.key: prop for prop in model.metadata_props}
    told = json.loads(props[METADATA].value)
    change(told)
    props[METADATA].value = json.dumps(told)
    props[CHECKSUM].value = BLANK.decode()  # whoever changes a file can stamp it anew
    (tmp_path / "model.onnx").write_bytes(stamped(model.SerializeToString()))
    command = ("predict", tmp_path / "model.onnx", coloured / "val", "--out", tmp_path / "answers")
    assert message in refused(*command)


def test_an_exported_model_is_explained_by_occlusion_and_refused_where_a_network_is_needed(
    exported, coloured, run, refused, tmp_path
):
    file = exported.out / "model.onnx"
    image = next(coloured.rglob("*.png"))
    run("explain", file, image, "--out", tmp_path / "drawn")
    assert len(list((tmp_path / "drawn").glob("*.png"))) == 1
    assert "is an exported model" in refused(
        "explain", file, "--data", coloured, "--workers 0 --out", tmp_path / "e"
    )
    assert "is an exported model" in refused("export", file, "--data", coloured)
    options = ["--model nommer_micro --image-size 32 --epochs 1 --workers 0"]
    assert "is an exported model" in refused(
        "train --data", coloured, "--out", tmp_path / "t", "--pretrained", file, *options
    )


def test_foreign_and_cut_onnx_files_are_refused(exported, refused, coloured, tmp_path):
    broken = tmp_path / "broken.onnx"
    whole = (exported.out / "model.onnx").read_bytes()
    for content in (b"", b"no graph", whole[: len(whole) // 2]):
        broken.write_bytes(content)
        assert "broken.onnx: cannot be read as an ONNX model" in refused(
            "predict", broken, coloured
        )


def test_integers_are_delivered_with_what_they_cost(trained, run, coloured, tmp_path):
    out = run("export", trained, "--precision int8 --max-drop 0.5 --out", tmp_path / "int8").out
    report = json.loads((tmp_path / "int8" / "quantisation.json").read_text())
    assert report["passed"]
    assert report["metric"] == "top1"
    assert report["judged_images"] == 9
    assert report["drop"] == pytest.approx(report["float32"] - report["int8"])
    assert "8-bit integers against float32" in out
    model = tmp_path / "int8" / "model.onnx"
    told = json.loads(open_session(model).get_modelmeta().custom_metadata_map["nommer"])
    assert (told["precision"], told["input"]["dynamic_batch"]) == ("int8", True)
    run("evaluate", model, "--data", coloured, "--out", tmp_path / "evaluated", "--workers 0")
    evaluated = json.loads((tmp_path / "evaluated" / "result.json").read_text())
    assert evaluated["top1"] == pytest.approx(report["int8"])


@pytest.mark.usefixtures("written")
def test_integers_that_answer_otherwise_are_refused(trained, refused, tmp_path, monkeypatch):
    monkeypatch.setattr(quantising, "_evaluate", lambda *_: ("top1", 0.9, 0.8))
    said = refused("export", trained, "--precision int8 --max-drop 0.01 --out", tmp_path / "int8")
    assert "no model was delivered; allow more with --max-drop" in said
    left = tmp_path / "int8" / "attempt"
    assert {path.name for path in left.iterdir()} == {"parity.json", "quantisation.json"}
    assert {path.name for path in left.parent.iterdir()} == {"attempt", "environment.json"}
    assert not json.loads((left / "quantisation.json").read_text())["passed"]
    assert "for --format onnx only" in refused(
        "export", trained, "--precision int8 --format torch_export"
    )
    assert "--max-drop must be from 0 to 1" in refused(
        "export", trained, "--precision int8 --max-drop 2"
    )
    assert "--max-drop is for --precision int8 or float16 and --whole only" in refused(
        "export", trained, "--max-drop 0.1"
    )
    assert "--precision: Expected one of 'float32', 'float16', 'int8'" in refused(
        "export", trained, "--precision bf16"
    )
