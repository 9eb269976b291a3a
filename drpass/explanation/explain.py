"""Finds the node that is asked for, and explains it by what it is."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

import onnx_ir as ir

from drpass import model_io
from drpass.errors import DrpassError
from drpass.explanation.explanation import Explanation
from drpass.explanation.original import Original
from drpass.explanation.rewritten import explain_own
from drpass.model_check import require_valid
from drpass.operator.spec import DOMAIN
from drpass.passes import is_candidate, legacy_inputs
from drpass.passes.places import label, places
from drpass.plan_file import Plan
from drpass.rewriting import ModelLike, message_of
from drpass.shape_inference import infer_shapes


class Found(NamedTuple):
    """A node, the path of its graph, and how the user can call it."""

    node: ir.Node
    graph: str
    name: str


def explain(
    model: ModelLike, node: str, *, plan: Plan | None = None, shapes: Mapping[str, Sequence[int]] | None = None
) -> Explanation:
    """What a node of an original or a rewritten model does, why, and what would change it.

    Args:
        model: a path, a protobuf message or an IR model.
        node: its name (that of its output where it has none), ``graph/name``, or a pattern that only one node matches;
            as in ``include``, Conv, Gemm, MatMul and LRN come before all others, and so do the library's nodes.
        plan: one that the model was, or is to be, rewritten with; without, an original is explained by what `rewrite`
            does without arguments.
        shapes: sizes of inputs with symbolic dimensions, by input name.

    Raises:
        DrpassError: the model can't be read, no node or several have that name, or the plan does not fit the original.
    """
    proto, name = message_of(model)
    require_valid(proto, name)
    loaded = model_io.to_ir(proto, name)
    legacy_inputs.hide(loaded)
    known = infer_shapes(loaded, shapes)
    found = _find(loaded, node)
    if found.node.domain == DOMAIN:
        return explain_own(found.node, found.graph, known, plan)
    return Original(proto, loaded, known, plan, shapes).explain(found.node, found.graph)


def _find(model: ir.Model, wanted: str) -> Found:
    nodes = [
        Found(node, place.path, f"{place.path}/{label(node)}" if place.path else label(node))
        for place in places(model)
        for node in place.graph
    ]
    matching = [entry for entry in nodes if fnmatchcase(entry.name, wanted)]
    found = (
        [entry for entry in nodes if entry.name == wanted]
        or [entry for entry in nodes if label(entry.node) == wanted]
        or [entry for entry in matching if _is_working(entry.node)]
        or matching
    )
    if len(found) == 1:
        return found[0]
    names = [entry.name for entry in found]
    if len(set(names)) > 1:
        raise DrpassError(f"{len(found)} nodes match '{wanted}': {', '.join(names[:8])}; name one of them")
    if found:
        raise DrpassError(f"{len(found)} nodes are called '{wanted}', so they can't be told apart; rename them")
    known = [entry.name for entry in nodes]
    near = difflib.get_close_matches(wanted, known, n=3, cutoff=0.4) or known[:5]
    gone = ""
    if any(entry.node.domain == DOMAIN for entry in nodes):
        gone = "; a node that was absorbed is gone, the original still has it"
    raise DrpassError(f"no node of the model is called '{wanted}'; there are {', '.join(near)}{gone}")


def _is_working(node: ir.Node) -> bool:
    return node.domain == DOMAIN or is_candidate(node)
