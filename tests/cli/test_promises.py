"""Promises of every command.

Writes only where it is told, asks no network, gives one number however it is run.
"""

import contextlib
import json
import os
import pty
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest
from PIL import Image

import nommer

SHARED = Path(__file__).resolve().parents[3] / "shared"


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def result(folder):
    found = json.loads((folder / "result.json").read_text())
    return {
        name: found[name]
        for name in ("images", "loss", "top1", "macro_f1", "calibration_error", "confusion")
    }


@pytest.fixture
def short_path():
    """A folder for TMPDIR.

    Processes meet at sockets in it, whose paths may have at most some 100 characters.
    """
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


NETWORK_GUARD = """
import json, socket, sys
class Guarded(socket.socket):
    def connect(self, address):
        if self.family != socket.AF_UNIX:  # processes of one machine talk through these
            raise AssertionError(f"asked the network for {address}")
        super().connect(address)
def refuse(*arguments, **options):
    raise AssertionError(f"asked the network for {arguments}")
socket.socket, socket.getaddrinfo = Guarded, refuse
from nommer.cli import main
for arguments in json.loads(sys.argv[1]):
    assert main(arguments) == 0
"""


@pytest.mark.slow
def test_nothing_is_written_outside_the_run_folder_and_no_network_is_asked(
    coloured, train_options, tmp_path, short_path, digest
):
    homes = {"home": tmp_path / "home", "cwd": tmp_path / "cwd", "temporary": short_path}
    for name in ("home", "cwd"):
        homes[name].mkdir()
    before = digest(coloured)
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("XDG_", "MPL", "TORCH", "HF_"))
    }
    environment |= {
        "HOME": str(homes["home"]),
        "TMPDIR": str(homes["temporary"]),
        "OMP_NUM_THREADS": "1",
    }
    out, images = str(tmp_path / "run"), str(coloured / "val" / "red")
    commands = [
        ["train", "--data", str(coloured), "--out", out, *train_options, "--workers=1"],
        ["check", str(coloured), "--out", f"{out}/check"],
        ["evaluate", out],
        ["predict", out, images],
        ["explain", out, images],
        ["export", out, "--out", f"{out}/exported"],
        ["predict", f"{out}/exported/model.onnx", images, "--out", f"{out}/answers"],
    ]
    command = [sys.executable, "-c", NETWORK_GUARD, json.dumps(commands)]
    done = subprocess.run(
        command, cwd=homes["cwd"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert digest(coloured) == before
    assert files(homes["cwd"]) == set()
    assert all(
        name.startswith("torchinductor_") for name in files(homes["temporary"])
    )  # torch's own, an empty folder
    others = {
        name for name in files(homes["home"]) if "matplotlib" not in name
    }  # its own cache of fonts
    assert others <= {".cache", ".config"}
    assert {path.name for path in tmp_path.iterdir()} == {"home", "cwd", "run"}


@pytest.fixture(scope="session")
def tiny_imagenet(tmp_path_factory):
    """Two classes of Tiny ImageNet, the second with images in greyscale; 40 images each."""
    archive = SHARED / "data" / "tiny_imagenet_200" / "train.tar.gz"
    if not archive.is_file():
        pytest.skip("Tiny ImageNet (../shared/data/tiny_imagenet_200) is not beside this checkout")
    root, wanted = tmp_path_factory.mktemp("tiny_imagenet"), ("n01443537", "n01698640")
    with tarfile.open(archive) as tar:
        for member in tar:
            if not member.name.endswith(".JPEG"):
                continue
            *_, name, _, file = Path(member.name).parts
            if name > wanted[1]:
                break
            if name in wanted:
                (root / name).mkdir(exist_ok=True)
                (root / name / file).write_bytes(tar.extractfile(member).read())
    for name in wanted:
        for path in sorted((root / name).iterdir(), key=mode)[40:]:
            path.unlink()
    return root


def mode(path):
    with Image.open(path) as image:
        return image.mode


@pytest.mark.slow
def test_real_images_from_training_to_explanation(run, tiny_imagenet, tmp_path):
    classes = sorted(path.name for path in tiny_imagenet.iterdir())
    modes = {path: mode(path) for path in tiny_imagenet.rglob("*.JPEG")}
    grey = next(path for path, mode in modes.items() if mode == "L")
    assert set(modes.values()) == {"L", "RGB"}
    options = "--model nommer_micro --epochs 1 --batch-size 16 --workers 0 --device cpu"
    printed = run("train --data", tiny_imagenet, "--out", tmp_path / "run", options)
    assert "2 classes, 64 train, 16 val images" in printed.err
    assert "image size 64" in printed.err
    assert (tmp_path / "run" / "data_issues.jsonl").read_text() == ""
    run("evaluate", tmp_path / "run", "--workers 0 --batch-size 16 --out", tmp_path / "evaluated")
    assert result(tmp_path / "evaluated") == result(tmp_path / "run")
    run("predict", tmp_path / "run", tiny_imagenet, "--out", tmp_path / "predicted")
    assert len(json.loads((tmp_path / "predicted" / "result.json").read_text())) == 80
    run("explain", tmp_path / "run", grey, "--out", tmp_path / "explained")
    (answer,) = json.loads((tmp_path / "explained" / "result.json").read_text())
    assert set(answer["shares"]) == {"stage 1 block 1", "stage 2 block 1"}
    assert nommer.load(tmp_path / "run").class_names == tuple(classes)


@pytest.mark.slow
def test_on_a_terminal_a_bar_shows_how_far_it_is(coloured, train_options, tmp_path):
    command = [
        sys.executable,
        "-m",
        "nommer",
        "train",
        "--data",
        coloured,
        "--out",
        tmp_path / "run",
        *train_options,
    ]
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "160", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        list(map(str, command)), stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    ) as process:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # how a terminal says that nobody writes to it any more
            while part := os.read(ours, 4096):
                shown += part
        os.close(ours)
    assert process.returncode == 0, shown.decode()
    assert "Epoch 1/1" in shown.decode()
    assert "3/3" in shown.decode()
    assert "train_loss" in shown.decode()
    assert "v_num" not in shown.decode()
    assert "Warning" not in shown.decode()
