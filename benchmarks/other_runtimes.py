"""Run whole files in other runtimes, each in a process of its own, and compare the answers.

    python -m venv old && old/bin/pip install onnxruntime==1.17.3 'numpy<2' opencv-python-headless
    python benchmarks/other_runtimes.py IMAGE float32/model.onnx int8/model.onnx \\
        --runtime "onnxruntime old/bin/python" "opencv old/bin/python" "openvino new/bin/python"

Per runtime and file a line of a table: the largest difference of every output from that of ONNX
Runtime here, or what the runtime said, or the signal that ended it. The image is decoded here.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from nommer.models.onnx_files import open_session

_RUNS = {
    "onnxruntime": """
import onnxruntime
options = onnxruntime.SessionOptions()
options.log_severity_level = 3
session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
version, run = onnxruntime.__version__, lambda: session.run(names, {"images": images})
""",
    "opencv": """
import cv2
net = cv2.dnn.readNetFromONNX(file)
def run():
    net.setInput(images, "images")
    return net.forward(names)
version = cv2.__version__
""",
    "openvino": """
import openvino
model = openvino.compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
version = openvino.__version__
def run():
    found = model({"images": images})
    return [found[name] for name in names]
""",
}

_PROGRAM = """
import sys, time
import numpy as np
file, given, target, *names = sys.argv[1:]
images = np.load(given)
{run}
print("version", version, flush=True)
run()
began = time.process_time()
found = run()
print("seconds", time.process_time() - began, flush=True)
np.savez(target, **dict(zip(names, found)))
"""


def tried(runtime: str, python: str, file: Path, folder: Path, expected: dict) -> str:
    """Return what becomes of a file in a runtime, as a cell of the table."""
    (folder / "run.py").write_text(_PROGRAM.replace("{run}", _RUNS[runtime]))
    target = folder / "found.npz"
    target.unlink(missing_ok=True)
    command = [python, str(folder / "run.py"), str(file), str(folder / "images.npy"), str(target)]
    done = subprocess.run(  # noqa: S603 - as asked for
        [*command, *expected], capture_output=True, text=True, check=False, timeout=300
    )
    said = dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
    name = f"{runtime} {said.get('version', '')}"
    if done.returncode < 0:
        return f"{name} | crashed: signal {-done.returncode}"
    if done.returncode:
        return f"{name} | refused: {reason(done.stderr)}"
    with np.load(target) as found:
        differences = [differ(found[key], value, key) for key, value in expected.items()]
    return f"{name} | {', '.join(differences)}; {1000 * float(said['seconds']):.0f} ms"


def reason(errors: str) -> str:
    """Return what an error says, in one line."""
    lines = [line.strip() for line in errors.splitlines()]
    first = next((at for at, line in enumerate(lines) if "rror" in line and "File" not in line), 0)
    return " ".join(lines[first:])[:300]


def differ(found: np.ndarray, expected: np.ndarray, name: str) -> str:
    """Return in words how two outputs differ."""
    if found.shape != expected.shape:
        return f"{name} {found.shape} where {expected.shape} is expected"
    if expected.dtype.kind == "f":
        return f"{name} {float(np.abs(found - expected).max(initial=0)):.1e}"
    same = float((found == expected).mean()) if expected.size else 1.0
    return f"{name} the same" if same == 1 else f"{name} {same:.2%} the same"


def main() -> None:
    """Try all files in all runtimes, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("image", type=Path)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--runtime", nargs="+", required=True, metavar="NAME PYTHON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, Image.open(options.image) as image:
        folder = Path(temporary)
        pixels = np.asarray(image.convert("RGB"))[None]
        np.save(folder / "images.npy", pixels)
        for file in options.files:
            session = open_session(file, threads=1)
            names = [output.name for output in session.get_outputs()]
            expected = dict(zip(names, session.run(names, {"images": pixels}), strict=True))
            for told in options.runtime:
                print(f"| {file} | {tried(*told.split(), file, folder, expected)} |", flush=True)


if __name__ == "__main__":
    main()
