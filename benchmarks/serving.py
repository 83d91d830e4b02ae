"""The server under load, beside a plain endpoint; what it does about faults; its memory over time.

    nommer export nommer_nano64.tiny_imagenet_200 --whole --data IMAGES --out whole
    python benchmarks/serving.py whole/model.onnx --images IMAGES --seconds 10 --soak 600

Real processes on loopback, with `wrk` (of Debian) as the client. The plain endpoint is FastAPI
around a network of timm in PyTorch, an image at a time: what people write first. Everything runs in
turns on the same machine; the table is printed as Markdown, and all numbers are written to `--out`.
"""

import argparse
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import numpy as np

PORT = 8137

BOUNDARY = "nommerbenchmark"

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


def form(*contents: bytes) -> bytes:
    """The body of a request with image files."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="images"; filename="{n}.jpg"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n".encode()
        + content
        + b"\r\n"
        for n, content in enumerate(contents)
    ]
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def ask(body: bytes, timeout: float = 60) -> tuple[int, bytes]:
    """Send a request of its own connection; returns status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=timeout)
    try:
        kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        connection.request("POST", "/predict", body, kind)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


@contextmanager
def running(command: list[str], log: Path, threads: int):
    """A server process that is ready; yields it and the seconds until then."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    began = time.monotonic()
    with log.open("wb") as stream:
        process = subprocess.Popen(  # noqa: S603 - as made here
            command, stdout=stream, stderr=stream, env=environment
        )
    try:
        while True:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=5)
                connection.request("GET", "/ready")
                if connection.getresponse().status == 200:
                    break
            except OSError:
                time.sleep(0.02)
            if process.poll() is not None:
                sys.exit(f"{' '.join(command)}: ended\n{log.read_text()}")
        yield process, time.monotonic() - began
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(60)


def serve(model: str, *options: str, threads: int) -> list[str]:
    """The command of our server."""
    return [
        *(sys.executable, "-m", "nommer", "serve", model, "--port", str(PORT)),
        *("--threads", str(threads), *options),
    ]


def memory(process: subprocess.Popen) -> float:
    """MiB that a process holds."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


def seconds_of(process: subprocess.Popen) -> float:
    """Processor time of a process so far, in seconds."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def load(folder: Path, count: int, clients: int, seconds: float) -> dict:
    """What `wrk` measures with so many clients."""
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
    """Load of every server, at every number of clients."""
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
    """A row of the table."""
    numbers = " | ".join(f"{row[name]:.1f}" for name in ("per_second", "p50", "p95", "p99"))
    print(f"| {row['server']} | {row['clients']} | {numbers} | {row['errors']} |", flush=True)


def stop_under_load(options, folder: Path, body: bytes, number: int) -> str:
    """Send requests without pause, and a signal in between: who is answered?"""
    log, answers, sent = folder / "stopped.log", Counter(), Counter()
    with running(serve(options.model, threads=options.threads), log, options.threads) as (
        process,
        _,
    ):
        end = threading.Event()

        def client():
            while not end.is_set():
                try:
                    sent["begun"] += 1
                    answers[ask(body)[0]] += 1
                except (OSError, http.client.HTTPException):
                    answers["no connection"] += 1
                    time.sleep(0.01)

        clients = [threading.Thread(target=client) for _ in range(16)]
        for one in clients:
            one.start()
        time.sleep(3)
        process.send_signal(number)
        code = process.wait(60)
        end.set()
        for one in clients:
            one.join()
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    taken = sum(line.get("path") == "/predict" for line in lines)
    answered = sum(count for status, count in answers.items() if isinstance(status, int))
    return f"{taken} taken by the server, {answered} answered at the clients, exit code {code}"


def slow_clients(body: bytes) -> str:
    """Clients that send a byte now and then, beside one that is in a hurry."""
    sockets = []
    for _ in range(50):
        one = socket.create_connection(("127.0.0.1", PORT))
        head = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n"
        one.sendall(
            f"{head}Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n-".encode()
        )
        sockets.append(one)
    began = time.monotonic()
    status, _ = ask(body)
    seconds = time.monotonic() - began
    statuses = Counter()
    for one in sockets:
        one.settimeout(30)
        try:
            statuses[one.recv(4096).split(b" ", 2)[1].decode()] += 1
        except (OSError, IndexError):
            statuses["closed"] += 1
        one.close()
    return f"another request: {status} in {seconds:.2f} s; the slow ones: {dict(statuses)}"


def broken_uploads(body: bytes) -> str:
    """Requests that end in the middle, at many places."""
    for number in range(100):
        one = socket.create_connection(("127.0.0.1", PORT))
        head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        head += f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
        whole = head.encode() + body
        one.sendall(whole[: 1 + number * len(whole) // 100])
        one.close()
    return f"100 cut requests, then: {ask(body)[0]}"


def hostile_images() -> str:
    """200 damaged image files of all formats."""
    from fuzz import damage  # noqa: PLC0415 - its neighbour
    from fuzz_kinds import make_images  # noqa: PLC0415

    statuses = Counter()
    with tempfile.TemporaryDirectory() as folder:
        make_images(Path(folder))
        sound = sorted(Path(folder).iterdir())
        for number in range(200):
            content = sound[number % len(sound)].read_bytes()
            statuses[ask(form(damage(content, np.random.default_rng(number))))[0]] += 1
    return f"{dict(statuses)} (200: what was damaged can still be read)"


def bombs() -> str:
    """A small file that says it is an image of 900 million pixels, and a request of 40 MB."""
    import struct  # noqa: PLC0415
    import zlib  # noqa: PLC0415

    def chunk(kind: bytes, content: bytes) -> bytes:
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(2**24))
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    status, answer = ask(form(png))
    said = json.loads(answer)["results"][0]["error"]
    return f"{status}: {said}; 40 MB: {_large()}"


def _large() -> str:
    try:
        return str(ask(form(bytes(40_000_000)))[0])
    except OSError as error:  # refused by the header, while the rest was still being sent
        return f"refused while it was sent ({type(error).__name__})"


def faults(options, folder: Path, body: bytes) -> dict[str, str]:
    """All faults, and what came of them."""
    found = {"SIGTERM under load": stop_under_load(options, folder, body, signal.SIGTERM)}
    found["kill -9 under load"] = stop_under_load(options, folder, body, signal.SIGKILL)
    command = serve(options.model, "--timeout", "5", threads=options.threads)
    with running(command, folder / "faults.log", options.threads) as (process, _):
        before = memory(process)
        found["50 slow clients"] = slow_clients(body)
        found["broken uploads"] = broken_uploads(body)
        found["200 hostile images"] = hostile_images()
        found["bombs"] = bombs()
        if options.schemathesis:
            found["schemathesis"] = schemathesis(options.schemathesis)
        found["then"] = f"{ask(body)[0]}, {memory(process):.0f} MiB after {before:.0f} MiB"
        failed = (folder / "faults.log").read_text().count('"trace"')
        found["lines of failures in the log"] = str(failed)
    return found


def schemathesis(program: str) -> str:
    """Requests made from openapi.json, by schemathesis."""
    url = f"http://127.0.0.1:{PORT}/openapi.json"
    command = [program, "run", url, "--max-examples", "50", "--no-color"]
    command += ["--exclude-checks", "positive_data_acceptance"]  # no schema tells pictures
    done = subprocess.run(  # noqa: S603 - as asked for
        command,
        capture_output=True,
        text=True,
        check=False,
    )
    told = re.findall(r"^=+ (.*?) =+$", done.stdout, re.MULTILINE)
    return f"exit code {done.returncode}: {told[-1] if told else done.stdout[-200:]}"


def soak(options, folder: Path, bodies: int) -> list[float]:
    """MiB in memory, every tenth of the time under load."""
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
