"""The script for an hour on a GPU: each part runs small on the CPU, and none stops the others."""

import json

import pytest
import torch


@pytest.mark.usefixtures("unchecked")
def test_every_part_runs_small_on_the_cpu(script, tmp_path):
    gpu = script("gpu")
    gpu.main(["--tiny", "--device", "cpu", "--out", str(tmp_path)])
    report = json.loads((tmp_path / "report.json").read_text())
    assert list(report["parts"]) == list(gpu.PARTS)
    failed = {name: part for name, part in report["parts"].items() if "traceback" in part}
    assert not failed
    assert all(part["rows"] for part in report["parts"].values())
    compiled = [row["result"] for row in report["parts"]["compiled"]["rows"][:5]]
    assert all(said.startswith("runs") for said in compiled), compiled
    for part in ("nan", "half"):
        assert {row["result"] for row in report["parts"][part]["rows"]} == {"loss finite"}
    assert "## throughput: done" in (tmp_path / "report.md").read_text()


def test_a_part_that_fails_leaves_its_traceback_and_the_next_runs(script, tmp_path, monkeypatch):
    gpu = script("gpu")

    def fails(_bench):
        yield {"what": "found before", "result": 1.5}
        raise RuntimeError("no kernel | here")

    monkeypatch.setattr(
        gpu, "PARTS", {"bad": fails, "good": lambda _: iter([{"what": "after"}]), "late": None}
    )
    bench = gpu.Bench(gpu.TINY, torch.device("cpu"), float("inf"))
    report = gpu.Report(tmp_path, {"device": "cpu"})
    gpu.run_parts(["bad", "good"], bench, report)
    bench.until = 0
    gpu.run_parts(["late"], bench, report)
    parts = json.loads((tmp_path / "report.json").read_text())["parts"]
    assert parts["bad"]["rows"] == [{"what": "found before", "result": 1.5}]
    assert "no kernel | here" in parts["bad"]["traceback"]
    assert parts["good"]["state"].startswith("done")
    assert parts["late"]["state"].startswith("left out")


def test_without_a_gpu_full_sizes_are_refused(script, capsys):
    with pytest.raises(SystemExit):
        script("gpu").main(["--device", "cpu"])
    assert "--tiny" in capsys.readouterr().err
