"""A plan and a model: the plan that says what was done, whether a plan fits, and what nodes carry of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir

from drpass.errors import DrpassError
from drpass.operator.spec import DEPTHWISE, DOMAIN, FULLY_CONNECTED, LRN, OP_TYPE, ReuseParameters
from drpass.passes import EXACT, OP_TYPES, NodeKey, Verdict, is_candidate
from drpass.passes.places import label, places
from drpass.plan_file import NodePlan, Plan, plain

#: In the ``metadata_props`` of a node that a plan replaced: JSON with ``measured`` and ``reason``, where there are any.
METADATA_KEY = "ai.drpass.plan"


def plan_of(verdicts: Iterable[Verdict], settings: Plan) -> Plan:
    """The plan that says what these verdicts do; pools follow from the chains, whose setting is in ``settings``."""
    nodes = (_node_plan(verdict) for verdict in verdicts if verdict.op_type in (*OP_TYPES, LRN))
    return replace(settings, nodes=tuple(nodes))


def _node_plan(verdict: Verdict) -> NodePlan:
    parameters = (verdict.parameters or EXACT) if verdict.replaced else None
    return NodePlan(verdict.node, verdict.graph, verdict.op_type, verdict.shape, parameters, verdict.reason)


def annotate(model: ir.Model, plan: Plan) -> None:
    """Write what the plan knows about the nodes that it replaces into their metadata, which replacing keeps.

    Nodes that are kept stay as they are.
    """
    known = {node.key: node for node in plan.nodes if node.parameters is not None}
    for place in places(model):
        for node in place.graph:
            if not is_candidate(node):
                continue
            entry = known.get((place.path, label(node)))
            if entry is not None and (entry.measured or entry.reason):
                node.metadata_props[METADATA_KEY] = _metadata(entry)


def _metadata(entry: NodePlan) -> str:
    found = {"measured": plain(entry.measured), "reason": entry.reason}
    return json.dumps({key: value for key, value in found.items() if value}, sort_keys=True, separators=(",", ":"))


def carried(node: ir.Node) -> tuple[str, dict[str, Any]]:
    """``reason`` and ``measured`` from the node's metadata; empty where there are none that can be read."""
    try:
        found = json.loads(node.metadata_props.get(METADATA_KEY, "{}"))
    except (ValueError, RecursionError):
        return "", {}
    reason, measured = (found.get("reason"), found.get("measured")) if isinstance(found, dict) else ("", {})
    return reason if isinstance(reason, str) else "", measured if isinstance(measured, dict) else {}


def replaced_nodes(model: ir.Model) -> dict[NodeKey, ReuseParameters]:
    """What an earlier rewriting made of nodes: DeepReuseGemm with its parameters; the others, which are `EXACT`."""
    return {
        (place.path, label(node)): parameters_of(node) if node.op_type == OP_TYPE else EXACT
        for place in places(model)
        for node in place.graph
        if node.domain == DOMAIN and node.op_type in (OP_TYPE, DEPTHWISE, FULLY_CONNECTED, LRN)
    }


def parameters_of(node: ir.Node) -> ReuseParameters:
    """The parameters that a DeepReuseGemm has; parameters of a function count as absent."""
    return ReuseParameters.of_node({name: found.value for name, found in node.attributes.items() if not found.is_ref()})


def require_fit(plan: Plan, verdicts: Iterable[Verdict], earlier: Mapping[NodeKey, ReuseParameters]) -> None:
    """Raise DrpassError, with the list, if the plan names nodes that are gone, that have become others, or that it
    replaces though they can't be. ``verdicts`` are those of the model under the plan, ``earlier`` its
    `replaced_nodes`: those fit where the plan says the same."""
    nodes: dict[NodeKey, list[Verdict]] = {}
    for verdict in verdicts:
        nodes.setdefault(verdict.key, []).append(verdict)
    gone = [_name(node) for node in plan.nodes if node.key not in nodes and node.key not in earlier]
    faults = [f"it has no {', '.join(gone)}"] if gone else []
    faults += [fault for node in plan.nodes if node.key in nodes and (fault := _misfit(node, nodes[node.key]))]
    faults += [
        f"{_name(node)} is replaced already by {earlier[node.key].describe()} (drpass restore takes that back)"
        for node in plan.nodes
        if node.key not in nodes and node.key in earlier and not _alike(node.parameters, earlier[node.key])
    ]
    if faults:
        raise DrpassError(f"the plan does not fit the model: {'; '.join(faults)}; make it again or edit it")


def _alike(planned: ReuseParameters | None, found: ReuseParameters) -> bool:
    """Whether they say the same in a model, whose numbers have 32 bits."""
    return planned is not None and _stored(planned) == _stored(found)


def _stored(parameters: ReuseParameters) -> dict[str, Any]:
    attributes = parameters.attributes()
    return {name: np.float32(value) if isinstance(value, float) else value for name, value in attributes.items()}


def _misfit(node: NodePlan, verdicts: list[Verdict]) -> str:
    """What is wrong; empty where one of the nodes of that name is as the plan has it."""
    name = _name(node)
    alike = [verdict for verdict in verdicts if verdict.op_type == node.op_type]
    if not alike:
        return f"{name} is {verdicts[0].op_type}, not {node.op_type}"
    if node.parameters is not None and not any(verdict.replaced for verdict in alike):
        return f"{name} can't be replaced ({alike[0].reason})"
    if node.shape and not any(verdict.shape == node.shape for verdict in alike):
        return f"{name} has weights {_shape(alike[0].shape)}, not {_shape(node.shape)}"
    return ""


def _name(node: NodePlan) -> str:
    return f"'{node.graph}/{node.node}'" if node.graph else f"'{node.node}'"


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "that are not known"
