"""The server under load, beside a plain endpoint; what it does about faults; its memory over time.

    nommer export nommer_nano64.tiny_imagenet_200 --whole --data IMAGES --out whole
    python benchmarks/serving.py whole/model.onnx --images IMAGES --seconds 10 --soak 600

Real processes on loopback, with `wrk` (of Debian) as the client. The plain endpoint is FastAPI
around a network of timm in PyTorch, an image at a time: what people write first. Everything runs in
turns on the same machine; the table is printed as Markdown, and all numbers are written to `--out`.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from serving_faults import faults
from serving_process import BOUNDARY, PORT, form, memory, running, seconds_of, serve

_LUA = """
local bodies = {{}}
for number = 1, {count} do
  local file = io.open("{folder}/" .. number .. ".body", "rb")
  bodies[number] = file:read("*all")
  file:close()
end
local at = 0
request = function()
  at = at % #bodies + 1
  return wrk.format("POST", "{path}",
    {{["Content-Type"] = "multipart/form-data; boundary={boundary}"}}, bodies[at])
end
done = function(summary, latency)
  io.write(string.format("RESULT %d %d %d %f %f %f\\n", summary.requests, summary.duration,
    summary.errors.status + summary.errors.timeout + summary.errors.read + summary.errors.connect,
    latency:percentile(50), latency:percentile(95), latency:percentile(99)))
end
"""

_PLAIN = """
import io, sys
import timm, torch, uvicorn
from fastapi import FastAPI, UploadFile
from PIL import Image
import nommer
torch.set_num_threads(int(sys.argv[4]))
model = timm.create_model(sys.argv[1], num_classes=200, **eval(sys.argv[2])).eval()
data = timm.data.resolve_model_data_config(model) | {"input_size": (3, 64, 64)}
transform = timm.data.create_transform(**data, is_training=False)
print("parameters", sum(one.numel() for one in model.parameters()), flush=True)
app = FastAPI()

@app.get("/ready")
def ready():
    return {}

@app.post("/predict")
def predict(images: UploadFile):
    image = Image.open(io.BytesIO(images.file.read())).convert("RGB")
    with torch.inference_mode():
        shares, classes = model(transform(image)[None]).softmax(-1)[0].topk(5)
    return {"top": list(zip(classes.tolist(), shares.tolist()))}

uvicorn.run(app, port=int(sys.argv[3]), log_level="error")
"""


def load(folder: Path, count: int, clients: int, seconds: float) -> dict:
    """Return the numbers that `wrk` measures with so many clients."""
    script = folder / "post.lua"
    told = {"count": count, "folder": folder, "path": "/predict", "boundary": BOUNDARY}
    script.write_text(_LUA.format(**told))
    command = [
        "wrk",
        "-t1",
        f"-c{clients}",
        f"-d{seconds:g}s",
        "--timeout",
        "60s",
        "-s",
        str(script),
    ]
    found = subprocess.run(  # noqa: S603 - as made here
        [*command, f"http://127.0.0.1:{PORT}"], capture_output=True, text=True, check=True
    ).stdout
    values = [float(one) for one in re.search(r"RESULT (.*)", found)[1].split()]
    requests, microseconds, errors, *latencies = values
    row = {"clients": clients, "per_second": requests / microseconds * 1e6, "errors": int(errors)}
    return row | dict(zip(("p50", "p95", "p99"), (one / 1000 for one in latencies), strict=True))


def compare(options, folder: Path, bodies: int) -> list[dict]:
    """Load every server with every number of clients; return a row of numbers for each."""
    rows = []
    servers = {"nommer serve, whole file": serve(options.model, threads=options.threads)}
    for name in options.peers:
        kind = "dict(img_size=64)" if name.startswith("nommer") else "dict()"
        source = [sys.executable, "-c", _PLAIN, name, kind, str(PORT), str(options.threads)]
        servers[f"plain FastAPI, timm {name}"] = source
    for name, command in servers.items():
        with running(command, folder / "server.log", options.threads) as (process, ready):
            load(folder, bodies, 1, 1)  # warm
            used = seconds_of(process)
            for clients in options.clients:
                row = {
                    "server": name,
                    "ready": ready,
                    **load(folder, bodies, clients, options.seconds),
                }
                rows.append(row | {"memory": memory(process)})
                rows[-1]["processor"] = seconds_of(process) - used
                used = seconds_of(process)
                print_row(row)
    return rows


def print_row(row: dict) -> None:
    """Print a row of the table."""
    numbers = " | ".join(f"{row[name]:.1f}" for name in ("per_second", "p50", "p95", "p99"))
    print(f"| {row['server']} | {row['clients']} | {numbers} | {row['errors']} |", flush=True)


def start(options, folder: Path) -> dict:
    """Return wall and processor seconds until a server is ready, beside those of its imports alone.

    In turns; the median of each.
    """
    bare = [sys.executable, "-c", "import onnxruntime, fastapi, uvicorn"]
    found = {"serve": [], "imports alone": []}
    for _ in range(options.start):
        command = serve(options.model, threads=options.threads)
        with running(command, folder / "start.log", options.threads) as (process, ready):
            found["serve"].append((ready, seconds_of(process)))
        began, before = time.monotonic(), os.times()
        subprocess.run(bare, check=True)  # noqa: S603 - as made here
        wall, after = time.monotonic() - began, os.times()
        used = sum(after[2:4]) - sum(before[2:4])
        found["imports alone"].append((wall, used))
    medians = {}
    for name, values in found.items():
        wall, used = (statistics.median(kind) for kind in zip(*values, strict=True))
        medians[name] = {"wall": wall, "processor": used}
        print(f"| {name} | {wall:.2f} s | {used:.2f} s of processor time |", flush=True)
    return medians


def soak(options, folder: Path, bodies: int) -> list[float]:
    """Return the MiB in memory, every tenth of the time under load."""
    command = serve(options.model, threads=options.threads)
    with running(command, folder / "soak.log", options.threads) as (process, _):
        found = [memory(process)]
        for _ in range(10):
            load(folder, bodies, 8, options.soak / 10)
            found.append(memory(process))
            print(f"{found[-1]:.1f} MiB", flush=True)
    return found


def main() -> None:
    """Measure all that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--images", required=True, type=Path)
    parser.add_argument("--clients", type=int, nargs="*", default=[1, 8, 64])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--peers", nargs="*", default=["mobilenetv2_100"])
    parser.add_argument("--soak", type=float, default=0, help="seconds")
    parser.add_argument("--start", type=int, default=0, help="times to start a server")
    parser.add_argument("--faults", action="store_true")
    parser.add_argument("--schemathesis", help="the program")
    parser.add_argument("--out", type=Path, default=Path("serving.json"))
    options = parser.parse_args()
    if not shutil.which("wrk"):
        sys.exit("wrk is not installed (apt-get install wrk)")
    endings = (".jpg", ".jpeg", ".png")
    files = sorted(p for p in options.images.rglob("*") if p.suffix.lower() in endings)[:64]
    found = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for number, file in enumerate(files, 1):
            (folder / f"{number}.body").write_bytes(form(file.read_bytes()))
        body = form(files[0].read_bytes())
        if options.start:
            found["start"] = start(options, folder)
        if options.clients:
            print("| server | clients | images/s | p50 ms | p95 ms | p99 ms | errors |")
            print("|---|---|---|---|---|---|---|")
            found["load"] = compare(options, folder, len(files))
        if options.faults:
            found["faults"] = faults(options, folder, body)
            for name, said in found["faults"].items():
                print(f"| {name} | {said} |")
        if options.soak:
            found["soak"] = soak(options, folder, len(files))
    options.out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
