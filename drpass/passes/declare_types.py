"""Pass 5: say inside functions what type a DeepReuseGemm returns.

ONNX Runtime infers types through the bodies of functions, but asks no custom operator there, and refuses a model where
the type of a value remains unknown. A Cast to the type that the value has anyway declares it; ONNX Runtime removes the
Cast when it has put the body in the place of the call.
"""

from __future__ import annotations

import onnx_ir as ir

from drpass.operator.spec import W
from drpass.passes.places import Names, is_reuse, places
from drpass.rules.anchor import Kept, float_tensor, input_of


def declare_types(model: ir.Model, names: Names) -> None:
    """Put a Cast behind every DeepReuseGemm in a function; the Cast's output has the name that the value had."""
    for place in places(model):
        if not place.in_function:
            continue
        for node in list(place.graph):
            dtype = type_of(node)
            if dtype is not None and not _is_declared(node.outputs[0]):
                _declare(place.graph, node, dtype, names)


def type_of(node: ir.Node) -> ir.DataType | None:
    """The type that a DeepReuseGemm returns, which is that of its weights; None for other nodes."""
    weights = input_of(node, W)
    if not is_reuse(node) or weights is None:
        return None
    try:
        return ir.DataType(float_tensor(weights, "weights").dtype)
    except Kept:
        return None


def _is_declared(value: ir.Value) -> bool:
    uses = list(value.uses())
    return len(uses) == 1 and uses[0].node.op_type == "Cast" and not value.is_graph_output()


def _declare(graph: ir.Graph, node: ir.Node, dtype: ir.DataType, names: Names) -> None:
    value = node.outputs[0]
    cast = ir.node("Cast", [value], {"to": dtype.value}, name=f"{node.name}_type" if node.name else None)
    declared = cast.outputs[0]
    declared.name, declared.type, declared.shape = value.name, value.type, value.shape
    value.name = names.unique(f"{value.name}_untyped")
    ir.convenience.replace_all_uses_with(value, declared, replace_graph_outputs=True)
    cast.replace_input_with(0, value)
    graph.insert_after(node, cast)
