"""A server process, as people start it: a whole file, no PyTorch, and a graceful end."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import httpx

from nommer.serving.server import listen
from nommer.settings.serve import ServeSettings

_SERVE = """
import sys
from nommer.cli import main
code = main(["serve", *sys.argv[1:]])
slow = sorted({"torch", "timm", "torchvision", "matplotlib", "scipy"} & set(sys.modules))
print("LOADED", len(sys.modules), slow, file=sys.stderr)
sys.exit(code)
"""


def test_a_whole_file_is_served_without_torch_and_the_end_is_graceful(strongest, photo):
    command = [sys.executable, "-c", _SERVE, str(strongest), "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ)
    try:
        started = json.loads(process.stderr.readline())
        began = time.monotonic()
        while True:
            try:
                ready = httpx.get(f"{started['address']}/ready", timeout=5)
                break
            except httpx.TransportError:
                assert time.monotonic() - began < 60
                time.sleep(0.05)
        asked = {"images": ("a.png", photo((60, 60, 200)))}
        found = httpx.post(f"{started['address']}/predict", files=asked, timeout=30).json()
        process.send_signal(signal.SIGTERM)
        told = process.communicate(timeout=60)[1].splitlines()
    finally:
        process.kill()
    assert ready.json() == {"status": "ready"}
    assert found["results"][0]["top"][0]["class"] == "blue"
    assert process.returncode == 0
    assert json.loads(told[-2])["event"] == "stopped"
    assert told[-1].startswith("LOADED")
    assert told[-1].endswith("[]")
    assert int(told[-1].split()[1]) < 1500


def test_answers_are_sent_at_once():
    """Nagle's algorithm would hold back the end of each for 40 ms."""
    with listen(ServeSettings(models=("nommer_nano",), port=0)) as listening:
        listening.listen()
        with socket.create_connection(listening.getsockname()), listening.accept()[0] as taken:
            assert taken.proto == socket.IPPROTO_TCP, "what asyncio looks for to set TCP_NODELAY"
