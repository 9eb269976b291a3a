"""How long every kernel of a model takes, by ONNX Runtime's own profile of whole runs."""

from __future__ import annotations

import json
import re
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx

from drpass import model_io
from drpass.errors import DrpassError
from drpass.execution import Model, open_session, run
from drpass.tensors import Feeds

_KERNEL = "_kernel_time"

#: What ONNX Runtime puts around the name of a node: in front where it fused an activation; behind where it changed the
#: layout of a convolution (NCHWc), or fused an Add or a Transpose into a matrix product.
_DECORATION = re.compile(r"^fused |_nchwc$|/MatMulAddFusion$|/MatmulTransposeFusion/$")

#: What ONNX Runtime may fuse into the convolution or matrix product before it.
_FUSED = frozenset(
    {"Add", "BatchNormalization", "Clip", "HardSigmoid", "LeakyRelu", "Mul", "Relu", "Sigmoid", "Sum", "Tanh"}
)


def kernel_times(model: Model, feeds: Sequence[Feeds], threads: int, *, warmup: int = 1) -> dict[str, float]:
    """Median milliseconds of every kernel in one call, by the name of its node.

    ``feeds``: one run each, the first ``warmup`` of which are not counted. Names are ONNX Runtime's, without what it
    adds to the nodes that it fuses or changes: `time_of` finds a node of the model by its `original_names`. Kernels of
    one name are summed, as those in the body of a Loop. Times come in whole microseconds. Raises DrpassError if the
    model can't be run or nothing would be counted.
    """
    if not 0 <= warmup < len(feeds):
        raise DrpassError(f"a profile needs more inputs than the {warmup} that warm up, not {len(feeds)}")
    with tempfile.TemporaryDirectory() as folder:
        session = open_session(model, threads=threads, profile=str(Path(folder, "profile")))
        for entry in feeds:
            run(session, entry)
        runs = _split_runs(Path(session.end_profiling()))
    times: dict[str, list[float]] = {}
    for kernels in runs[warmup:]:
        for name, milliseconds in kernels.items():
            times.setdefault(name, []).append(milliseconds)
    return {name: statistics.median(values) for name, values in times.items()}


def time_of(times: Mapping[str, float], names: Sequence[str]) -> float | None:
    """The time of the first of a node's names that `kernel_times` has; None: ONNX Runtime does not name the node."""
    return next((times[name] for name in names if name in times), None)


def original_names(model: onnx.ModelProto, node: onnx.NodeProto) -> list[str]:
    """What a profile may call a node of the main graph, most certain first.

    Its name, its output, and the results of the element-wise nodes behind it: ONNX Runtime calls a fused convolution by
    the last value that it computes.
    """
    names = [node.name, node.output[0]]
    outputs = {value.name for value in model.graph.output}
    while names[-1] and names[-1] not in outputs:
        uses = [other for other in model.graph.node if names[-1] in other.input]
        if len(uses) != 1 or uses[0].op_type not in _FUSED:
            break
        names.append(uses[0].output[0])
    return [name for name in names if name]


def named(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose nodes without a name are called by their output, as in reports, for profiles to tell them apart."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for graph in model_io.graphs_of(copy):
        for node in graph.node:
            node.name = node.name or next((name for name in node.output if name), "")
    return copy


def _split_runs(profile: Path) -> list[dict[str, float]]:
    """Milliseconds by name for each run; an event of the whole run ends it."""
    runs: list[dict[str, float]] = []
    kernels: dict[str, float] = {}
    for event in json.loads(profile.read_text(encoding="utf-8", errors="replace")):
        if event["name"] == "model_run":
            runs.append(kernels)
            kernels = {}
        elif event["name"].endswith(_KERNEL):
            name = _DECORATION.sub("", event["name"].removesuffix(_KERNEL))
            kernels[name] = kernels.get(name, 0.0) + event["dur"] / 1000
    return runs
