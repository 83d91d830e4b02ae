"""A server process for `serving.py`, asked and watched."""

import http.client
import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

PORT = 8137
BOUNDARY = "nommerbenchmark"


def form(*contents: bytes) -> bytes:
    """Return the body of a request with image files."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="images"; filename="{n}.jpg"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n".encode()
        + content
        + b"\r\n"
        for n, content in enumerate(contents)
    ]
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def ask(body: bytes, timeout: float = 60) -> tuple[int, bytes]:
    """Send a request of its own connection; return status and body."""
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
    """Start a server process; yield it when it is ready, and the seconds until then."""
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
    """Return the command of our server."""
    return [
        *(sys.executable, "-m", "nommer", "serve", model, "--port", str(PORT)),
        *("--threads", str(threads), *options),
    ]


def memory(process: subprocess.Popen) -> float:
    """Return the MiB that a process holds."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


def seconds_of(process: subprocess.Popen) -> float:
    """Return the processor time of a process so far, in seconds."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
