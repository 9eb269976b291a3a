"""Compares two models: properties, then graph by graph, bodies of nodes and functions included."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence

import onnx_ir as ir

from drpass.difference import describe
from drpass.difference.loading import Model, load, title
from drpass.difference.matching import Matching, work_before
from drpass.difference.nodes import changed_fields
from drpass.difference.report import FieldChange, GraphDiff, NodeChange, NodeRef, ScopeDiff, Tensor, TensorChange

_Body = ir.Graph | ir.Function


def diff(left: Model, right: Model) -> GraphDiff:
    """All differences of two models; reads them, changes nothing.

    Nodes are matched by name and by the values that they give (see Matching), so a Conv that became a DeepReuseGemm
    is one changed node, with the nodes that it absorbed. The order of nodes does not count. Raises DrpassError if a
    model can't be read.
    """
    before, after = load(left, "the left model"), load(right, "the right model")
    scopes = _scopes("main graph", before.graph, after.graph)
    functions = []
    for key in [*before.functions, *(key for key in after.functions if key not in before.functions)]:
        one, other = before.functions.get(key), after.functions.get(key)
        if one is not None and other is not None:
            scopes += _scopes(f"function {_function_name(one)}", one, other)
        else:
            functions.append(FieldChange(_function_name(one or other), _nodes_text(one), _nodes_text(other)))
    return GraphDiff(
        left=title(left),
        right=title(right),
        properties=_changes(_properties(before), _properties(after)),
        opsets=_changes(_opsets(before), _opsets(after)),
        functions=functions,
        scopes=[scope for scope in scopes if scope],
    )


def _function_name(function: ir.Function | None) -> str:
    return "::".join(part for part in function.identifier() if part) if function else ""


def _nodes_text(function: ir.Function | None) -> str | None:
    return None if function is None else f"{len(function)} nodes"


def _properties(model: ir.Model) -> dict[str, str]:
    named = {
        "IR version": model.ir_version,
        "producer": " ".join(filter(None, (model.producer_name, model.producer_version))),
        "domain": model.domain,
        "model version": model.model_version,
        "description": model.doc_string,
        "graph name": model.graph.name,
        "graph description": model.graph.doc_string,
    }
    metadata = {f"metadata {key}": value for key, value in model.metadata_props.items()}
    metadata |= {f"graph metadata {key}": value for key, value in model.graph.metadata_props.items()}
    return {key: describe.shortened(str(value)) for key, value in (named | metadata).items() if value}


def _opsets(model: ir.Model) -> dict[str, str]:
    imports = {domain or "ai.onnx": str(version) for domain, version in model.opset_imports.items()}
    for function in model.functions.values():
        for domain, version in function.opset_imports.items():
            imports[f"{domain or 'ai.onnx'} (in function {_function_name(function)})"] = str(version)
    return imports


def _changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[FieldChange]:
    keys = [*before, *(key for key in after if key not in before)]
    return [FieldChange(key, before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)]


def _interface(before: Sequence[ir.Value], after: Sequence[ir.Value]) -> list[FieldChange]:
    """Changes of graph inputs or outputs; their order counts, as callers may rely on it."""
    left = {value.name or "": describe.value_type(value) for value in before}
    right = {value.name or "": describe.value_type(value) for value in after}
    changes = _changes(left, right)
    order, new_order = [name for name in left if name in right], [name for name in right if name in left]
    if order != new_order:
        changes.append(FieldChange("(order)", ", ".join(order), ", ".join(new_order)))
    return changes


def _scopes(where: str, before: _Body, after: _Body) -> list[ScopeDiff]:
    """The comparison of two graphs, followed by those of the bodies in them."""
    old, new = _Constants(before), _Constants(after)
    inputs = {
        one.name or "": other.name or ""
        for one, other in zip(before.inputs, after.inputs)
        if len(before.inputs) == len(after.inputs)
    }
    matching = Matching(list(before), list(after), lambda value: old.key(value) or new.key(value), inputs)
    initializers = _initializers(old, new)
    names = matching.renamed | {item.name: item.new_name for item in initializers if item.new_name}
    scope = ScopeDiff(
        where,
        _interface(before.inputs, after.inputs),
        _interface(before.outputs, after.outputs),
        _nodes(matching, names),
        initializers,
    )
    return [scope, *(body for one, other in matching.pairs.items() for body in _bodies(where, one, other))]


def _bodies(where: str, before: ir.Node, after: ir.Node) -> Iterable[ScopeDiff]:
    for name, attribute in before.attributes.items():
        other = after.attributes.get(name)
        if other is None or not describe.is_graph(attribute) or not describe.is_graph(other):
            continue
        left = [attribute.value] if isinstance(attribute.value, ir.Graph) else list(attribute.value)
        right = [other.value] if isinstance(other.value, ir.Graph) else list(other.value)
        prefix = "" if where == "main graph" else f"{where} / "
        for index, (one, two) in enumerate(zip(left, right)):
            suffix = f"[{index}]" if len(left) > 1 else ""
            yield from _scopes(f"{prefix}{describe.title(before)}.{name}{suffix}", one, two)


def _nodes(matching: Matching, names: Mapping[str, str]) -> list[NodeChange]:
    """Changed and removed nodes in order, then added ones, but for those that a changed node accounts for."""
    removed, added = list(matching.removed), list(matching.added)
    left_values = {value.name: value for node in [*matching.pairs, *removed] for value in node.outputs}
    right_values = {value.name: value for node in [*matching.pairs.values(), *added] for value in node.outputs}
    changes = {}
    for before, after in matching.pairs.items():
        new_op = describe.operator(before) != describe.operator(after)
        absorbed = work_before(_reach(after, left_values, before if new_op else None), removed)
        released = work_before(_reach(before, right_values, after if new_op else None), added)
        fields = changed_fields(before, after, names)
        if not (fields or new_op or absorbed or released):
            continue
        removed = [node for node in removed if node not in absorbed]
        added = [node for node in added if node not in released]
        changes[before] = NodeChange(
            "changed",
            describe.title(before),
            describe.operator(before),
            describe.operator(after),
            fields,
            describe.parameters(after),
            [NodeRef(describe.title(node), describe.operator(node)) for node in absorbed],
            [NodeRef(describe.title(node), describe.operator(node)) for node in released],
        )
    for node in removed:
        changes[node] = NodeChange("removed", describe.title(node), describe.operator(node), None)
    return [changes[node] for node in matching.left if node in changes] + [
        NodeChange("added", describe.title(node), None, describe.operator(node), parameters=describe.parameters(node))
        for node in added
    ]


def _reach(partner: ir.Node, values: Mapping[str | None, ir.Value], node: ir.Node | None) -> list[ir.Value | None]:
    """Where work may have moved from: what the partner gives, and the constants of a node of another operator."""
    ends = [values.get(value.name) for value in partner.outputs]
    return [*ends, *(node.inputs[1:] if node is not None else ())]


class _Constants:
    """The initializers of a graph, hashed once."""

    def __init__(self, graph: _Body) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._keys: dict[ir.Value, Hashable] = {}
        for name, value in graph.initializers.items() if isinstance(graph, ir.Graph) else ():
            if value.const_value is not None:
                users = [describe.title(use.node) for use in value.uses()]
                found = describe.tensor(value.const_value, name, users)
                self.tensors[name] = found
                self._keys[value] = (found.dtype, tuple(found.shape), found.sha256)

    def key(self, value: ir.Value) -> Hashable:
        return self._keys.get(value)


def _initializers(old: _Constants, new: _Constants) -> list[TensorChange]:
    before, after = old.tensors, new.tensors
    gone = [name for name in before if name not in after]
    fresh = [name for name in after if name not in before]
    renamed = {}
    for name in gone:
        same = [other for other in fresh if before[name].same_content(after[other])]
        twins = [other for other in gone if before[name].same_content(before[other])]
        if len(same) == len(twins) == 1:
            renamed[name] = same[0]
    changes = [
        TensorChange("changed", name, before[name], after[name])
        for name in before
        if name in after and not before[name].same_content(after[name])
    ]
    changes += [TensorChange("renamed", name, before[name], after[other], other) for name, other in renamed.items()]
    changes += [TensorChange("removed", name, before[name], None) for name in gone if name not in renamed]
    taken = set(renamed.values())
    return changes + [TensorChange("added", name, None, after[name]) for name in fresh if name not in taken]
