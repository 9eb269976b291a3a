"""Pass 2: give every candidate a verdict: replaced with which parameters, or kept for which reason.

Legality (the rules) always decides. The user's choice comes next. Whether deep reuse can pay off is asked last, only
for the methods that cluster, and not where the user includes a node by its exact name.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from drpass.errors import DrpassError
from drpass.operator.spec import LAYOUTS, LRN, ReuseParameters, describe_layouts
from drpass.passes.gain import NO_GAIN, WORTH_IT, expected_time, reason_against_exact
from drpass.passes.match import OP_TYPES, Candidate
from drpass.rules.anchor import Match
from drpass.rules.quantised import reason_against
from drpass.shape_inference import Shapes, shape_of

#: Hashing costs H / M of the dense work (docs/operator.md), and ONNX Runtime is quick at few channels.
MIN_OUTPUT_CHANNELS = 32
#: With fewer pixels (rows) nearly every sub-vector is its own cluster.
MIN_ROWS = 256

#: How a node is told from all others of a model: the path of its graph, and its name (`places.label`).
NodeKey = tuple[str, str]


@dataclass(frozen=True)
class Verdict:
    """What becomes of one Conv, Gemm, MatMul or LRN, and of a pool in a chain."""

    #: The node's name, or the name of its output where it has none.
    node: str
    op_type: str
    #: "" for the main graph, else the path of the subgraph or function.
    graph: str
    replaced: bool
    #: None where the node is kept, and for LRN and pools, which have none.
    parameters: ReuseParameters | None
    #: Why it is kept; empty where it is replaced.
    reason: str
    #: Names of the nodes that were absorbed.
    absorbed: tuple[str, ...] = ()
    #: Of X and Y.
    layouts: tuple[str, str] = (LAYOUTS[0], LAYOUTS[0])
    #: Of the weights: [M, C / group, \*kernel] or [M, K]; empty where they are not known, and for LRN and pools.
    shape: tuple[int, ...] = ()

    @property
    def key(self) -> NodeKey:
        """Which node of the model it is."""
        return self.graph, self.node

    def describe(self) -> str:
        """For tables: the parameters, ``exact`` where none are needed, or ``kept: reason``."""
        if not self.replaced:
            return f"kept: {self.reason}"
        method = self.parameters.describe() if self.parameters else "exact"
        return method + describe_layouts(*self.layouts)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "node": self.node,
            "op_type": self.op_type,
            "graph": self.graph,
            "replaced": self.replaced,
            "parameters": self.parameters.attributes() if self.parameters else None,
            "reason": self.reason,
            "absorbed": list(self.absorbed),
            "x_layout": self.layouts[0],
            "y_layout": self.layouts[1],
        }


@dataclass(frozen=True)
class Selection:
    """The user's choice of nodes. Entries are names or patterns (``*``, ``?``, ``[...]``)."""

    #: If any is given, only nodes that match one are replaced; an exact name also skips the profitability reasons.
    include: tuple[str, ...] = ()
    #: Nodes that match one are kept.
    exclude: tuple[str, ...] = ()
    #: If any is given, only these operators are replaced.
    op_types: tuple[str, ...] = ()

    def check(self, names: Iterable[str]) -> None:
        """Raise DrpassError for an unknown operator, or for an entry that matches none of ``names``."""
        for op_type in self.op_types:
            if op_type not in (*OP_TYPES, LRN):
                raise DrpassError(f"'{op_type}' can't be replaced; op types are {', '.join((*OP_TYPES, LRN))}")
        known = sorted(set(names))
        for entry in (*self.include, *self.exclude):
            if not any(_matches(entry, name) for name in known):
                near = difflib.get_close_matches(entry, known, n=3, cutoff=0.4) or known[:5]
                hint = f"; there are {', '.join(near)}" if near else ""
                raise DrpassError(f"'{entry}' matches no Conv, Gemm, MatMul or LRN node of the model{hint}")

    def reason(self, name: str, op_type: str) -> str:
        """Why the user does not want the node replaced; empty if that is not so."""
        if self.op_types and op_type not in self.op_types:
            return f"op type {op_type} not chosen"
        if any(_matches(entry, name) for entry in self.exclude):
            return "excluded by the user"
        if self.include and not any(_matches(entry, name) for entry in self.include):
            return "not included by the user"
        return ""


@dataclass(frozen=True)
class Work:
    """The size of a candidate, as far as profitability needs it."""

    group: int
    #: Output channels and input channels of one group.
    outputs: int
    inputs: int
    convolution: bool
    #: Pixels or rows of one scope instance; None where a dimension is symbolic.
    rows: int | None
    #: The operator on integers that ONNX Runtime makes of the node; empty if it makes none.
    integers: str = ""


#: What a node becomes where no parameters are given.
EXACT = ReuseParameters(method="exact")

#: A choice for each node: its parameters (`EXACT` for LRN), or why it is kept.
Assignment = Mapping[NodeKey, ReuseParameters | str]

#: What decides: one set of parameters for all nodes, a choice for each, or nothing.
Decision = ReuseParameters | Assignment | None

NOT_ASSIGNED = "the plan does not name it"


def plan(candidates: Sequence[Candidate], shapes: Shapes, selection: Selection, decision: Decision) -> list[Verdict]:
    """One verdict a candidate, in the same order. Without a decision: `EXACT` for what gains by that."""
    if decision is None:
        return _plan_exact(candidates, shapes, selection)
    if isinstance(decision, ReuseParameters):
        return [
            _verdict(candidate, decision, _reason(candidate, shapes, selection, decision)) for candidate in candidates
        ]
    return [_assigned(candidate, selection, decision) for candidate in candidates]


def _assigned(candidate: Candidate, selection: Selection, assignment: Assignment) -> Verdict:
    choice = assignment.get((candidate.place.path, candidate.name), NOT_ASSIGNED)
    reason = candidate.reason or selection.reason(candidate.name, candidate.node.op_type)
    if isinstance(choice, str):
        return _verdict(candidate, EXACT, reason or choice)
    return _verdict(candidate, choice, reason)


def _plan_exact(candidates: Sequence[Candidate], shapes: Shapes, selection: Selection) -> list[Verdict]:
    reasons = [_reason_against_exact(candidate, shapes, selection) for candidate in candidates]
    chosen = [candidate for candidate, reason in zip(candidates, reasons, strict=True) if not reason]
    worth_it = expected_time(chosen, shapes) < WORTH_IT
    verdicts = []
    for candidate, reason in zip(candidates, reasons, strict=True):
        if not reason and not worth_it and candidate.name not in selection.include:
            reason = NO_GAIN
        verdicts.append(_verdict(candidate, EXACT, reason))
    return verdicts


def _verdict(candidate: Candidate, parameters: ReuseParameters, reason: str) -> Verdict:
    chosen = None if reason else parameters
    shape = candidate.match.weights.shape if candidate.match else ()
    path, op_type = candidate.place.path, candidate.node.op_type
    return Verdict(candidate.name, op_type, path, not reason, chosen, reason, shape=shape)


def _reason_against_exact(candidate: Candidate, shapes: Shapes, selection: Selection) -> str:
    if candidate.match is None:
        return candidate.reason
    reason = selection.reason(candidate.name, candidate.node.op_type)
    if reason or candidate.name in selection.include:
        return reason
    return reason_against_exact(candidate.match, shapes)


def _reason(candidate: Candidate, shapes: Shapes, selection: Selection, parameters: ReuseParameters) -> str:
    if candidate.match is None:
        return candidate.reason
    if reason := selection.reason(candidate.name, candidate.node.op_type):
        return reason
    if parameters.method == "exact" or candidate.name in selection.include:
        return ""
    work = _work(candidate.match, shapes, parameters)
    return next((reason for ask in PROFITABILITY if (reason := ask(work))), "")


def _on_integers(work: Work) -> str:
    return reason_against(work.integers)


def _depthwise(work: Work) -> str:
    return "depthwise (group = channels)" if work.group > 1 and work.inputs == 1 else ""


def _few_output_channels(work: Work) -> str:
    if work.outputs >= MIN_OUTPUT_CHANNELS:
        return ""
    each = " a group" if work.group > 1 else ""
    return f"too few output channels ({work.outputs}{each}; at least {MIN_OUTPUT_CHANNELS})"


def _few_rows(work: Work) -> str:
    if work.rows is None:
        # The pixels of an image are many unless we know better; the rows of a matrix are often a batch of one.
        return "" if work.convolution else "the number of rows is not known (--shape gives it)"
    if work.rows >= MIN_ROWS:
        return ""
    return f"too few {'pixels' if work.convolution else 'rows'} ({work.rows}; at least {MIN_ROWS})"


#: Asked in this order; the first answer that is not empty is the reason.
PROFITABILITY: tuple[Callable[[Work], str], ...] = (_on_integers, _depthwise, _few_output_channels, _few_rows)


def _work(match: Match, shapes: Shapes, parameters: ReuseParameters) -> Work:
    rows = _rows(match, shapes, whole_batch=parameters.scope == "batch")
    outputs, inputs = match.weights.shape[0] // match.group, match.weights.shape[1]
    return Work(match.group, outputs, inputs, match.is_convolution, rows, match.integers)


def _rows(match: Match, shapes: Shapes, whole_batch: bool) -> int | None:
    shape = shape_of(match.x, shapes)
    if shape is None:
        return None
    if match.is_convolution:
        leading, own = list(shape[:1]), list(shape[2:])
    elif match.attributes.get("trans_a"):
        leading, own = [], list(shape[1:])
    else:
        leading, own = list(shape[:-2]), list(shape[-2:-1])
    sizes = [dim for dim in own if isinstance(dim, int)]
    if len(sizes) != len(own):
        return None
    if whole_batch:
        # A symbolic batch counts as one: that many rows there are at least.
        sizes += [dim for dim in leading if isinstance(dim, int)]
    return math.prod(sizes)


def _matches(entry: str, name: str) -> bool:
    return entry == name or fnmatchcase(name, entry)
