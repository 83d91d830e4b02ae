"""Runs `nommer` in fresh processes that faults happen to, for tests and for `benchmarks/faults.py`.

It is started once, loads what takes seconds to load, and forks a process for every line of JSON on
its standard input: `{"arguments": [...], "fault": [kind, ...], "err": FILE}`; with `"processes": n`
n of them, as torchrun starts them, of which the fault happens to the one of `"rank"`. It answers
with the exit codes, negative for a signal. Faults:

- `["step", n]`: SIGKILL when the n-th training step begins
- `["call", name, n]`: SIGKILL instead of the n-th call of `os.fsync` or `os.replace`
- `["write", n]`: SIGKILL when the first half of the n-th checkpoint is written
- `["after", seconds]`: SIGKILL after so long
- `["signal", number, n]`: that signal, to all processes of the run, when the n-th training step
  begins
- `["read"]`: SIGKILL when the training and validation data are read
- `["loss", n]`: the n-th training loss is infinite
- `["full", bytes]`: no file may grow over so many bytes
- `["count", name]`: none; how often `os.fsync` or `os.replace` was called is printed in the end

With the argument `quick` the pictures of runs are sketches (`tests/sketches.py`), and nothing waits
for the disk.
"""

import ctypes
import json
import os
import resource
import signal
import socket
import sys
import threading
import time
import traceback
from pathlib import Path


def count_down(owner, name, number, act):
    """Let `act` happen at the `number`-th call of a function, before it does anything."""
    original, left = getattr(owner, name), [number]

    def counted(*arguments, **options):
        left[0] -= 1
        if left[0] == 0:
            act()
        return original(*arguments, **options)

    setattr(owner, name, counted)


def count_calls(name, act):
    """Return what `act` returns, and print how often it called a function."""
    original, calls = getattr(os, name), []

    def counted(*arguments, **options):
        calls.append(1)
        return original(*arguments, **options)

    setattr(os, name, counted)
    code = act()
    sys.stderr.write(f"calls of {name}: {len(calls)}\n")
    return code


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def half_written(save, number):
    """`torch.save`, but for its `number`-th call, which ends with the process when half of it is
    written.
    """
    left = [number]

    def half(content, stream):
        left[0] -= 1
        save(content, stream)
        if left[0] == 0:
            stream.truncate(stream.tell() // 2)
            kill()

    return half


def prepare(kind, *what):
    """Let the fault happen in this process."""
    import torch  # noqa: PLC0415 - loaded by then

    from nommer.tasks.module import TaskModule  # noqa: PLC0415

    if kind == "step":
        count_down(TaskModule, "on_train_batch_start", what[0], kill)
    elif kind == "call":
        count_down(os, what[0], what[1], kill)
    elif kind == "write":
        torch.save = half_written(torch.save, what[0])
    elif kind == "after":
        threading.Timer(what[0], kill).start()
    elif kind == "signal":
        count_down(TaskModule, "on_train_batch_start", what[1], lambda: os.killpg(0, what[0]))
    elif kind == "read":
        from nommer.training import preparation  # noqa: PLC0415

        count_down(preparation, "read_data", 1, kill)
    elif kind == "loss":
        log_loss, calls = TaskModule.log_loss, iter(range(1, 1_000_000))
        TaskModule.log_loss = lambda *given: (
            log_loss(*given) + (float("inf") if next(calls) == what[0] else 0)
        )
    elif kind == "full":
        resource.setrlimit(resource.RLIMIT_FSIZE, (what[0], what[0]))


def join(rank, processes, port):
    """Be one of several processes that torchrun would have started."""
    from lightning_utilities.core.rank_zero import rank_zero_only  # noqa: PLC0415 - loaded by then

    where = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "TORCHELASTIC_RUN_ID": port,
        "GROUP_RANK": 0,
    }
    ranks = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": processes,
        "LOCAL_WORLD_SIZE": processes,
    }
    os.environ.update({name: str(value) for name, value in (where | ranks).items()})
    rank_zero_only.rank = rank


def work(job, rank, port):
    """Act in a forked process, and return its exit code."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # ends with the process that forked it
    os.setsid()  # as a terminal or a scheduler starts it: signals go to it and its workers
    with Path(job["err"]).open("ab") as err:
        os.dup2(err.fileno(), 1)
        os.dup2(err.fileno(), 2)
    from nommer.cli import main  # noqa: PLC0415

    if job.get("processes", 1) > 1:
        join(rank, job["processes"], port)
    kind, *what = (job.get("fault") or [None]) if rank == job.get("rank", 0) else [None]
    if kind == "count":
        return count_calls(what[0], lambda: main(job["arguments"]))
    if kind is not None:
        prepare(kind, *what)
    try:
        return main(job["arguments"])
    except SystemExit as end:
        return end.code


def serve():
    import torch  # noqa: PLC0415
    import torch.utils.tensorboard  # noqa: PLC0415 - Lightning's logger loads it late
    from sketches import saved_by, sketch  # noqa: PLC0415 - beside this script

    import nommer.exporting.delivery  # noqa: PLC0415
    import nommer.inference.evaluation  # noqa: PLC0415
    import nommer.screen  # noqa: PLC0415
    import nommer.training.train  # noqa: F401, PLC0415 - from here on processes start at once

    torch.set_num_threads(1)
    if sys.argv[1:] != ["quick"]:
        return answer_lines()
    os.fsync = lambda _: None
    with saved_by(sketch):
        return answer_lines()


def answer_lines():
    for line in sys.stdin:
        job, started = json.loads(line), time.monotonic()
        Path(job["err"]).write_bytes(b"")
        port = free_port()
        processes = [fork(job, rank, port) for rank in range(job.get("processes", 1))]
        codes = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes]
        answer = {"code": codes[0], "codes": codes, "seconds": time.monotonic() - started}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def fork(job, rank, port):
    """The id of a new process that does the job."""
    process = os.fork()
    if process == 0:
        code = 70
        try:
            code = work(job, rank, port)
        except Exception:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return process


if __name__ == "__main__":
    serve()
