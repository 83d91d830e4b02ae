"""`nommer benchmark`: speed and memory of networks, measured in turns in one process."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nommer.acceleration.compile import check_compiler, exact_float32, sound_attention
from nommer.benchmarking.cases import (
    Case,
    check_possible,
    groups_of,
    is_compiled,
    reference_backend,
)
from nommer.benchmarking.models import Networks, Step, dtype_of
from nommer.benchmarking.report import save_plot, to_markdown
from nommer.benchmarking.results import BenchmarkResult, Measurement
from nommer.benchmarking.timing import Spread, matrix_peak, peak_memory, time_in_turns, warm_up
from nommer.distributed.devices import torch_device
from nommer.files import write_json, write_text
from nommer.models.costs import giga_macs
from nommer.progress import notice
from nommer.runs.results import environment
from nommer.runs.results_folder import results_folder
from nommer.settings.benchmark import BenchmarkSettings

TRAINING_WORK = 3
"""Work of a training step in forward passes: two gradients per product go backwards."""

Builders = dict[str, Callable[[int], nn.Module]]


def run_benchmark(
    settings: BenchmarkSettings, *, literal: Builders | None = None
) -> BenchmarkResult:
    """Measure what `settings` ask for; see `nommer.api.benchmark`.

    Args:
        settings: what to measure.
        literal: other forms of some of the models, by their names, each a function from the image
            size to the network; they take turns with the others as the backend "literal", in
            float32.
    """
    check_possible(settings)
    device = torch.device(torch_device(settings.device))
    if any(is_compiled(backend) for backend in settings.backends):
        check_compiler()
    folder = results_folder(None, "benchmark", settings.out, overwrite=settings.overwrite)
    result = BenchmarkResult(
        folder, device_name(device), reference=next(iter(settings.peers), None)
    )
    with torch_threads(settings.threads), exact_float32():
        measure_all(settings, result, Bench(settings, device, literal or {}))
    save_plot(result, folder / "time_by_pixels.png")
    return result


def measure_all(settings: BenchmarkSettings, result: BenchmarkResult, bench: "Bench") -> None:
    """Group after group, each written down as soon as it is measured."""
    facts = environment() | {
        "settings": {name: plain(value) for name, value in vars(settings).items()}
    }
    stop = time.monotonic() + 60 * settings.minutes
    for group in groups_of(settings):
        first = group[0]
        notice(
            f"{first.mode}, precision {first.precision}, {first.size} pixels, batch {first.batch}"
        )
        if time.monotonic() > stop:
            left = f"left out: {settings.minutes:g} minutes were over"
            result.measurements.extend(Measurement(case, failure=left) for case in group)
        else:
            with (
                sound_attention() if first.mode == "training" else nullcontext()
            ):  # as the verbs do
                result.measurements.extend(
                    bench.measure([*group, *bench.literal_cases(group)], result)
                )
        write_json(result.out / "result.json", {"environment": facts, **result.to_dict()})
        write_text(result.out / "report.md", to_markdown(result, facts))


class Bench:
    """Measures groups of cases on a device."""

    def __init__(
        self, settings: BenchmarkSettings, device: torch.device, literal: Builders
    ) -> None:
        self.settings, self.device = settings, device
        self.networks = Networks(
            str(device), {f"{name} (literal)": build for name, build in literal.items()}
        )
        self.literal = literal

    def literal_cases(self, group: list[Case]) -> list[Case]:
        """The literal forms of a group's models."""
        first = group[0]
        names = [name for name in self.literal if first.precision == "32"]
        return [replace(first, model=name, backend="literal") for name in names]

    def measure(self, cases: list[Case], result: BenchmarkResult) -> list[Measurement]:
        """Time the cases of a group in turns, then their memory one by one."""
        precision = cases[0].precision
        if precision not in result.peaks:
            result.peaks[precision] = matrix_peak(dtype_of(precision), self.device)
        steps: dict[Case, tuple[Step, Callable[[], int]]] = {}
        expected: dict[Case, float] = {}
        failures: dict[Case, str] = {}
        for case in cases:
            with self.failing_into(failures, case):
                self.count(case, result)
                step = self.networks.step(self.as_built(case))
                expected[case] = warm_up(step[0], self.device)
                steps[case] = step
        times = self.take_turns(
            {case: step for case, (step, _) in steps.items()}, expected, failures
        )
        memory: dict[Case, int | None] = {}
        for case in times:
            with self.failing_into(failures, case):
                kept = steps[case][
                    1
                ]()  # and sets gradients free, so that they count as what is added
                grown = peak_memory(steps[case][0], self.device)
                memory[case] = None if grown is None else kept + grown
        steps.clear()
        self.tidy_up(cases)
        return [self.put_together(case, times, memory, failures, result) for case in cases]

    def take_turns(
        self, calls: dict[Case, Step], expected: dict[Case, float], failures: dict[Case, str]
    ) -> dict[Case, list[float]]:
        """Seconds per case and round."""
        if not calls:
            return {}
        limits: dict[str, Any] = {"rounds": self.settings.rounds, "seconds": self.settings.seconds}
        failed: dict[Case, str] = {}
        with self.failing_into(failed, next(iter(calls))):
            return time_in_turns(
                calls, expected, self.device, alone=next(iter(calls)).batch == 1, **limits
            )
        failures.update(dict.fromkeys(calls, next(iter(failed.values()))))
        return {}

    def as_built(self, case: Case) -> Case:
        """The case by the name that its network is built by."""
        return (
            replace(case, model=f"{case.model} (literal)", backend="eager")
            if case.backend == "literal"
            else case
        )

    def count(self, case: Case, result: BenchmarkResult) -> None:
        """Write down what a network costs, once per size."""
        if case.backend == "literal" or f"gmacs_{case.size}" in result.costs.get(case.model, {}):
            return
        network = self.networks.plain(case.model, case.size)
        costs = result.costs.setdefault(case.model, {})
        costs["parameters"] = sum(parameter.numel() for parameter in network.parameters())
        costs[f"gmacs_{case.size}"] = giga_macs(network, case.size)

    @contextmanager
    def failing_into(self, failures: dict[Case, str], case: Case) -> Iterator[None]:
        """Turn an error of a case (memory, size, compiler) into a row that says so."""
        try:
            yield
        except Exception as error:  # whatever a network, a compiler or a runtime may raise
            failures[case] = name_failure(error)
            notice(f"  {case.model}, {case.backend}: {failures[case]}")
        if case in failures and self.device.type == "cuda":
            torch.cuda.empty_cache()

    def tidy_up(self, cases: list[Case]) -> None:
        """Forget compiled graphs, each of which is for one group, and give memory back."""
        if any(is_compiled(case.backend) for case in cases):
            torch.compiler.reset()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def put_together(
        self,
        case: Case,
        times: dict[Case, list[float]],
        memory: dict[Case, int | None],
        failures: dict[Case, str],
        result: BenchmarkResult,
    ) -> Measurement:
        """Everything about one case."""
        if case not in times:
            return Measurement(case, failure=failures.get(case, "not measured"))
        seconds, gmacs = Spread.of(times[case]), result.costs[case.model][f"gmacs_{case.size}"]
        operations = 2e9 * gmacs * case.batch * (TRAINING_WORK if case.mode == "training" else 1)
        theirs = times.get(
            replace(case, model=result.reference or "", backend=reference_backend(case.backend))
        )
        ratio = (
            Spread.of([their / our for their, our in zip(theirs, times[case], strict=True)])
            if theirs
            else None
        )
        return Measurement(
            case,
            failures.get(case),
            seconds=seconds,
            ratio=ratio,
            memory=memory.get(case),
            share=operations / seconds.median / result.peaks[case.precision],
        )


def name_failure(error: Exception) -> str:
    """Return in one line why a case could not be measured."""
    text = " ".join(str(error).split())
    if (
        isinstance(error, torch.OutOfMemoryError)
        or "can't allocate memory" in text
        or isinstance(error, MemoryError)
    ):
        return "out of memory"
    return f"{type(error).__name__}: {text[:200]}"


def device_name(device: torch.device) -> str:
    """Return the name of the device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type != "cpu":
        return str(device)
    capability = torch.backends.cpu.get_cpu_capability()
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "CPU"
    )
    return f"{model} ({capability})"


@contextmanager
def torch_threads(threads: int | None) -> Iterator[None]:
    """Compute with so many threads on the CPU."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def plain(value: Any) -> Any:
    """A setting as JSON takes it."""
    return (
        str(value)
        if isinstance(value, Path)
        else list(value)
        if isinstance(value, tuple)
        else value
    )
