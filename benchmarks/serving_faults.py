"""The faults of clients and of the system that `serving.py` lets a server meet."""

import http.client
import json
import re
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
from serving_process import BOUNDARY, PORT, ask, form, memory, running, serve


def stop_under_load(options, folder: Path, body: bytes, number: int) -> str:
    """Send requests without pause, and a signal in between; tell who is answered."""
    log, answers = folder / "stopped.log", Counter()
    with running(serve(options.model, threads=options.threads), log, options.threads) as (
        process,
        _,
    ):
        end = threading.Event()

        def client():
            while not end.is_set():
                try:
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
    """Let clients send a byte and no more, beside one that is in a hurry."""
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
    """Send requests that end in the middle, at many places."""
    for number in range(100):
        one = socket.create_connection(("127.0.0.1", PORT))
        head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        head += f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
        whole = head.encode() + body
        one.sendall(whole[: 1 + number * len(whole) // 100])
        one.close()
    return f"100 cut requests, then: {ask(body)[0]}"


def hostile_images() -> str:
    """Send 200 damaged image files of all formats."""
    from fuzz import damage  # noqa: PLC0415 - the others need no PyTorch
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
    """Send a small file that says it is an image of 900 million pixels, and a request of 40 MB."""

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
    """Return all faults with what came of them."""
    found = {"SIGTERM under load": stop_under_load(options, folder, body, signal.SIGTERM)}
    found["kill -9 under load"] = stop_under_load(options, folder, body, signal.SIGKILL)
    command = serve(options.model, "--timeout", "5", threads=options.threads)
    with running(command, folder / "faults.log", options.threads) as (process, _):
        before = memory(process)
        found["50 slow clients"] = slow_clients(body)
        found["broken uploads"] = broken_uploads(body)
        found["200 hostile images"] = hostile_images()
        found["bombs"] = bombs()
        found["then"] = f"{ask(body)[0]}, {memory(process):.0f} MiB after {before:.0f} MiB"
        failed = (folder / "faults.log").read_text().count('"trace"')
        found["lines of failures in the log"] = str(failed)
    if options.schemathesis:  # with the usual time-out, for it takes a 504 for a failure
        command = serve(options.model, threads=options.threads)
        with running(command, folder / "schemathesis.log", options.threads):
            found["schemathesis"] = schemathesis(options.schemathesis)
    return found


def schemathesis(program: str) -> str:
    """Let schemathesis make requests from openapi.json."""
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
