"""Several processes on one machine.

Started either way, evaluating alike, sharing gradients, ending together.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from nommer.cli import main
from nommer.errors import InputError, of_this_process
from tests.run_contents import rows

OPTIONS = [
    "--model=nommer_micro",
    "--batch-size=3",
    "--image-size=32",
    "--workers=0",
    "--device=cpu",
]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}
TOLD = ("epoch", "model", "precision", "runtime")
"""Notices of the one or the other verb besides a result."""
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node"]


@pytest.fixture
def data(write_classes, tmp_path):
    """16 training images, and 7 of validation.

    A number that neither two nor three processes share equally.
    """
    write_classes(tmp_path / "data" / "train", {"blue": 8, "red": 8})
    write_classes(tmp_path / "data" / "val", {"blue": 4, "red": 3}, seed=9)
    return tmp_path / "data"


def result(folder):
    return {
        k: v for k, v in json.loads((folder / "result.json").read_text()).items() if k not in TOLD
    }


@pytest.mark.slow
@pytest.mark.parametrize("started", ["torchrun 2", "devices 3"])
@pytest.mark.long
def test_evaluation_is_the_same_for_any_number_of_processes(data, run, tmp_path, started):
    kind, number = started.split()
    begin = (
        [*TORCHRUN, number, "-m", "nommer"]
        if kind == "torchrun"
        else [sys.executable, "-m", "nommer"]
    )
    more = [] if kind == "torchrun" else ["--devices", number]
    command = [
        *begin,
        "train",
        "--data",
        data,
        "--out",
        tmp_path / "run",
        "--epochs",
        "1",
        "--cache",
        "ram",
    ]
    done = subprocess.run(
        [*command, *OPTIONS, *more], capture_output=True, text=True, check=False, env=ENVIRONMENT
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("validation, best epoch") == 1
    assert done.stderr.count("epoch 1/1") == 1
    (epoch,) = rows(tmp_path / "run" / "metrics.csv")
    found = result(tmp_path / "run")
    assert found["images"] == 7
    for name in ("top1", "mean_class_accuracy", "macro_f1", "calibration_error"):
        assert float(epoch[f"val_{name}"]) == pytest.approx(found[name], abs=1e-6), name
    assert float(epoch["val_loss"]) == pytest.approx(found["loss"], abs=1e-5)
    run("evaluate", tmp_path / "run", "--workers 0 --out", tmp_path / "alone")
    assert result(tmp_path / "alone") == found, "by one process"
    for row in rows(tmp_path / "run" / "nominations.csv"):
        assert sum(
            float(row[name]) for name in ("convolution", "window", "global")
        ) == pytest.approx(1)


def children(process):
    """Processes that a process started, but for those that hold its resources."""
    found = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [int(child) for child in found if "train" in Path(f"/proc/{child}/cmdline").read_text()]


def wait_for(what, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.2)
    raise AssertionError("waited too long")


def is_gone(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes as Linux shows them")
@pytest.mark.parametrize("killed", ["first", "second"])
def test_a_process_that_is_killed_ends_the_run(data, tmp_path, killed):
    out, log = tmp_path / "run", tmp_path / "log"
    command = [
        sys.executable,
        "-m",
        "nommer",
        "train",
        "--data",
        str(data),
        "--out",
        str(out),
        "--epochs",
        "100000",
    ]
    with log.open("w") as stream:
        first = subprocess.Popen(
            [*command, *OPTIONS, "--devices", "2"], stderr=stream, stdout=stream, env=ENVIRONMENT
        )
        try:
            wait_for(
                lambda: (out / "checkpoints" / "last.ckpt").exists() or first.poll() is not None,
                120,
            )
            (second,) = children(first.pid)
            os.kill(first.pid if killed == "first" else second, signal.SIGKILL)
            assert wait_for(lambda: first.poll() is not None, 60)
            wait_for(lambda: is_gone(second), 60)
        finally:
            first.kill()
    assert first.returncode != 0
    said = log.read_text()
    assert "error" in said.lower() or "terminated with code" in said, "nobody has to guess"
    assert torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] >= 0, (
        "what was saved is whole"
    )


GRADIENTS = """
import torch
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
import nommer, timm
from nommer.distributed.sync_norms import SyncNorms

torch.distributed.init_process_group("gloo")
rank = torch.distributed.get_rank()
torch.manual_seed(0)
device = "cuda" if torch.cuda.is_available() else "cpu"  # both processes may share one
network = timm.create_model("nommer_micro", num_classes=5, img_size=32).double().to(device)
images, labels = 3 * torch.randn(8, 3, 32, 32).double() + 7, torch.randint(5, (8,))
images, labels = images.to(device), labels.to(device)
norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]

def gradients(model, part, share, batch_norm):
    network.eval()
    for norm in norms:
        norm.train(batch_norm)
        norm.reset_running_stats()
    network.zero_grad()
    (cross_entropy(model(images[part]), labels[part], reduction="sum") / share).backward()
    gradient = torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])
    statistics = [b.double().flatten() for b in network.buffers() if b.numel() < 999]
    return gradient.clone(), torch.cat(statistics)

def compare(name, border, batch_norm):
    part = slice(0, border) if rank == 0 else slice(border, 8)
    own = DistributedDataParallel(network, find_unused_parameters=True, broadcast_buffers=False)
    for whole, halves in zip(alone[batch_norm], gradients(own, part, 4, batch_norm)):
        if rank == 0:
            print(name, float((whole - halves).norm() / whole.norm()))

names = list(network.state_dict())
alone = {batch_norm: gradients(network, slice(None), 8, batch_norm) for batch_norm in (False, True)}
compare("fixed", 4, False)
compare("own", 4, True)
shared = SyncNorms()
shared.apply(network)
if device == "cuda":
    compare("shared", 4, True)
    compare("unequal", 3, True)
assert {type(norm) for norm in norms} == {torch.nn.SyncBatchNorm}
assert list(network.state_dict()) == names
shared.revert(network)
assert {type(norm) for norm in norms} == {torch.nn.BatchNorm2d}
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_two_batches_of_four_give_the_gradient_of_one_of_eight(tmp_path):
    script = tmp_path / "gradients.py"
    script.write_text(GRADIENTS)
    command = [*TORCHRUN, "2", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    found = {}
    for line in done.stdout.splitlines():
        name, difference = line.split()
        found.setdefault(name, []).append(float(difference))
    assert found["fixed"][0] < 1e-9, "what batch norms know is the same"
    assert found["own"][0] > 1e-3, "batch norms see four images each, not eight"
    for name in found.keys() & {"shared", "unequal"}:
        gradient, statistics = found[name]
        assert gradient < 1e-9, name
        assert statistics < 1e-9, name


@pytest.mark.parametrize("mistake", ["data", "folder"])
def test_the_first_process_reads_the_data_for_all_and_its_error_reaches_them(
    process, data, tmp_path, mistake
):
    out = tmp_path / "run"
    if mistake == "data":
        (data / "train" / "blue" / "broken.png").write_bytes(b"no image")
    else:
        out.mkdir()
        (out / "mine.txt").touch()
    command = [
        "train",
        "--data",
        data,
        "--out",
        out,
        "--on-bad-sample=error",
        "--devices=2",
        *OPTIONS,
    ]
    done = process(*command, fault=["read"], processes=2, rank=1)
    assert done.codes == [2, 2], done.err
    (sentence,) = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert ("broken.png" if mistake == "data" else "exists and is not empty") in sentence


def test_a_loss_that_is_no_number_in_one_process_stops_all_at_that_step(process, data, tmp_path):
    command = ["train", "--data", data, "--out", tmp_path / "run", "--epochs=2", *OPTIONS]
    done = process(*command, fault=["loss", 2], processes=2, rank=1)
    assert done.codes == [2, 2], done.err
    folder = tmp_path / "run" / "nonfinite"
    assert (
        "the training loss of process 1 (of 2, from 0 on) became inf in epoch 1, step 2" in done.err
    )
    assert f"{folder / 'step-1.json'} names its samples" in done.err
    first, guilty = (
        json.loads((folder / name).read_text())["batches"][0]
        for name in ("step.json", "step-1.json")
    )
    assert guilty["loss"] == "inf"
    assert float(first["loss"]) < 10
    assert len({sample["file"] for sample in first["samples"] + guilty["samples"]}) == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            "--sync-norms on --device cpu",
            "--sync-norms on: works on cuda devices only, and this run is on cpu; use auto or off",
        ),
        ("--nodes 0", "--nodes must be 1 or more, got 0"),
        (
            "--nodes 2",
            "--nodes 2: processes of other machines have to be started by torchrun or srun",
        ),
        ("--devices 20 --device cpu", "training images for 20 processes"),
    ],
)
def test_what_cannot_be_is_refused(refused, coloured, tmp_path, options, message):
    assert message in refused("train --data", coloured, "--out", tmp_path / "run", options)


def test_torchrun_says_how_many_processes_there_are(refused, coloured, tmp_path, monkeypatch):
    for name, value in {
        "TORCHELASTIC_RUN_ID": "1",
        "LOCAL_WORLD_SIZE": "2",
        "WORLD_SIZE": "4",
        "RANK": "0",
    }.items():
        monkeypatch.setenv(name, value)
    sentence = refused("train --data", coloured, "--out", tmp_path / "run", "--devices 3")
    assert "--devices 3: torchrun started 2" in sentence


def test_an_error_that_all_processes_have_is_told_by_one_of_each_machine(
    tmp_path, monkeypatch, capsys
):
    started = {"TORCHELASTIC_RUN_ID": "1", "LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "2"}
    for name, value in started.items():
        monkeypatch.setenv(name, value)
    told = []
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("LOCAL_RANK", rank)
        for mistake in ("--sync-norms=perhaps", "--devices=3"):
            try:
                code = main(["train", "--data", str(tmp_path), mistake])
            except SystemExit as ended:
                code = ended.code
            assert code == 2
            told.append(capsys.readouterr().err.count("error: "))
    assert told == [1, 1, 0, 0]
    with pytest.raises(InputError) as caught, of_this_process():
        raise InputError("a file that only this process reads")
    assert caught.value.everywhere is False


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("could not create a primitive"),
        RuntimeError("can't start new thread"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_memory_that_cannot_be_had_is_one_sentence(monkeypatch, capsys, error):
    def fail(_):
        raise error

    monkeypatch.setattr("nommer.cli.run", fail)
    assert main(["check", "x"]) == 2
    assert capsys.readouterr().err.startswith("error: there is not enough memory (--debug")


def test_a_low_limit_of_addresses_is_told(monkeypatch, capsys):
    resource = pytest.importorskip("resource")
    told = []
    for limit in (3 << 30, resource.RLIM_INFINITY):
        monkeypatch.setattr(resource, "getrlimit", lambda _, limit=limit: (limit, limit))
        assert main(["check", "nowhere"]) == 2
        told.append("addresses are limited to 3.0 GiB (ulimit -v)" in capsys.readouterr().err)
    assert told == [True, False]
