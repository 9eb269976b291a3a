"""The model that is tuned, its layers, and how the user will run it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import onnx

from drpass import model_io
from drpass.execution import open_session, run
from drpass.operator.spec import LRN, ReuseParameters
from drpass.passes import EXACT, Assignment, NodeKey, Verdict, legacy_inputs
from drpass.passes.gain import reason_against_exact
from drpass.passes.match import Candidate, find_candidates
from drpass.plan_file import NodePlan, Plan
from drpass.profile import named, original_names
from drpass.rewriting import rewrite
from drpass.shape_inference import infer_shapes
from drpass.tensors import Feeds


@dataclass(frozen=True)
class Layer:
    """A Conv, Gemm or MatMul that can be replaced.

    ``kernels``: what ONNX Runtime's profile of the original may call it; ``against_exact``: why the exact operator is
    not tried for it, ``obstacle``: why no clustering is; empty where nothing is in the way.
    """

    kernels: tuple[str, ...]
    against_exact: str
    obstacle: str


#: Calls of a model that is profiled, as far as this time allows.
_CALLS, _FEWEST_CALLS, _CALL_SECONDS = 15, 4, 2.0


class Subject:
    """The model under tuning, with inputs as in its future use: ``feeds`` are timed, with ``threads`` threads.

    ``call_ms``: milliseconds of a call of the original on this machine, about.
    """

    def __init__(self, model: onnx.ModelProto, feeds: list[Feeds], batch: int, threads: int) -> None:
        self.model = named(model)
        self.feeds = feeds
        self.batch = batch
        self.threads = threads
        self.call_ms = self._time_call()
        #: What `rewrite` does without parameters, for every candidate: the reasons of what is not a layer.
        self.verdicts: tuple[Verdict, ...] = rewrite(self.model, chains=False).report.verdicts
        self.layers = _layers(self.model)

    def keep(self, reasons: Mapping[NodeKey, str]) -> None:
        """Try no exact operator for these candidates; a reason that one has already stays."""
        self.layers = {
            key: replace(layer, against_exact=layer.against_exact or reasons.get(key, ""))
            for key, layer in self.layers.items()
        }
        self.verdicts = tuple(
            verdict
            if verdict.key in self.layers
            else replace(verdict, reason=verdict.reason or reasons.get(verdict.key, ""))
            for verdict in self.verdicts
        )

    @property
    def calls(self) -> list[Feeds]:
        """The feeds in turn, for as many calls as give a steady median of a kernel's time."""
        count = 1 + max(_FEWEST_CALLS, min(_CALLS, int(1000 * _CALL_SECONDS / self.call_ms)))
        return list(itertools.islice(itertools.cycle(self.feeds), count))

    def _time_call(self) -> float:
        session = open_session(self.model, threads=self.threads)
        run(session, self.feeds[0])
        begin = time.perf_counter()
        run(session, self.feeds[0])
        return 1000 * (time.perf_counter() - begin)

    @property
    def kernels(self) -> dict[NodeKey, Sequence[str]]:
        """What ONNX Runtime's profile of the original may call each candidate of the main graph, LRN included."""
        layers = self.layers
        return {v.key: layers[v.key].kernels if v.key in layers else (v.node,) for v in self.verdicts if not v.graph}

    def rewritten(self, assignment: Assignment) -> onnx.ModelProto:
        """The model with a choice for every node."""
        return rewrite(self.model, plan=self.plan(assignment)).to_proto()

    def plan(self, assignment: Assignment, measured: Mapping[NodeKey, Mapping[str, float]] | None = None) -> Plan:
        """The plan that makes these choices; nodes that can't be replaced are named with their reasons."""
        nodes = []
        for verdict in self.verdicts:
            choice = assignment.get(verdict.key, verdict.reason or EXACT)
            if verdict.key not in self.layers and verdict.op_type != LRN:
                choice = verdict.reason
            parameters, reason = (choice, "") if isinstance(choice, ReuseParameters) else (None, choice)
            nodes.append(
                NodePlan(
                    node=verdict.node,
                    graph=verdict.graph,
                    op_type=verdict.op_type,
                    shape=verdict.shape,
                    parameters=parameters,
                    reason=reason,
                    measured=(measured or {}).get(verdict.key, {}),
                )
            )
        return Plan(tuple(nodes))


def _layers(model: onnx.ModelProto) -> dict[NodeKey, Layer]:
    working = model_io.to_ir(model, "the model")
    legacy_inputs.hide(working)
    nodes = {node.name: node for node in model.graph.node}
    layers: dict[NodeKey, Layer] = {}
    twice: set[NodeKey] = set()
    shapes = infer_shapes(working)
    for candidate in find_candidates(working, shapes):
        if candidate.match is None:
            continue
        key = candidate.place.path, candidate.name
        node = None if candidate.place.path else nodes.get(candidate.name)
        kernels = tuple(original_names(model, node)) if node is not None else ()
        if key in layers:
            twice.add(key)
        layers[key] = Layer(
            kernels=kernels,
            against_exact=reason_against_exact(candidate.match, shapes),
            obstacle=_obstacle(candidate),
        )
    for key in twice:
        layers[key] = replace(layers[key], kernels=(), obstacle="several nodes have its name")
    return layers


def _obstacle(candidate: Candidate) -> str:
    match = candidate.match
    assert match is not None
    if candidate.place.path:
        return "in a subgraph or function, where it can't be measured alone"
    if match.group > 1 and match.weights.shape[1] == 1:
        return "depthwise (group = channels): a cluster has one product to save"
    return ""
