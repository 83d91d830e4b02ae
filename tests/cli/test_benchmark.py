"""`nommer benchmark`.

What it measures, what it writes, and what it says of what cannot be measured.
"""

import json

import pytest
import torch
from PIL import Image

from nommer.benchmarking.benchmark import Bench, name_failure
from nommer.benchmarking.cases import Case, groups_of
from nommer.benchmarking.models import Networks, build
from nommer.benchmarking.report import to_markdown
from nommer.benchmarking.results import BenchmarkResult
from nommer.benchmarking.timing import Spread, matrix_peak, peak_memory, time_in_turns
from nommer.models.costs import giga_macs
from nommer.settings.benchmark import BenchmarkSettings, listed

FAST = "--device cpu --rounds 2 --seconds 0.2"


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Results of one small benchmark through the command line, both modes, two sizes."""
    from nommer.cli import main  # noqa: PLC0415 - Lightning takes seconds, which not every test needs

    out = tmp_path_factory.mktemp("benchmark") / "out"
    lists = "--models nommer_micro --peers test_resnet --sizes 32,64 --batches 2 --mode both"
    assert main(["benchmark", *lists.split(), *FAST.split(), "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def result(measured):
    return json.loads((measured / "result.json").read_text())


def test_every_case_is_a_row_with_all_numbers(result):
    rows = result["measurements"]
    assert len(rows) == 2 * (3 + 2)  # fused is for inference, and no peer can be
    assert {(row["model"], row["backend"]) for row in rows} == {
        ("nommer_micro", "eager"), ("nommer_micro", "fused"), ("test_resnet", "eager"),
    }  # fmt: skip
    for row in rows:
        assert row["failure"] is None
        assert row["seconds"]["low"] <= row["seconds"]["median"] <= row["seconds"]["high"]
        assert row["images_per_second"] == pytest.approx(row["batch"] / row["seconds"]["median"])
        assert row["memory_bytes"] > 4 * 300_000  # at least the weights
        assert 0 < row["share_of_peak"] < 1
        if row["model"] == "test_resnet":
            assert row["ratio"]["median"] == 1


def test_training_needs_more_than_inference(result):
    of = {
        (row["model"], row["mode"], row["size"]): row
        for row in result["measurements"]
        if (row["backend"], row["precision"], row["batch"]) == ("eager", "32", 2)
    }
    for model in ("nommer_micro", "test_resnet"):
        assert (
            of[model, "training", 64]["memory_bytes"] > of[model, "inference", 64]["memory_bytes"]
        )


def test_the_report_can_be_read_and_repeated(measured, result):
    report = (measured / "report.md").read_text()
    assert result["environment"]["packages"]["torch"] in report
    for words in (
        "## training, precision 32, 64 x 64",
        "| nommer_micro | fused | 2 |",
        "| nommer_micro | 0.4 |",
        "against test_resnet",
        "## Time per image, in times of that at 32",
    ):
        assert words in report
    with Image.open(measured / "time_by_pixels.png") as picture:
        assert min(picture.size) > 300
    assert (measured / "environment.json").is_file()


def test_lists_come_as_text_or_as_lists(tmp_path):
    assert listed("1, 4,4") == ("1", "4")
    assert listed([1, 4]) == (1, 4)
    assert listed(224) == (224,)
    assert listed("") == ()


def test_fused_models_are_compared_with_plain_peers(settings):
    groups = groups_of(settings(backends="fused"))
    assert [(case.model, case.backend) for case in groups[0]] == [
        ("nommer_micro", "fused"),
        ("test_resnet", "eager"),
    ]


@pytest.fixture
def settings(tmp_path):
    def settings(**changes):
        given = {
            "models": "nommer_micro", "peers": "test_resnet", "sizes": "32", "batches": "1",
            "precisions": "32", "backends": "eager", "mode": "inference", "device": "cpu",
            "threads": 1, "rounds": 1, "seconds": 0.1, "minutes": 1.0, "out": tmp_path / "out",
            "overwrite": False,
        }  # fmt: skip
        return BenchmarkSettings(**(given | changes))

    return settings


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            "--models nommer_tinny",
            "--models, --peers: timm knows no network 'nommer_tinny'; one is nommer_tiny or resne",
        ),
        ("--sizes 16", "--sizes: must be whole numbers of 32 or more, got '16'"),
        ("--sizes 224,x", "--sizes: must be whole numbers of 32 or more, got 'x'"),
        ("--batches 0", "--batches: must be whole numbers of 1 or more, got '0'"),
        (
            "--precisions 64",
            "--precisions: must be among 32, bf16, 16, bf16-true, 16-true, got '64'",
        ),
        ("--precisions 32,16", "--precisions 16: is for GPUs; on the CPU use bf16 or 32"),
        (
            "--backends fast",
            "--backends: must be among eager, fused, compiled, fused-compiled, blocks, "
            "fused-blocks, onnxruntime, got",
        ),
        (
            "--mode training --backends fused",
            "--precisions 32: cannot be measured with --mode training and --backends fused: "
            "training is eager,",
        ),
        (
            "--backends onnxruntime --precisions 32,bf16",
            "--precisions bf16: cannot be measured with --mode inference and --backends "
            "onnxruntime: training is ea",
        ),
        ("--batches ,", "--batches: nothing is given; name at least one"),
        ("--rounds 0", "--rounds must be 1 or more, got 0"),
        ("--minutes 0", "--minutes must be above 0, got 0.0"),
        ("--threads 0", "--threads must be 1 or more, got 0"),
    ],
)
def test_mistakes_are_told(refused, tmp_path, options, message):
    assert refused("benchmark --device cpu --out", tmp_path / "out", options).startswith(message)
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_run_is_a_row_that_says_so(settings, tmp_path, monkeypatch):
    result = BenchmarkResult(tmp_path, "a CPU", peaks={"32": 1e9}, reference="test_resnet")
    bench = Bench(settings(), torch.device("cpu"), {})
    step = bench.networks.step

    def full(case):
        if case.model == "nommer_micro":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return step(case)

    monkeypatch.setattr(bench.networks, "step", full)
    result.measurements.extend(bench.measure(groups_of(settings())[0], result))
    ours, theirs = result.measurements
    assert (ours.failure, ours.seconds, ours.ratio) == ("out of memory", None, None)
    assert theirs.failure is None
    assert theirs.seconds.median > 0
    facts = {
        "packages": {"torch": "2", "timm": "1"},
        "settings": {"rounds": 1, "seconds": 1},
        "torch_threads": 1,
    }
    report = to_markdown(result, facts | {"started": "today", "command": "nommer"})
    assert "| nommer_micro | eager | 1 | out of memory |" in report
    assert name_failure(ValueError("two\nlines")) == "ValueError: two lines"


def test_what_is_left_when_time_is_over_is_left_out(run, tmp_path):
    run(
        "benchmark --models nommer_micro --peers test_resnet --sizes 32 --batches 1 --minutes 1e-9 "
        "--out",
        tmp_path / "out",
        FAST,
    )
    rows = json.loads((tmp_path / "out" / "result.json").read_text())["measurements"]
    assert {row["failure"] for row in rows} == {"left out: 1e-09 minutes were over"}


def test_compiled_networks_take_turns_with_compiled_peers(
    settings, tmp_path, monkeypatch, unchecked
):
    torch_compile = torch.compile
    monkeypatch.setattr(
        torch,
        "compile",
        lambda function, **options: torch_compile(function, backend="eager", **options),
    )
    result = BenchmarkResult(tmp_path, "a CPU", reference="test_resnet")
    chosen = {
        "models": "test_convnext",
        "backends": "fused-compiled",
        "batches": "2",
        "precisions": "bf16",
    }
    (group,) = groups_of(settings(**chosen))
    assert [case.backend for case in group] == ["fused-compiled", "compiled"]
    ours, theirs = Bench(settings(), torch.device("cpu"), {}).measure(group, result)
    assert ours.failure is theirs.failure is None
    assert ours.ratio.median == pytest.approx(theirs.seconds.median / ours.seconds.median)


def test_blocks_take_turns_with_plain_peers_in_training(settings, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda part, **_: calls.append(part))
    result = BenchmarkResult(tmp_path, "a CPU", reference="test_resnet")
    (group,) = groups_of(settings(backends="blocks", batches="2", mode="training"))
    assert [(case.model, case.backend) for case in group] == [
        ("nommer_micro", "blocks"),
        ("test_resnet", "eager"),
    ]
    ours, theirs = Bench(settings(), torch.device("cpu"), {}).measure(group, result)
    assert ours.failure is theirs.failure is None
    assert ours.ratio.median == pytest.approx(theirs.seconds.median / ours.seconds.median)
    assert len(calls) > len(build("nommer_micro", 32).stages)  # stem and every part of the stages


def test_only_a_nommer_has_such_blocks(settings, tmp_path):
    result = BenchmarkResult(tmp_path, "a CPU", reference=None)
    (group,) = groups_of(settings(models="test_resnet", peers="", backends="blocks"))
    (row,) = Bench(settings(), torch.device("cpu"), {}).measure(group, result)
    assert (
        row.failure
        == "InputError: test_resnet: only the blocks of a NomMer are compiled with sizes open"
    )


@pytest.mark.slow
def test_onnxruntime_computes_the_same(settings):
    networks, case = Networks("cpu"), Case("nommer_micro", "onnxruntime", "inference", "32", 64, 2)
    step, _ = networks.step(case)
    (scores,) = step()
    with torch.inference_mode():
        expected = networks.plain("nommer_micro", 64).eval()(networks._images(case))
    torch.testing.assert_close(torch.as_tensor(scores), expected, rtol=1e-3, atol=1e-4)


def test_costs_are_the_papers():
    assert giga_macs(build("nommer_tiny", 224), 224) == pytest.approx(5.4, abs=0.1)


def test_memory_is_what_a_call_adds():
    device = torch.device("cpu")
    if peak_memory(lambda: None, device) is None:
        pytest.skip("this system keeps no mark of the most memory held")
    hundred = peak_memory(lambda: torch.ones(25_000_000).sum(), device)
    assert hundred == pytest.approx(1e8, rel=0.1)
    assert peak_memory(lambda: None, device) < 2e6


def test_turns_are_taken():
    order = []
    calls = {name: (lambda name=name: order.append(name)) for name in "ab"}
    expected = dict.fromkeys("ab", 1e-3)
    found = time_in_turns(calls, expected, torch.device("cpu"), rounds=5, seconds=1, alone=True)
    assert "".join(order) == "ababababab"
    assert all(len(times) == 5 for times in found.values())
    slow = time_in_turns(
        calls, dict.fromkeys("ab", 10.0), torch.device("cpu"), rounds=9, seconds=1, alone=True
    )
    assert all(len(times) == 3 for times in slow.values())
    assert Spread.of([3.0]) == Spread(3.0, 3.0, 3.0)
    assert Spread.of([1.0, 2.0, 3.0]) == Spread(1.5, 2.0, 2.5)


def test_the_scale_is_the_machines_own():
    assert 1e8 < matrix_peak(torch.float32, torch.device("cpu")) < 1e14
