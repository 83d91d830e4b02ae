"""Everything that was never run on a GPU, in one script of under ten minutes.

    python benchmarks/gpu.py                             # runs/gpu/report.md and report.json
    python benchmarks/gpu.py --minutes 4 --parts compiled,nan
    python benchmarks/gpu.py --tiny --out runs/gpu-tiny  # small sizes, on the CPU too: does it run?

Both files are written again after every row, so nothing is lost where time runs out or the process
is ended. A part that fails leaves its traceback in the report and the next one begins. Parts, the
most wanted first:

- compiled: the training step of NomMer-T eager, compiled and by blocks, beside Swin-T's;
- nan: 500 training steps at 64 pixels, without cuDNN's attention and with it: NaN?
- half: training in float16 and bfloat16: are losses finite, and how fast is it?
- graphs: NomMer-S and -B for one image, launched kernel by kernel and as one CUDA graph;
- throughput: images per second at batches of 1 to 256, beside three networks of timm;
- flex: window attention with its bias by torch's flex attention, beside what is used now;
- processes: a training step in two processes, where there are two GPUs.
"""

import argparse
import json
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import timm
import torch
from gpu_bench import TINY, Bench, Row, Sizes
from gpu_inference import flex, graphs, throughput
from gpu_training import compiled, half, nan, processes

PARTS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "compiled": compiled,
    "nan": nan,
    "half": half,
    "graphs": graphs,
    "throughput": throughput,
    "flex": flex,
    "processes": processes,
}


@dataclass
class Report:
    """Keep all that is known so far in two files."""

    folder: Path
    facts: Row
    parts: dict[str, Row] = field(default_factory=dict)

    def write(self) -> None:
        """Write both files."""
        self.folder.mkdir(parents=True, exist_ok=True)
        told = json.dumps({**self.facts, "parts": self.parts}, indent=1)
        (self.folder / "report.json").write_text(told, encoding="utf-8")
        (self.folder / "report.md").write_text(self.in_markdown(), encoding="utf-8")

    def in_markdown(self) -> str:
        """Return the tables of all parts."""
        facts = [f"- {name}: {value}" for name, value in self.facts.items()]
        lines = ["# What a GPU was asked", "", *facts]
        for name, part in self.parts.items():
            lines += ["", f"## {name}: {part['state']}", "", *_table(part["rows"])]
            lines += ["", *(f"- warned: {_cell(one)}" for one in part.get("warnings", ()))]
            if part.get("traceback"):
                lines += ["", "```", part["traceback"].rstrip(), "```"]
        return "\n".join(lines) + "\n"


def _table(rows: Sequence[Row]) -> list[str]:
    names = list(dict.fromkeys(name for row in rows for name in row))
    if not names:
        return ["no rows"]
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    return lines + [f"| {' | '.join(_cell(row.get(name)) for name in names)} |" for row in rows]


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else " ".join(str(value).replace("|", "\\|").split())


def run_parts(names: Sequence[str], bench: Bench, report: Report) -> None:
    """Run the parts in turn; what fails is reported and stops no other."""
    for name in names:
        part: Row = {"state": "running", "rows": []}
        report.parts[name] = part
        if bench.late:
            part["state"] = "left out, the time is spent"
            report.write()
            continue
        start = time.monotonic()
        try:
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("default")
                for row in PARTS[name](bench):
                    part["rows"].append(row)
                    part["warnings"] = sorted({str(one.message) for one in warned})
                    report.write()
            part["state"] = f"done in {time.monotonic() - start:.0f} s"
        except Exception as error:
            part["state"] = f"failed: {type(error).__name__}"
            part["traceback"] = traceback.format_exc()
        finally:
            report.write()
        print(f"{name}: {part['state']}", flush=True)
        if bench.device.type == "cuda":
            torch.cuda.empty_cache()


def facts_of(device: torch.device, sizes: Sizes) -> Row:
    """Return the facts that the numbers hang on."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "GPUs": torch.cuda.device_count(),
        "torch": torch.__version__,
        "timm": timm.__version__,
        "sizes": "tiny: these numbers tell nothing" if sizes is TINY else "full",
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"))
    parser.add_argument("--minutes", type=float, default=9.5)
    parser.add_argument("--parts", default=",".join(PARTS), help="with commas")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--tiny", action="store_true", help="small sizes, nothing compiled")
    options = parser.parse_args(arguments)
    names = options.parts.split(",")
    if unknown := set(names) - set(PARTS):
        parser.error(f"--parts {','.join(unknown)}: choose from {', '.join(PARTS)}")
    if options.device == "cpu" and not options.tiny:
        parser.error("there is no GPU here; --tiny tries the script out on the CPU")
    sizes, device = TINY if options.tiny else Sizes(), torch.device(options.device)
    bench = Bench(sizes, device, time.monotonic() + 60 * options.minutes)
    with torch.compiler.set_stance("force_eager") if options.tiny else nullcontext():
        run_parts(names, bench, Report(options.out, facts_of(device, sizes)))
    print(options.out / "report.md")


if __name__ == "__main__":
    main()
