"""Give damaged and hostile files, thousands of each kind, to the readers that take them.

    nice python benchmarks/fuzz.py --inputs 2000

A sound corpus is made in code. Every input is one file of it with flipped bits, cut, or with pieces
moved, doubled or put in. It must be read, or refused with one sentence: no traceback, no hang, no
growth of memory above 1.5 GB, and, where checksums are promised, nothing taken that was changed.
Each input has a number; `--first N --inputs 1` does it again.
"""

import argparse
import io
import json
import multiprocessing
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from fuzz_kinds import KINDS, Kind

from nommer.errors import InputError

SECONDS = 30
"""Of one input, from which on it hangs."""

READY = -1
"""In the place of an input's number: the first may be tried."""

GROWTH = 1.5e9
"""Bytes of memory that one input may add."""

TOKENS = [
    b"-1", b"1e999", b"NaN", b"nan", b"9" * 400, b"\0", b"\xff\xfe", b"[" * 3000, b"{" * 3000,
    b'"', b"'", b"<a>" * 3000, b"&a [*a, *a]", b"*a", b"../../x", b"/dev/zero", b"\x1b[31m",
    b"\xed\xa0\x80", b"null", b"true", b"0x10", b"1_0", b"=1+1", b"\r\n", b",", b"\t", b";", b"%s",
    b"!!python/object:os.system", b"2147483648", b"1e-320", b"\xe2\x80\xae", b"x" * 5000,
]  # fmt: skip


def damage(content: bytes, rng: np.random.Generator) -> bytes:
    """Return a file's content with one or a few faults."""
    changed = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        place, length = int(rng.integers(0, len(changed) + 1)), int(rng.integers(1, 65))
        piece = changed[place : place + length]
        match int(rng.integers(0, 6)):
            case 0 | 1 if changed:
                changed[place % len(changed)] ^= 1 << int(rng.integers(0, 8))
            case 2:
                del changed[place:]
            case 3:
                del changed[place : place + length]
            case 4:
                changed[place:place] = piece * int(rng.integers(1, 4))
            case _:
                changed[place:place] = TOKENS[int(rng.integers(0, len(TOKENS)))]
    return bytes(changed)


def try_input(kind: Kind, corpus: Path, folder: Path, number: int) -> str:
    """Try one input and return "read", "refused", or the fault."""
    rng = np.random.default_rng(number)
    if not folder.exists():
        shutil.copytree(corpus, folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    chosen = files[int(rng.integers(0, len(files)))]
    sound = chosen.read_bytes()
    damaged = damage(sound, rng)
    chosen.write_bytes(damaged)
    try:
        kind.read(folder, chosen)
    except InputError:
        return "refused"
    except Exception:
        return f"traceback: {chosen.name}: {traceback.format_exc(limit=-4)}"
    finally:
        chosen.write_bytes(sound)
    if kind.has_checksums and not _same(chosen, sound, damaged):
        return "taken"
    return "read"


def _same(file: Path, first: bytes, second: bytes) -> bool:
    """Say if two contents of a file mean the same: blanks in JSON mean nothing."""
    if first == second or file.suffix != ".json":
        return first == second
    try:
        return bool(json.loads(first) == json.loads(second))
    except (ValueError, RecursionError):
        return False


def work(name: str, numbers: list[int], answers: "multiprocessing.Queue[tuple[int, str]]") -> None:
    """Try inputs in a process of its own, and say what becomes of each."""
    torch.set_num_threads(1)
    sys.stderr = io.StringIO()
    with tempfile.TemporaryDirectory() as place:
        corpus = Path(place, "corpus")
        corpus.mkdir()
        KINDS[name].make(corpus)
        KINDS[name].read(corpus, next(p for p in sorted(corpus.rglob("*")) if p.is_file()))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        answers.put((READY, ""))
        for number in numbers:
            found = try_input(KINDS[name], corpus, Path(place, "input"), number)
            grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
            answers.put((number, found if grown < GROWTH else f"growth: {grown / 1e9:.1f} GB"))


def fuzz(name: str, first: int, inputs: int) -> dict[int, str]:
    """Try so many inputs of a kind and return what each gave."""
    context = multiprocessing.get_context("fork")
    results: dict[int, str] = {}
    waiting = list(range(first, first + inputs))
    while waiting:
        answers: multiprocessing.Queue[tuple[int, str]] = context.Queue()
        process = context.Process(target=work, args=(name, waiting, answers))
        process.start()
        answers.get(timeout=20 * SECONDS)  # the corpus is made
        fate = ""
        while waiting and not fate:
            try:
                number, found = answers.get(timeout=SECONDS)
            except Exception:  # nothing came in time
                fate = "hang" if process.is_alive() else f"died: {process.exitcode}"
                results[waiting.pop(0)] = fate
            else:
                results[number] = found
                waiting.remove(number)
                fate = "restart" if found.startswith("growth") else ""
        process.kill()
        process.join()
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--inputs", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    failed = 0
    print("| kind | inputs | read | refused | wrong | seconds |\n|---|---|---|---|---|---|")
    for name in options.kinds:
        begun = time.monotonic()
        found = fuzz(name, options.first, options.inputs)
        counts = Counter(answer.split(":")[0] for answer in found.values())
        wrong = {n: a for n, a in found.items() if a not in ("read", "refused")}
        failed += len(wrong)
        print(
            f"| {name} | {len(found)} | {counts['read']} | {counts['refused']} | {len(wrong)} | "
            f"{time.monotonic() - begun:.0f} |",
            flush=True,
        )
        for number, answer in list(wrong.items())[:20]:
            print(f"  {name} {number}: {answer}", file=sys.stderr)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
