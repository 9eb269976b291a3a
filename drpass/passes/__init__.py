"""The pipeline: match, plan, replace, absorb, declare types, normalize. One file a pass; each works in place."""

from __future__ import annotations

from dataclasses import replace as with_changes

import onnx_ir as ir

from drpass.operator.spec import DOMAIN, LRN, OP_TYPE, ReuseParameters
from drpass.passes import legacy_inputs
from drpass.passes.absorb import absorb
from drpass.passes.declare_types import declare_types
from drpass.passes.match import OP_TYPES, Candidate, find_candidates
from drpass.passes.normalize import decide_normalizations, normalize
from drpass.passes.places import Names, label, places
from drpass.passes.plan import Selection, Verdict, plan
from drpass.passes.replace import replace
from drpass.shape_inference import Shapes

__all__ = ["OP_TYPES", "Selection", "Verdict", "decide", "transform"]


def decide(
    model: ir.Model, shapes: Shapes, selection: Selection, parameters: ReuseParameters
) -> tuple[list[Candidate], list[Verdict]]:
    """Match and plan: what `transform` would do. The model is not changed.

    Raises DrpassError if ``selection`` names something that is not there.
    """
    candidates = find_candidates(model, shapes)
    others = [label(node) for place in places(model) for node in place.graph if _is_reuse(node) or node.op_type == LRN]
    selection.check([*(candidate.name for candidate in candidates), *others])
    return candidates, plan(candidates, shapes, selection, parameters)


def transform(model: ir.Model, shapes: Shapes, selection: Selection, parameters: ReuseParameters) -> list[Verdict]:
    """Run the pipeline on ``model``, in place; the verdicts say what was done. Raises as `decide` does."""
    legacy_inputs.hide(model)
    candidates, verdicts = decide(model, shapes, selection, parameters)
    normalizations = decide_normalizations(model, shapes, selection)
    if any(verdict.replaced for verdict in verdicts):
        names = Names(model)
        new_nodes = replace(model, candidates, verdicts, names)
        absorbed = absorb(model, names)
        declare_types(model, names)
        verdicts = [
            with_changes(verdict, absorbed=tuple(absorbed.get(node, ()))) if node else verdict
            for verdict, node in zip(verdicts, new_nodes, strict=True)
        ]
    normalize(model, normalizations)
    legacy_inputs.restore(model)
    return verdicts + normalizations


def _is_reuse(node: ir.Node) -> bool:
    return node.domain == DOMAIN and node.op_type == OP_TYPE
