"""Where the time of every DeepReuseGemm of a model goes: its stages, its clusters, and what it stands for."""

from __future__ import annotations

import ctypes
import itertools
import json
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import onnx
import onnx_ir as ir

from drpass import model_io, runtime
from drpass.data import DataSource, as_data
from drpass.errors import DrpassError
from drpass.execution import Model, open_session, run
from drpass.operator.spec import OP_TYPE, ReuseParameters
from drpass.passes.places import is_reuse
from drpass.profile import kernel_times, named, original_names, time_of
from drpass.tensors import Feeds, input_specs

#: As the library calls them (custom_ops/core/stages.h, which says what belongs to each).
STAGES = ("hash", "cluster", "list", "gemm", "reconstruct", "transform", "memo", "epilogue", "rest")

#: One entry a node; see `collected`.
Reading = list[dict[str, Any]]

#: Runs before those that are measured: they fill caches and the arena.
_WARMUP = 1


@dataclass(frozen=True)
class NodeStages:
    """One DeepReuseGemm; times are milliseconds of a call of the model, the median of the calls.

    ``original_ms``: the convolution or matrix product that it stands for, with what ONNX Runtime fuses into that; None
    where its profile does not name it. ``kernel_ms``: of the node, while nothing is collected. ``stages_ms``: by stage,
    summed over the threads that work on it. ``wait_ms``: the calling thread's for the others. ``remaining_ratios``: r_c
    of every sub-vector group, the mean over calls and scope instances, 1 where it was computed densely; empty in
    `exact`. ``guarded``: the share of groups that were computed densely. ``zeros``: the share of zeros in samples of X;
    ``skipped``: that of the images that were computed without them; both None where zeros can't be skipped.
    """

    node: str
    setting: str
    original_ms: float | None
    kernel_ms: float | None
    stages_ms: dict[str, float]
    wait_ms: float
    remaining_ratios: tuple[float, ...]
    guarded: float
    zeros: float | None = None
    skipped: float | None = None

    @property
    def thread_ms(self) -> float:
        """All stages."""
        return sum(self.stages_ms.values())

    @property
    def remaining_ratio(self) -> float | None:
        """The median over the groups."""
        return statistics.median(self.remaining_ratios) if self.remaining_ratios else None

    def share(self, stage: str) -> float:
        """Of the node's thread time."""
        return self.stages_ms[stage] / self.thread_ms if self.thread_ms else 0.0

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "node": self.node,
            "setting": self.setting,
            "original_ms": self.original_ms,
            "kernel_ms": self.kernel_ms,
            "thread_ms": self.thread_ms,
            "stages_ms": self.stages_ms,
            "shares": {stage: self.share(stage) for stage in self.stages_ms},
            "wait_ms": self.wait_ms,
            "remaining_ratio": self.remaining_ratio,
            "remaining_ratios": list(self.remaining_ratios),
            "guarded": self.guarded,
            "zeros": self.zeros,
            "skipped": self.skipped,
        }


def measure_stages(
    original: Model, rewritten: Model, data: DataSource = None, *, threads: int = 1, runs: int = 10
) -> list[NodeStages]:
    """The stages of every DeepReuseGemm that runs, in the order of the model; nodes of one name are summed.

    Runs the rewritten model with stages collected, then both under ONNX Runtime's profile, ``runs`` times each on
    the inputs of ``data`` in turn. Collecting covers the whole process, so no other model with the operator should run
    meanwhile. Raises DrpassError if a model or the data can't be used, or no such node runs.
    """
    if runs < 1:
        raise DrpassError(f"stages need at least 1 run, not {runs}")
    if runtime.kernel_set() == "reference":
        raise DrpassError(f"the scalar reference has no stages; unset {runtime.KERNEL_VARIABLE}")
    before, after = named(_proto(original)), named(_proto(rewritten))
    nodes = {node.name: node for graph in model_io.graphs_of(after) for node in graph.node if is_reuse(node)}
    feeds = _feeds(after, data, runs)
    readings = _collect(after, feeds, threads)
    ran = dict.fromkeys(entry["node"] for entry in readings[-1])
    if not ran:
        raise DrpassError(f"no {OP_TYPE} ran in the rewritten model, so there are no stages to measure")
    kernels = kernel_times(after, feeds, threads, warmup=_WARMUP)
    dense = kernel_times(before, feeds, threads, warmup=_WARMUP)
    # ONNX Runtime gives the nodes of functions other names: they come last.
    names = [name for name in nodes if name in ran] + [name for name in ran if name not in nodes]
    return [
        _summary(name, nodes.get(name), readings, _dense_time(before, nodes.get(name), dense), kernels)
        for name in names
    ]


def _proto(model: Model) -> onnx.ModelProto:
    if isinstance(model, ir.Model):
        return model_io.to_proto(model)
    return model if isinstance(model, onnx.ModelProto) else model_io.load_proto(model)


def _feeds(model: onnx.ModelProto, data: DataSource, runs: int) -> list[Feeds]:
    """Those of the warm-up and of all runs; the inputs come in turn."""
    source = as_data(data, input_specs(open_session(model)))
    inputs = (batch.feeds for batch in source.batches())
    return list(itertools.islice(itertools.cycle(inputs), _WARMUP + runs))


def _collect(model: onnx.ModelProto, feeds: Sequence[Feeds], threads: int) -> list[Reading]:
    """What the library says after every run, without the warm-up: it counts on from run to run."""
    session = open_session(model, threads=threads)
    for entry in feeds[:_WARMUP]:
        run(session, entry)
    readings = []
    with collecting() as library:
        for entry in feeds[_WARMUP:]:
            run(session, entry)
            readings.append(collected(library))
    return readings


@contextmanager
def collecting() -> Iterator[ctypes.CDLL]:
    """The operator library, which collects what all sessions of this process do in the block; it forgets what it had.

    Raises DrpassError if there is no library.
    """
    library = ctypes.CDLL(runtime.get_library_path())
    library.drpass_collect_stages(1)
    try:
        yield library
    finally:
        library.drpass_collect_stages(0)


def collected(library: ctypes.CDLL) -> Reading:
    """What was collected since `collecting` began, of sessions that still are.

    One entry a node that was called: its name (``node``), ``calls``, ``nanoseconds`` by stage, and for each sub-vector
    group (``sub_groups``) its clusters and pixels in the scope instances that have clusters, the number of instances,
    and of those that were computed densely; with a memo how many ``tiles`` there were, and how many of these it had
    (``recalled``); of the ``images`` whose zeros might be skipped, those that were to be computed without them
    (``skipped``), and in samples of them how many of the values (``sampled``) were zero (``zeros``). Raises DrpassError
    if memory runs out.
    """
    library.drpass_stages.restype = ctypes.c_char_p
    text = library.drpass_stages().decode("utf-8", errors="replace")
    if not text:
        raise DrpassError("there is no memory for what was collected")
    entries: Reading = json.loads(text)
    return entries


def _dense_time(model: onnx.ModelProto, reuse: onnx.NodeProto | None, times: dict[str, float]) -> float | None:
    """Of the node of the original's main graph that has the name, or gave the value, of a DeepReuseGemm."""
    if reuse is None:
        return None
    for node in model.graph.node:
        names = original_names(model, node)
        if node.name == reuse.name or reuse.output[0] in names:
            return time_of(times, names)
    return None


def _summary(
    name: str,
    node: onnx.NodeProto | None,
    readings: Sequence[Reading],
    original_ms: float | None,
    kernels: dict[str, float],
) -> NodeStages:
    def milliseconds(stage: str) -> float:
        totals = [
            sum(entry["nanoseconds"][stage] for entry in reading if entry["node"] == name) for reading in readings
        ]
        return float(statistics.median(after - before for before, after in zip([0, *totals], totals))) / 1e6

    def share(part: str, whole: str) -> float | None:
        counts = [(entry[part], entry[whole]) for entry in readings[-1] if entry["node"] == name]
        total = sum(of for _, of in counts)
        return sum(count for count, _ in counts) / total if total else None

    groups = [group for entry in readings[-1] if entry["node"] == name for group in entry["sub_groups"]]
    instances = sum(count for _, _, count, _ in groups)
    return NodeStages(
        node=name,
        setting=_setting(node) if node is not None else "",
        original_ms=original_ms,
        kernel_ms=kernels.get(name),
        stages_ms={stage: milliseconds(stage) for stage in STAGES},
        wait_ms=milliseconds("wait"),
        remaining_ratios=tuple(_remaining_ratio(*group) for group in groups),
        guarded=sum(guarded for *_, guarded in groups) / instances if instances else 0.0,
        zeros=share("zeros", "sampled"),
        skipped=share("skipped", "images"),
    )


def _remaining_ratio(clusters: int, pixels: int, instances: int, guarded: int) -> float:
    """The mean over the instances: clusters over pixels, 1 for those that were computed densely."""
    found = (instances - guarded) * clusters / pixels if pixels else 0.0
    return (found + guarded) / instances


def _setting(node: onnx.NodeProto) -> str:
    values = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
    texts = {name: value.decode() if isinstance(value, bytes) else value for name, value in values.items()}
    return ReuseParameters.of_node(texts).describe()
