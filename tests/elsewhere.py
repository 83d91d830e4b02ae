"""A process on a system that lacks what Windows and macOS lack: `python tests/elsewhere.py JOBS`.

Simulated: what is missing there is taken away before this package is imported, and after those of
others, whose support of systems is their own. Processes are spawned. Each job is a command of
`nommer`; the exit codes are written as JSON.
"""

import io
import json
import multiprocessing
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

ABSENT = {
    os: (
        *("fork", "forkpty", "register_at_fork", "pwrite", "pread", "memfd_create", "MFD_CLOEXEC"),
        *("sched_getaffinity", "O_NOFOLLOW", "O_NONBLOCK", "mkfifo", "getuid", "geteuid"),
        *("killpg", "setsid", "posix_fallocate", "posix_fadvise", "getloadavg", "wait4"),
    ),
    signal: ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM", "alarm", "SIGQUIT", "SIGTSTP"),
}
"""What Windows does not have, and macOS in part; but for what Python's own modules need here."""

MODULES = ("fcntl", "resource", "termios", "pwd", "grp")

FOLDERS = ("/proc", "/sys", "/dev/shm")


def hide_folders():
    """Let nothing below these folders be opened or looked at."""

    def hidden(function):
        def call(path, *arguments, **options):
            text = os.fspath(path) if isinstance(path, str | Path) else ""
            if text.startswith(FOLDERS):
                raise FileNotFoundError(2, "No such file or directory", text)
            return function(path, *arguments, **options)

        return call

    io.open, os.stat, os.lstat = hidden(io.open), hidden(os.stat), hidden(os.lstat)


def take_away():
    """Make this system one that lacks them."""
    for module, names in ABSENT.items():
        for name in names:
            if hasattr(module, name):
                delattr(module, name)
    for name in MODULES:
        sys.modules[name] = None
    hide_folders()


def main(jobs):
    """Run the jobs; print their exit codes."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import filelock  # noqa: F401, PLC0415 - it chooses by the system when it is imported
    import lightning.pytorch  # noqa: F401, PLC0415
    import onnxruntime  # noqa: F401, PLC0415
    import timm  # noqa: F401, PLC0415
    import torch  # noqa: PLC0415
    import torchvision  # noqa: F401, PLC0415
    from lightning.pytorch.trainer.connectors import signal_connector  # noqa: PLC0415

    signal_connector.signal = SimpleNamespace(**vars(signal))  # it asks which system this is

    torch.set_num_threads(1)
    multiprocessing.set_start_method("spawn", force=True)
    take_away()
    from nommer.cli import main as nommer  # noqa: PLC0415

    return [nommer(job) for job in jobs]


if __name__ == "__main__":
    given = json.loads(sys.stdin.read())
    Path(given["codes"]).write_text(json.dumps(main(given["jobs"])), encoding="utf-8")
