"""`--compile`: the same weights under the same names, whole graphs, and validation that still sees
nominations.
"""

import shutil
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

import nommer
from nommer.acceleration import compile as speed
from nommer.acceleration.compile import channels_last, check_compiler, exact_float32
from nommer.errors import InputError
from nommer.runs.folder import RunFolder
from nommer.runs.results import prepare_folder

pytestmark = pytest.mark.usefixtures("sketched")

PARTS = 1 + 4 + 4
"""Of nommer_micro: the stem, what stands before each stage, and one block in each."""


def read(folder, name):
    return (folder / name).read_text()


def test_a_compiled_run_is_the_same_run(run, coloured, train_options, whole_graphs, tmp_path):
    trained = tmp_path / "plain"
    run("train --data", coloured, *train_options, "--network.balance 0 --out", trained)
    run("train --config", trained / "config.yaml", "--compile --out", tmp_path / "run")
    plain, compiled = nommer.load(trained).state_dict(), nommer.load(tmp_path / "run").state_dict()
    assert len(whole_graphs.functions) == 1 <= len(whole_graphs.graphs)
    assert plain.keys() == compiled.keys()
    torch.testing.assert_close(
        compiled, plain, rtol=1e-3, atol=1e-4
    )  # compiled, torch's own linear layers compute
    checkpoints = (
        torch.load(r / "checkpoints/last.ckpt", weights_only=True)
        for r in (trained, tmp_path / "run")
    )
    one, other = (list(checkpoint["state_dict"]) for checkpoint in checkpoints)
    assert one == other
    assert read(trained, "nominations.csv") == read(tmp_path / "run", "nominations.csv")
    assert "compile: true" in read(tmp_path / "run", "config.yaml")


@pytest.mark.slow
def test_a_segmenter_is_trained_with_both_heads_in_one_graph(
    run, scenes, segmented, whole_graphs, tmp_path
):
    told = "--compile --network.balance 0 --epochs 1 --out"
    run("train --config", segmented / "config.yaml", told, tmp_path / "run")
    assert [function.__name__ for function in whole_graphs.functions] == ["forward_with_auxiliary"]
    assert (
        nommer.load(segmented).state_dict().keys()
        == nommer.load(tmp_path / "run").state_dict().keys()
    )


@pytest.mark.parametrize(
    ("kind", "graphs"), [("trained", 1), pytest.param("segmented", PARTS, marks=pytest.mark.slow)]
)
def test_evaluation_is_the_same(run, request, whole_graphs, tmp_path, kind, graphs):
    """A classifier is one graph, a segmenter's images have many sizes."""
    model = request.getfixturevalue(kind)
    run("evaluate", model, "--compile --workers 0 --batch-size 9 --out", tmp_path / "out")
    assert len(whole_graphs.functions) == graphs <= len(whole_graphs.graphs)
    assert read(tmp_path / "out", "per_class.csv") == read(model, "per_class.csv")


def test_mistakes_are_told(refused, coloured, trained, tmp_path, monkeypatch, train_options):
    half = refused(
        "train --data", coloured, "--precision 16 --out", tmp_path / "run", *train_options
    )
    assert half == "--precision 16: is for GPUs; on the CPU use bf16 or 32"
    assert (
        refused("evaluate", trained, "--device cpu --precision 16 --out", tmp_path / "out") == half
    )
    monkeypatch.setenv("CXX", "no-such-compiler")
    missing = refused("train --data", coloured, "--compile --out", tmp_path / "run", *train_options)
    assert missing.startswith(
        "--compile: torch needs a C++ compiler and there is none on the path (looked for no-such"
    )


def test_what_cannot_be_compiled_deletes_nothing(
    refused, coloured, trained, tmp_path, monkeypatch, train_options, digest
):
    out, results = tmp_path / "run", tmp_path / "results"
    shutil.copytree(trained, out)
    prepare_folder(results)
    before = digest(tmp_path)
    monkeypatch.setenv("CXX", "no-such-compiler")
    for command in (
        ("train --data", coloured, "--out", out, *train_options),
        ("evaluate", trained, "--out", results),
    ):
        assert "there is none on the path" in refused(
            *command, "--compile --overwrite --device cpu"
        )
    assert digest(tmp_path) == before


def test_a_compiler_is_found_by_its_usual_names(monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(
        speed.shutil, "which", lambda name: "/bin/clang++" if name == "clang++" else None
    )
    check_compiler()
    monkeypatch.setattr(speed.shutil, "which", lambda name: None)
    with pytest.raises(InputError, match=r"looked for g\+\+, clang\+\+, cl"):
        check_compiler()


def test_a_run_in_half_precision_is_evaluated_in_full_on_the_cpu(
    run, trained, tmp_path, monkeypatch
):
    recorded = RunFolder.settings
    monkeypatch.setattr(
        RunFolder, "settings", lambda folder: replace(recorded(folder), precision="16")
    )
    printed = run("evaluate", trained, "--device cpu --workers 0 --out", tmp_path / "out")
    assert "the run's precision, 16, is for GPUs: on the CPU it computes in 32" in printed.err


def test_channels_last_moves_no_value_and_only_convolutions(tiny_classifier):
    model, images = tiny_classifier(), torch.randn(2, 3, 32, 32)
    before, scores = (
        {name: value.clone() for name, value in model.state_dict().items()},
        model(images),
    )
    channels_last(model)
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert model.network.stages[0].blocks[0].mixer.convolution.conv2.weight.stride()[1] == 1
    assert model.network.stages[2].pos_embed.is_contiguous()
    torch.testing.assert_close(model(images), scores)


def test_float32_is_not_rounded_for_the_time_being():
    before = torch.backends.cudnn.allow_tf32
    with exact_float32():
        assert not torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.allow_tf32 == before


@pytest.mark.usefixtures("unchecked")
def test_recomputed_activations_are_part_of_the_graph(tiny_classifier):
    torch.compiler.reset()
    plain, compiled = (tiny_classifier(drop_path_rate=0.3).train() for _ in range(2))
    images, gradients = torch.randn(4, 3, 32, 32), []
    for model in (plain, compiled):
        model.network.set_grad_checkpointing()
        whole = torch.compile(model.forward, fullgraph=True, backend="aot_eager", dynamic=False)
        torch.manual_seed(1)
        scores = (whole if model is compiled else model.forward)(images)
        F.cross_entropy(scores, torch.tensor([0, 1, 2, 0])).backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)
    norm = compiled.network.stages[0].blocks[0].mixer.convolution.norm1
    assert int(norm.num_batches_tracked) == 1
