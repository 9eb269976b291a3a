"""The pipeline: match, plan, replace, absorb, declare types, normalize, keep padding, layout, own operators,
grant.

One file a pass; each works in place.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace as with_changes

import onnx_ir as ir

from drpass.operator.spec import LRN, ReuseParameters
from drpass.passes import legacy_inputs
from drpass.passes.absorb import absorb
from drpass.passes.declare_types import declare_types
from drpass.passes.grant import grant
from drpass.passes.keep_padding import keep_padding
from drpass.passes.layout import Chained, chain
from drpass.passes.match import OP_TYPES, Candidate, find_candidates, has_rule
from drpass.passes.normalize import decide_normalizations, normalize
from drpass.passes.own_operators import separate
from drpass.passes.places import Names, is_reuse, label, places
from drpass.passes.plan import EXACT, Assignment, Decision, NodeKey, Selection, Verdict, plan
from drpass.passes.replace import replace
from drpass.rules.absorbing import SHAPE
from drpass.shape_inference import Shapes, dims_of

__all__ = [
    "EXACT",
    "OP_TYPES",
    "Assignment",
    "Decision",
    "NodeKey",
    "Selection",
    "Transformed",
    "Verdict",
    "decide",
    "is_candidate",
    "transform",
]


def decide(
    model: ir.Model, shapes: Shapes, selection: Selection, decision: Decision
) -> tuple[list[Candidate], list[Verdict]]:
    """Match and plan: what `transform` would do. The model is not changed.

    Raises DrpassError if ``selection`` names something that is not there.
    """
    candidates = find_candidates(model, shapes)
    others = [label(node) for place in places(model) for node in place.graph if is_reuse(node) or node.op_type == LRN]
    selection.check([*(candidate.name for candidate in candidates), *others])
    return candidates, plan(candidates, shapes, selection, decision)


@dataclass(frozen=True)
class Transformed:
    """What `transform` did."""

    verdicts: list[Verdict]
    #: The number of values in NCHW16c.
    blocked_values: int = 0
    #: The number of nodes that keep results from call to call.
    memos: int = 0
    #: Names of pools whose zeros of padding ONNX Runtime would have lost.
    padded_pools: tuple[str, ...] = ()


def transform(
    model: ir.Model,
    shapes: Shapes,
    selection: Selection,
    decision: Decision,
    *,
    certain: Shapes | None = None,
    chains: bool = True,
    memo_bytes: int = 0,
    allow_tf32: bool = False,
) -> Transformed:
    """Run the pipeline on ``model``, in place. Raises as `decide` does.

    ``certain`` are the shapes that hold whatever the model is run on, where ``shapes`` are those of an example;
    ``chains`` = False leaves every tensor in the layout that it has; ``memo_bytes`` is the limit of all memos together;
    ``allow_tf32`` lets all nodes round factors to TF32 on CUDA.
    """
    legacy_inputs.hide(model)
    candidates, verdicts = decide(model, shapes, selection, decision)
    assignment = None if decision is None or isinstance(decision, ReuseParameters) else decision
    normalizations = decide_normalizations(model, shapes, selection, assignment)
    certain = shapes if certain is None else certain
    for value in certain:
        value.meta[SHAPE] = dims_of(value, certain)
    if any(verdict.replaced for verdict in verdicts):
        names = Names(model)
        new_nodes = replace(model, candidates, verdicts, names)
        for index, node in enumerate(new_nodes):
            if node is not None:
                node.meta[_VERDICT] = index
        absorbed = absorb(model, names)
        declare_types(model, names)
        verdicts = [
            with_changes(verdict, absorbed=(*_absorbed_before(candidate), *absorbed.get(node, ()))) if node else verdict
            for candidate, verdict, node in zip(candidates, verdicts, new_nodes, strict=True)
        ]
    for index, node in enumerate(normalize(model, normalizations), len(verdicts)):
        if node is not None:
            node.meta[_VERDICT] = index
    verdicts += normalizations
    changed = any(verdict.replaced for verdict in verdicts)
    padded_pools = tuple(keep_padding(model)) if changed else ()
    chained = chain(model) if chains and changed else Chained()
    for node, layouts in chained.layouts.items():
        if _VERDICT in node.meta:
            index = node.meta[_VERDICT]
            verdicts[index] = with_changes(verdicts[index], layouts=layouts)
    if changed:
        separate(model, Names(model))
    memos = grant(model, memo_bytes, allow_tf32)
    legacy_inputs.restore(model)
    return Transformed(verdicts + chained.verdicts, chained.values, memos, padded_pools)


#: Key of the index of the verdict that a node came from in its ``meta``; absorbing keeps it.
_VERDICT = "drpass.verdict"


def is_candidate(node: ir.Node) -> bool:
    """Whether the passes look at the node: it has a rule, or is an LRN."""
    return has_rule(node) or (node.op_type == LRN and node.domain == "")


def _absorbed_before(candidate: Candidate) -> list[str]:
    """Names of the nodes before it that are gone."""
    before = candidate.match.before if candidate.match else ()
    return [label(node) for node in before if node.graph is None]
