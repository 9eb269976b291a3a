"""How long two models take: paired runs in turn, in one process, on the same inputs."""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import onnx
import onnx_ir as ir

from drpass import console, model_io, runtime
from drpass.data import Batch, Data, DataSource, as_data
from drpass.errors import DrpassError
from drpass.execution import Model, Provider, check_same_interface, open_session, run
from drpass.rivals import Rival, open_rivals
from drpass.tensors import Feeds, input_specs, interface_of

#: Inputs are held in memory while they are timed.
_MAX_INPUT_BYTES = 4 << 30

#: Threads of other runtimes may spin for a while after a run; what follows them waits this long.
_REST_SECONDS = 0.05


@dataclass(frozen=True)
class Machine:
    """Where it was timed. ``load_before``, ``load_after``: runnable threads, averaged over a minute (None: not known);
    ``kernels``: the kernel set of the operator."""

    cpu: str
    cores: int
    kernels: str
    load_before: float | None
    load_after: float | None


def this_machine(load_before: float | None = None) -> Machine:
    """As it is now. Raises DrpassError if there is no operator library."""
    return Machine(_cpu(), cores(), runtime.kernel_set(), load_before, _load())


class Ratio(NamedTuple):
    """Time of the original over time of another: above 1 the other is faster. Median and quartiles of the pairs."""

    median: float
    first: float
    third: float

    def describe(self) -> str:
        """``4.72 [4.67, 4.77]``."""
        return f"{self.median:.2f} [{self.first:.2f}, {self.third:.2f}]"


def paired_ratio(original_ms: Sequence[float], other_ms: Sequence[float]) -> Ratio:
    """Of times that were taken in pairs."""
    ratios = [left / right for left, right in zip(original_ms, other_ms)]
    if len(ratios) < 2:
        return Ratio(ratios[0], ratios[0], ratios[0])
    first, _, third = statistics.quantiles(ratios, n=4, method="inclusive")
    return Ratio(statistics.median(ratios), first, third)


@dataclass(frozen=True)
class Timing:
    """Times of one call in milliseconds: entries ``i`` of all lists ran after each other on the same input, each
    contestant being the first in an equal share of them. ``rivals_ms``: the original under other runtimes."""

    threads: int
    original_ms: list[float]
    rewritten_ms: list[float]
    rivals_ms: dict[str, list[float]] = field(default_factory=dict)

    @property
    def ratio(self) -> Ratio:
        """Of the rewritten model."""
        return paired_ratio(self.original_ms, self.rewritten_ms)

    def rival_ratio(self, name: str) -> Ratio:
        """Of the original model under another runtime."""
        return paired_ratio(self.original_ms, self.rivals_ms[name])

    def after(self, count: int) -> Timing:
        """Without the first ``count`` turns: the steady state of a sequence."""
        rivals = {name: times[count:] for name, times in self.rivals_ms.items()}
        return Timing(self.threads, self.original_ms[count:], self.rewritten_ms[count:], rivals)

    def to_dict(self) -> dict[str, Any]:
        """For JSON, with the medians."""
        return {
            "threads": self.threads,
            **_figures("original", self.original_ms),
            **_figures("rewritten", self.rewritten_ms),
            "ratio_median": self.ratio.median,
            "ratio_quartiles": [self.ratio.first, self.ratio.third],
            "rivals": {
                name: {"median_ms": statistics.median(times), "ratio": self.rival_ratio(name)._asdict(), "ms": times}
                for name, times in self.rivals_ms.items()
            },
        }


def _figures(name: str, times: list[float]) -> dict[str, Any]:
    return {f"{name}_median_ms": statistics.median(times), f"{name}_ms": times}


@dataclass(frozen=True)
class BenchmarkReport:
    """``data``: words that say what was run; ``batch``: samples a call, of the largest; ``inputs``: different ones;
    ``rivals_left_out``: for each runtime that was asked for and is not in the timings, why."""

    data: str
    batch: int
    inputs: int
    provider: Provider
    machine: Machine
    timings: list[Timing]
    rivals_left_out: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "data": self.data,
            "batch": self.batch,
            "inputs": self.inputs,
            "provider": self.provider,
            "machine": asdict(self.machine),
            "timings": [timing.to_dict() for timing in self.timings],
            "rivals_left_out": self.rivals_left_out,
        }


def bench(
    original: Model,
    rewritten: Model,
    data: DataSource = None,
    *,
    threads: Sequence[int] = (1,),
    runs: int = 30,
    warmup: int = 3,
    provider: Provider = "cpu",
    rivals: Sequence[Rival] = (),
    show_progress: bool = False,
) -> BenchmarkReport:
    """Time two models against each other, both with all of ONNX Runtime's optimisations on the same provider.

    Each of ``runs`` pairs runs both models on the next input, in alternating order, so that whatever disturbs the
    machine disturbs both; ``warmup`` pairs before that are not counted. One series for each entry of ``threads``.
    ``rivals`` run the original with the same threads in the same turns. Raises DrpassError if a model or the data
    can't be used.
    """
    if runs < 1 or warmup < 0 or not threads:
        raise DrpassError("there must be at least 1 run, 0 warm-up runs and one number of threads")
    load = _load()
    source = as_data(data, input_specs(open_session(original, provider, threads[0])))
    batches = _held(source)
    steps = len(threads) * (warmup + runs)
    timings: list[Timing] = []
    left_out: dict[str, str] = {}
    with console.progress("Timing", steps) if show_progress else nullcontext(lambda: None) as advance:
        for count in threads:
            left, right = open_session(original, provider, count), open_session(rewritten, provider, count)
            check_same_interface(interface_of(left), interface_of(right))
            contestants = {"original": _runner(left), "rewritten": _runner(right)}
            calls, reasons = _open_rivals(rivals, original, batches, contestants["original"], count)
            contestants |= calls
            left_out |= reasons
            turns = []
            for index in range(-warmup, runs):
                turns.append(_time_turn(contestants, batches, index))
                advance()
            times = {name: [turn[name] for turn in turns[warmup:]] for name in contestants}
            timings.append(Timing(count, times.pop("original"), times.pop("rewritten"), times))
    return BenchmarkReport(
        data=source.describe(),
        batch=max(batch.samples for batch in batches),
        inputs=len(batches),
        provider=provider,
        machine=this_machine(load),
        timings=timings,
        rivals_left_out=left_out,
    )


def _runner(session: Any) -> Callable[[Feeds], Any]:
    return lambda feeds: run(session, feeds)


def _open_rivals(
    rivals: Sequence[Rival], original: Model, batches: Sequence[Batch], reference: Callable[[Feeds], Any], threads: int
) -> tuple[dict[str, Callable[[Feeds], Any]], dict[str, str]]:
    """Those that can run the original, each followed by a rest; and why the others can't."""
    if not rivals:
        return {}, {}
    feeds = batches[0].feeds
    shapes = {name: array.shape for name, array in feeds.items()}
    if any({name: array.shape for name, array in batch.feeds.items()} != shapes for batch in batches):
        return {}, {rival.name: "the inputs are not all of one shape" for rival in rivals}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        if isinstance(original, (onnx.ModelProto, ir.Model)):
            model_io.save(original, path)
        else:
            path = Path(original)
        calls, reasons = open_rivals(rivals, path, feeds, reference(feeds), threads)
    return dict(calls), reasons


def _held(source: Data) -> list[Batch]:
    """All batches, so that reading them is not timed."""
    held, size = [], 0
    for batch in source.batches():
        size += sum(array.nbytes for array in batch.feeds.values())
        if size > _MAX_INPUT_BYTES:
            raise DrpassError(f"the inputs take more than {_MAX_INPUT_BYTES >> 30} GiB; give a smaller --limit")
        held.append(batch)
    return held


def _time_turn(
    contestants: dict[str, Callable[[Feeds], Any]], batches: Sequence[Batch], index: int
) -> dict[str, float]:
    """Milliseconds of each on one input; every input meets every order of the rotation in turn."""
    turn, position = divmod(index, len(batches))
    names = list(contestants)
    start = (turn + position) % len(names)
    times = {}
    for name in names[start:] + names[:start]:
        begin = time.perf_counter_ns()
        contestants[name](batches[position].feeds)
        times[name] = (time.perf_counter_ns() - begin) / 1e6
        if name not in ("original", "rewritten"):
            time.sleep(_REST_SECONDS)
    return times


def _load() -> float | None:
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):  # not on Windows
        return None


def cores() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
