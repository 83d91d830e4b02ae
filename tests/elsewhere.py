"""A process on a system that lacks what Windows and macOS lack: `python tests/elsewhere.py JOBS`.

Simulated: what is missing there is taken away before this package is imported, and after those of
others, whose support of systems is their own; also in the processes that are started, by `spawn` or
`forkserver`. Below the folder `insensitive` names are found whatever the case of their letters.
Each job is a command of `nommer`; the exit codes are written as JSON. A job that serves is asked
for an answer and then stopped by Ctrl-C.
"""

import builtins
import io
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
import urllib.request
from contextlib import suppress
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
"""Names that Windows lacks, and macOS in part; but for what Python's own modules need here."""

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
    builtins.open = io.open


TAKE_A_PATH = (
    *("open", "stat", "lstat", "listdir", "access", "chmod", "utime", "readlink"),
    *("mkdir", "rmdir", "chdir", "remove", "unlink", "rename", "replace", "link", "symlink"),
)


REAL = SimpleNamespace(listdir=os.listdir, lstat=os.lstat, scandir=os.scandir)


def inside(path):
    """Tell paths below the folder where the case of letters does not matter."""
    folder = os.environ.get("INSENSITIVE")
    return bool(folder) and isinstance(path, str | Path) and str(path).startswith(folder)


def found(path):
    """Return the path of what lies there, whatever the case of its letters."""
    if not inside(path):
        return path
    with suppress(OSError, ValueError):
        REAL.lstat(path)
        return path
    way = Path(os.environ["INSENSITIVE"])
    for part in Path(path).relative_to(way).parts:
        names = []
        with suppress(OSError):  # not there, or no folder
            names = REAL.listdir(way)
        way /= next((name for name in names if name.lower() == part.lower()), part)
    return str(way)


class Entry:
    """A file of a folder, with the path by which the folder was asked for."""

    def __init__(self, entry, folder):
        self._entry, self.path = entry, os.path.join(folder, entry.name)  # noqa: PTH118

    def __getattr__(self, name):
        return getattr(self._entry, name)

    def __fspath__(self):
        return self.path


class Scan:
    """As `os.scandir`."""

    def __init__(self, path="."):
        self._entries, self._folder = REAL.scandir(found(path)), path if inside(path) else None

    def __next__(self):
        entry = next(self._entries)
        return Entry(entry, self._folder) if self._folder else entry

    def __iter__(self):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._entries.close()


def forget_case():
    """Find files whatever the case of their letters, as macOS and Windows do."""

    def insensitive(function):
        def call(*arguments, **options):
            return function(*map(found, arguments), **options)

        return call

    io.open = builtins.open = insensitive(io.open)
    os.scandir = Scan
    for name in TAKE_A_PATH:
        setattr(os, name, insensitive(getattr(os, name)))


def take_away():
    """Make this system one that lacks them."""
    for module, names in ABSENT.items():
        for name in names:
            if hasattr(module, name):
                delattr(module, name)
    for name in MODULES:
        sys.modules[name] = None
    hide_folders()
    forget_case()


def move():
    """Import what belongs to others, then take away."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import filelock  # noqa: F401, PLC0415 - it chooses by the system when it is imported
    import torch  # noqa: PLC0415
    import torchvision  # noqa: F401, PLC0415

    if __name__ == "__main__":  # workers load images alone
        import lightning.pytorch  # noqa: F401, PLC0415
        import onnxruntime  # noqa: F401, PLC0415
        import timm  # noqa: F401, PLC0415
        import uvicorn  # noqa: F401, PLC0415
        from lightning.pytorch.trainer.connectors import signal_connector  # noqa: PLC0415

        signal_connector.signal = SimpleNamespace(**vars(signal))  # it asks which system this is
    torch.set_num_threads(1)
    take_away()


def ask_and_stop(address, image):
    """Ask a server of this process for an answer, and stop it by Ctrl-C."""
    try:
        for _ in range(600):
            with suppress(OSError):
                urllib.request.urlopen(f"{address}/ready").close()
                break
            time.sleep(0.1)
        head = b'--x\r\nContent-Disposition: form-data; name="images"; filename="a.png"\r\n\r\n'
        body = head + Path(image).read_bytes() + b"\r\n--x--\r\n"
        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        asked = urllib.request.Request(f"{address}/predict", body, kind)
        sys.stdout.write(f"served: {urllib.request.urlopen(asked).read().decode()}\n")
    finally:
        signal.raise_signal(signal.SIGINT)


def main(jobs, start, image):
    """Run the jobs; return their exit codes."""
    multiprocessing.set_start_method(start, force=True)
    move()
    from nommer.cli import main as nommer  # noqa: PLC0415

    codes = []
    for job in jobs:
        if job[0] == "serve":
            address = f"http://127.0.0.1:{job[job.index('--port') + 1]}"
            threading.Thread(target=ask_and_stop, args=(address, image), daemon=True).start()
        codes.append(nommer(job))
    return codes


if __name__ == "__main__":
    given = json.loads(sys.stdin.read())
    os.environ["INSENSITIVE"] = given.get("insensitive", "")
    codes = main(given["jobs"], given.get("start", "spawn"), given.get("image"))
    Path(given["codes"]).write_text(json.dumps(codes), encoding="utf-8")
elif __name__ == "__mp_main__":  # a process that it started
    move()
