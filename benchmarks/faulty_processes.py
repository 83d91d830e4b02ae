# ruff: noqa: S603 - the command is its own
"""Trainings in fresh processes, to which faults happen."""

import json
import os
import subprocess
import sys
from pathlib import Path

SERVER = Path(__file__).resolve().parents[1] / "tests" / "faults.py"


class Processes:
    """`nommer` in fresh processes, with faults."""

    def __init__(self, folder: Path) -> None:
        self.err = folder / "err.txt"
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.server = subprocess.Popen([sys.executable, str(SERVER)], env=environment, **pipes)

    def train(self, *arguments: object, fault: list | None = None) -> tuple[int, str]:
        """Train, and return the exit code, negative for a signal, and what was printed."""
        job = {"arguments": ["train", *map(str, arguments)], "fault": fault, "err": str(self.err)}
        self.server.stdin.write(f"{json.dumps(job)}\n")
        self.server.stdin.flush()
        answer = json.loads(self.server.stdout.readline())
        return answer["code"], self.err.read_text(errors="replace")

    def end(self) -> None:
        """End the process that starts them."""
        self.server.stdin.close()
        self.server.wait()
