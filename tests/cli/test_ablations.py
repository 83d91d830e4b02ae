"""Ablations of the network through the real command line.

Trained, saved, loaded, evaluated, explained, exported.
"""

import csv
import json
from contextlib import redirect_stdout
from io import StringIO

import pytest
import yaml

import nommer
from nommer.backbone.contexts import CONTEXTS
from nommer.cli import main
from nommer.models.networks import describe_network

pytestmark = pytest.mark.usefixtures("sketched")

ABLATIONS = {
    "convolution": (["--network.contexts", "[convolution]"], {"contexts": ["convolution"]}),
    "window": (["--network.contexts", "[window]"], {"contexts": ["window"]}),
    "global": (["--network.contexts", "[global]"], {"contexts": ["global"]}),
    "two": (
        ["--network.contexts", "[global, convolution]"],
        {"contexts": ["convolution", "global"]},
    ),
    "softmax": (["--network.fusion", "softmax"], {"fusion": "softmax"}),
    "sum": (["--network.fusion", "sum"], {"fusion": "sum"}),
    "average": (["--network.compression", "average"], {"compression": "average"}),
    "r": (["--network.kept_coefficients", "[3, 1]"], {"kept_coefficients": [3, 1]}),
}
SILENT = ("convolution", "window", "global", "sum")
"""Those in which nothing nominates."""


@pytest.fixture(scope="module")
def ablated(tmp_path_factory, coloured, train_options):
    """Train an ablation for one epoch, once; the run folder, to be read only."""
    folder, options = tmp_path_factory.mktemp("ablated"), [*train_options, "--epochs=1"]

    def train(name):
        out = folder / name
        if not out.exists():
            with redirect_stdout(StringIO()) as printed:
                assert (
                    main(
                        [
                            "train",
                            "--data",
                            str(coloured),
                            "--out",
                            str(out),
                            *options,
                            *ABLATIONS[name][0],
                        ]
                    )
                    == 0
                )
            (folder / f"{name}.txt").write_text(printed.getvalue())
        return out

    return train


def plain(value):
    return json.loads(json.dumps(value))


@pytest.mark.parametrize("name", ABLATIONS)
def test_is_trained_saved_and_loaded_by_the_same_command(ablated, name):
    out, told = ablated(name), ABLATIONS[name][1]
    config = yaml.safe_load((out / "config.yaml").read_text())["network"]
    saved = json.loads((out / "model" / "model.json").read_text())["architecture"]
    loaded = plain(describe_network(nommer.load(out).network))
    assert all(saved[field] == loaded[field] == value for field, value in told.items())
    assert all(set(config[field]) == set(value) for field, value in told.items())
    rest = {
        "contexts": list(CONTEXTS),
        "fusion": "nomination",
        "compression": "dct",
        "kept_coefficients": None,
    }
    assert all(loaded[field] == value for field, value in rest.items() if field not in told)


@pytest.mark.parametrize("name", ABLATIONS)
def test_is_evaluated_as_at_the_end_of_training(ablated, run, coloured, tmp_path, name):
    out = ablated(name)
    run("evaluate", out, "--data", coloured, "--out", tmp_path / "evaluated", "--workers 0")
    evaluated, trained = (
        json.loads((path / "result.json").read_text()) for path in (tmp_path / "evaluated", out)
    )
    assert evaluated["loss"] == trained["loss"]


@pytest.mark.parametrize("name", [name for name in ABLATIONS if name not in SILENT])
def test_what_nominates_is_recorded_and_explained(ablated, run, coloured, tmp_path, name):
    out, contexts = ablated(name), ABLATIONS[name][1].get("contexts", CONTEXTS)
    with (out / "nominations.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["block"] for row in rows] == ["stage 1 block 1", "stage 2 block 1"]
    for row in rows:
        assert sum(float(row[context]) for context in contexts) == pytest.approx(1)
    run("explain", out, coloured / "val" / "red", "--out", tmp_path / "explained")
    (first, *_) = json.loads((tmp_path / "explained" / "result.json").read_text())
    assert list(first["shares"]["stage 1 block 1"]) == list(CONTEXTS)


@pytest.mark.parametrize("name", SILENT)
def test_what_does_not_nominate_is_explained_by_attribution_and_not_studied(
    ablated, run, refused, coloured, tmp_path, name
):
    out = ablated(name)
    assert not (out / "nominations.csv").exists()
    assert not (out / "nominations.png").exists()
    run("explain", out, coloured / "val" / "red", "--out", tmp_path / "drawn")
    assert len(list((tmp_path / "drawn").glob("*.png"))) == 3
    (first, *_) = json.loads((tmp_path / "drawn" / "result.json").read_text())
    assert "shares" not in first
    message = refused("explain", out, "--data", coloured, "--out", tmp_path / "explained")
    contexts = ", ".join(ABLATIONS[name][1].get("contexts", CONTEXTS))
    fusion = ABLATIONS[name][1].get("fusion", "nomination")
    assert message.startswith(
        f"{out}: nothing nominates in its network (contexts {contexts}, fusion {fusion}); give a"
    )
    assert not (tmp_path / "explained").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["window", "softmax", "average"])
@pytest.mark.long
def test_is_exported_with_a_passed_report(ablated, run, tmp_path, name):
    run("export", ablated(name), "--out", tmp_path / "onnx")
    assert json.loads((tmp_path / "onnx" / "parity.json").read_text())["passed"]


def test_a_segmenter_is_ablated_by_the_same_options(run, scenes, segment_options, tmp_path):
    out = tmp_path / "run"
    options = [
        *segment_options,
        "--epochs=1",
        "--network.fusion=sum",
        "--network.compression=average",
    ]
    run("train --data", scenes, "--out", out, *options)
    backbone = nommer.load(out).network.backbone
    assert (backbone.config.fusion, backbone.config.compression) == ("sum", "average")
    run("predict", out, scenes / "images" / "val", "--out", tmp_path / "answers")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--network.contexts=[]"],
            "--network: contexts must be one or more of convolution, window, global",
        ),
        (
            ["--network.contexts=[window,window]"],
            "--network: contexts must be one or more of convolution, window, glo",
        ),
        (["--network.contexts=[spectral]"], "spectral"),
        (["--network.fusion=mean"], "mean"),
        (
            ["--network.contexts=[window]", "--network.fusion=sum"],
            "--network: fusion must be left out where there is one context (window), got 'sum'",
        ),
        (
            ["--network.contexts=[window,convolution]", "--network.compression=average"],
            "--network: compression must be left out without the global context, got 'average'",
        ),
        (
            ["--network.kept-coefficients=[9,1]"],
            "--network: kept_coefficients must be 2 numbers from 1 to the block_sizes (4, 4), got "
            "(9, 1)",
        ),
        (
            ["--model=timm:test_resnet", "--network.fusion=sum"],
            "--network.fusion: does nothing for a network of timm",
        ),
    ],
)
def test_options_that_make_no_network_are_refused(
    refused, coloured, train_options, tmp_path, options, message
):
    assert message in refused(
        "train --data", coloured, "--out", tmp_path / "run", *train_options, *options
    )
    assert not (tmp_path / "run").exists()


def test_weights_of_another_ablation_are_refused(
    ablated, refused, coloured, train_options, tmp_path
):
    source = ablated("softmax")
    told = refused(
        "train --data",
        coloured,
        "--out",
        tmp_path / "run",
        *train_options,
        "--pretrained",
        source,
        "--network.fusion=sum",
    )
    assert (
        "is another network, with fusion softmax (now sum); choose the --model and --network "
        "options" in told
    )


@pytest.mark.parametrize(("name", "drawn"), [("two", "nominations.png, "), ("window", "")])
def test_only_pictures_that_are_there_are_named(ablated, name, drawn):
    printed = ablated(name).with_suffix(".txt").read_text()
    assert f"curves.png, confusion_matrix.png, {drawn}val_predictions.jpg" in " ".join(
        printed.split()
    )
