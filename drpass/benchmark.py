"""How long two models take: paired runs in turn, in one process, on the same inputs."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnxruntime as ort

from drpass import console, runtime
from drpass.data import Batch, Data, DataSource, as_data
from drpass.errors import DrpassError
from drpass.execution import Model, Provider, check_same_interface, open_session, run
from drpass.tensors import Feeds, input_specs

#: Inputs are held in memory while they are timed.
_MAX_INPUT_BYTES = 4 << 30


@dataclass(frozen=True)
class Machine:
    """Where it was timed. ``load_before``, ``load_after``: runnable threads, averaged over a minute (None: not known);
    ``kernels``: the kernel set of the operator."""

    cpu: str
    cores: int
    kernels: str
    load_before: float | None
    load_after: float | None


@dataclass(frozen=True)
class Timing:
    """Times of one call in milliseconds, pair by pair: ``original_ms[i]`` and ``rewritten_ms[i]`` ran after each
    other on the same input, each being the first of the two in half of the pairs."""

    threads: int
    original_ms: list[float]
    rewritten_ms: list[float]

    @property
    def ratios(self) -> list[float]:
        """Original over rewritten of each pair: above 1 the rewritten model is faster."""
        return [left / right for left, right in zip(self.original_ms, self.rewritten_ms)]

    @property
    def ratio(self) -> float:
        """The median ratio."""
        return statistics.median(self.ratios)

    @property
    def quartiles(self) -> tuple[float, float]:
        """The first and third quartile of the ratio."""
        if len(self.ratios) < 2:
            return self.ratios[0], self.ratios[0]
        first, _, third = statistics.quantiles(self.ratios, n=4, method="inclusive")
        return first, third

    def to_dict(self) -> dict[str, Any]:
        """For JSON, with the medians."""
        return {
            "threads": self.threads,
            "original_median_ms": statistics.median(self.original_ms),
            "rewritten_median_ms": statistics.median(self.rewritten_ms),
            "ratio_median": self.ratio,
            "ratio_quartiles": list(self.quartiles),
            "original_ms": self.original_ms,
            "rewritten_ms": self.rewritten_ms,
        }


@dataclass(frozen=True)
class BenchmarkReport:
    """``data``: words that say what was run; ``batch``: samples a call, of the largest; ``inputs``: different ones."""

    data: str
    batch: int
    inputs: int
    provider: Provider
    machine: Machine
    timings: list[Timing]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "data": self.data,
            "batch": self.batch,
            "inputs": self.inputs,
            "provider": self.provider,
            "machine": asdict(self.machine),
            "timings": [timing.to_dict() for timing in self.timings],
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
    show_progress: bool = False,
) -> BenchmarkReport:
    """Time two models against each other, both with all of ONNX Runtime's optimisations on the same provider.

    Each of ``runs`` pairs runs both models on the next input, in alternating order, so that whatever disturbs the
    machine disturbs both; ``warmup`` pairs before that are not counted. One series for each entry of ``threads``.
    Raises DrpassError if a model or the data can't be used.
    """
    if runs < 1 or warmup < 0 or not threads:
        raise DrpassError("there must be at least 1 run, 0 warm-up runs and one number of threads")
    kernels, load = runtime.kernel_set(), _load()
    source = as_data(data, input_specs(open_session(original, provider, threads[0])))
    batches = _held(source)
    steps = len(threads) * (warmup + runs)
    timings = []
    with console.progress("Timing", steps) if show_progress else nullcontext(lambda: None) as advance:
        for count in threads:
            left, right = open_session(original, provider, count), open_session(rewritten, provider, count)
            check_same_interface(left, right)
            pairs = []
            for index in range(-warmup, runs):
                pairs.append(_time_pair(left, right, batches, index))
                advance()
            timings.append(Timing(count, [one for one, _ in pairs[warmup:]], [other for _, other in pairs[warmup:]]))
    return BenchmarkReport(
        data=source.describe(),
        batch=max(batch.samples for batch in batches),
        inputs=len(batches),
        provider=provider,
        machine=Machine(_cpu(), _cores(), kernels, load, _load()),
        timings=timings,
    )


def _held(source: Data) -> list[Batch]:
    """All batches, so that reading them is not timed."""
    held, size = [], 0
    for batch in source.batches():
        size += sum(array.nbytes for array in batch.feeds.values())
        if size > _MAX_INPUT_BYTES:
            raise DrpassError(f"the inputs take more than {_MAX_INPUT_BYTES >> 30} GiB; give a smaller --limit")
        held.append(batch)
    return held


def _time_pair(
    left: ort.InferenceSession, right: ort.InferenceSession, batches: Sequence[Batch], index: int
) -> tuple[float, float]:
    """Milliseconds of both on one input, which every input meets in both orders in turn."""
    turn, position = divmod(index, len(batches))
    feeds = batches[position].feeds
    if (turn + position) % 2:
        later = _milliseconds(right, feeds)
        return _milliseconds(left, feeds), later
    return _milliseconds(left, feeds), _milliseconds(right, feeds)


def _milliseconds(session: ort.InferenceSession, feeds: Feeds) -> float:
    start = time.perf_counter_ns()
    run(session, feeds)
    return (time.perf_counter_ns() - start) / 1e6


def _load() -> float | None:
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):  # not on Windows
        return None


def _cores() -> int:
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
