"""The command line, called as from a shell."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import safetensors.torch
import timm
import torch

import nommer
from nommer import zoo
from nommer.cli import main
from tests.run_contents import checkpoint, rows, same


def split(arguments):
    """Text is split at spaces, paths stay whole: `run("train --epochs 1 --data", path)`."""
    return [part for a in arguments for part in (a.split() if isinstance(a, str) else [str(a)])]


@pytest.fixture
def of_made(made, monkeypatch, tmp_path):
    """The zoo that `made` is, in the place of the package's, which a test may change."""
    home = shutil.copytree(made.home, tmp_path / "zoo")
    monkeypatch.setattr(zoo, "HOMES", (home, tmp_path / "beside"))
    return SimpleNamespace(run=made.run, home=home, entry=home / made.entry.name, data=made.data)


@pytest.fixture
def image(tmp_path, noisy):
    path = tmp_path / "my photo.jpg"
    noisy((200, 40, 30)).save(path)
    return path


@pytest.fixture(scope="session")
def check_same_run():
    """Compare every number, picture and weight that two finished runs left."""

    def check_same_run(one, other):
        for name in ("metrics.csv", "nominations.csv"):
            assert rows(one / name) == rows(other / name)
        for name in ("curves.png", "nominations.png", "result.json", "predictions.csv"):
            if (one / name).is_file():
                assert (one / name).read_bytes() == (other / name).read_bytes(), name
        for name in ("last", "best"):
            left, right = checkpoint(one, name), checkpoint(other, name)
            for part in ("epoch", "global_step", "state_dict", "optimizer_states", "losses"):
                assert same(left[part], right[part]), (name, part)
        assert same(nommer.load(one).state_dict(), nommer.load(other).state_dict())

    return check_same_run


@pytest.fixture(scope="session")
def check_best_epoch():
    """Compare numbers of the result, of one process, with those of its epoch in training."""

    def check_best_epoch(run, *names):
        result = json.loads((run / "result.json").read_text())
        best = rows(run / "metrics.csv")[result["epoch"] - 1]
        for name in names:
            assert result[name] == pytest.approx(float(best[f"val_{name}"]), abs=1e-5), name

    return check_best_epoch


@pytest.fixture
def check_goes_on(process, check_same_run, tmp_path):
    """Run a verb whole, and killed in a step, by default the last but one, and gone on with.

    Both must leave the same. With `processes` the one of `rank` is killed.
    """

    def check_goes_on(verb, *options, step=None, processes=1, rank=0):
        whole, killed = tmp_path / "whole", tmp_path / "killed"
        done = process(verb, *options, f"--out={whole}", processes=processes)
        assert done.code == 0, done.err
        step = step or int(rows(whole / "metrics.csv")[-1]["step"]) - 1
        given = {"fault": ["step", step], "processes": processes, "rank": rank}
        died = process(verb, *options, f"--out={killed}", **given)
        assert died.codes[rank] == -signal.SIGKILL, (step, rank)
        assert 0 not in died.codes, "the others end with an error"
        done = process(verb, *options, f"--out={killed}", "--resume", processes=processes)
        assert done.code == 0, done.err
        check_same_run(whole, killed)

    return check_goes_on


@pytest.fixture(scope="session")
def of_timm(tmp_path_factory):
    """A teacher of timm with its weights in a file, as options."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "r.safetensors"
    safetensors.torch.save_file(timm.create_model("resnet10t").state_dict(), path)
    return ["--teacher=timm:resnet10t", f"--distillation.weights={path}"]


@pytest.fixture
def run(capsys, monkeypatch):
    """Run a command in this process and expect an exit code.

    Returns what it printed as `out` and `err`.
    """
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments, code=0):
        capsys.readouterr()
        try:
            found = main(split(arguments))
        except SystemExit as end:
            found = end.code
        printed = capsys.readouterr()
        assert found == code, printed.err
        return SimpleNamespace(out=printed.out, err=printed.err)

    return run


@pytest.fixture
def refused(run):
    """Run a command that is the user's mistake: exit code 2, one sentence, no traceback.

    Returns the sentence.
    """

    def refused(*arguments):
        printed = run(*arguments, code=2)
        lines = [line for line in printed.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, printed.err
        assert "Traceback" not in printed.err
        assert printed.out == ""
        return lines[0].removeprefix("error: ")

    return refused


@pytest.fixture(scope="session")
def process(tmp_path_factory):
    """Run a command in a fresh process that a fault (of `tests/faults.py`) happens to.

    Returns its code and output.

    With `processes` it is run by so many, and the fault happens to the one of `rank`.
    """
    err = tmp_path_factory.mktemp("process") / "err.txt"
    command = [sys.executable, str(Path(__file__).parents[1] / "faults.py"), "quick"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, **pipes) as server:

        def process(*arguments, fault=None, processes=1, rank=0):
            job = {
                "arguments": split(arguments),
                "fault": fault,
                "err": str(err),
                "processes": processes,
                "rank": rank,
            }
            server.stdin.write(f"{json.dumps(job)}\n")
            server.stdin.flush()
            return SimpleNamespace(**json.loads(server.stdout.readline()), err=err.read_text())

        yield process
        server.stdin.close()


@pytest.fixture(scope="session")
def shell():
    """Run a command in a process of its own; return the finished process, its output as text."""

    def shell(*arguments, **options):
        command = [sys.executable, "-m", "nommer", *split(arguments)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"} | options.pop("env", {})
        return subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment, **options
        )

    return shell


@pytest.fixture
def whole_graphs(monkeypatch, unchecked):
    """Compile as is, without generating code; anything that is no whole graph is an error.

    Holds the functions that were to be compiled, and the graphs that were made of them when they
    were called.
    """
    torch.compiler.reset()
    found = SimpleNamespace(functions=[], graphs=[])

    def compile_whole(function, *, dynamic=None, options=None):
        found.functions.append(function)
        return torch_compile(function, fullgraph=True, backend=keep, dynamic=dynamic)

    def keep(graph, _):
        found.graphs.append(graph)
        return graph.forward

    torch_compile = torch.compile
    monkeypatch.setattr(torch, "compile", compile_whole)
    yield found
    torch.compiler.reset()
