"""Shapes of all values of a model, without changing the model."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

import onnx
import onnx_ir as ir

from drpass.errors import DrpassError
from drpass.external_data import SMALL
from drpass.operator import schema

#: The values of a model, each with a twin that has the inferred type and shape. Of a value that is absent only what the
#: model itself says is known.
Shapes = Mapping[ir.Value, ir.Value]


def infer_shapes(model: ir.Model, inputs: Mapping[str, Sequence[int]] | None = None) -> dict[ir.Value, ir.Value]:
    """Infer types and shapes of the values of the main graph and its subgraphs; the model is not changed.

    ``inputs`` gives sizes to inputs with symbolic dimensions. Never raises for a model that can't be inferred: what is
    not known is absent. Raises DrpassError if ``inputs`` names no input or contradicts one.
    """
    schema.register()
    inputs = inputs or {}
    check_input_shapes(model, inputs)
    try:
        copy = model.clone()
        if inputs:
            _set_inputs(copy, inputs)
        _hide_large_initializers(copy)
        proto = onnx.shape_inference.infer_shapes(ir.to_proto(copy), strict_mode=False, data_prop=True)
        inferred = ir.from_proto(proto)
    except Exception:  # Whatever inference makes of an untrusted model, it is only a source of hints.
        return {}
    return _by_position(model.graph, inferred.graph)


def shape_of(value: ir.Value | None, shapes: Shapes) -> ir.Shape | None:
    """The shape of a value as far as it is known."""
    if value is None:
        return None
    return shapes.get(value, value).shape


def dims_of(value: ir.Value | None, shapes: Shapes) -> list[int | str | None] | None:
    """The shape of a value as plain Python: sizes, names of symbols, None where nothing is known."""
    shape = shape_of(value, shapes)
    return None if shape is None else [dim if isinstance(dim, int) else dim.value for dim in shape]


def check_input_shapes(model: ir.Model, inputs: Mapping[str, Sequence[int]]) -> None:
    """Raise DrpassError if ``inputs`` names something that is no input, or contradicts a dimension that is fixed."""
    known = {value.name: value for value in model.graph.inputs if value.name and not value.is_initializer()}
    for name, sizes in inputs.items():
        if name not in known:
            near = difflib.get_close_matches(name, list(known), n=3) or sorted(known)[:5]
            raise DrpassError(f"the model has no input '{name}'; it has {', '.join(near)}")
        declared = known[name].shape
        if declared is None:
            continue
        fits = len(declared) == len(sizes) and all(
            not isinstance(dim, int) or dim == size for dim, size in zip(declared, sizes, strict=True)
        )
        if not fits or min(sizes, default=1) < 0:
            raise DrpassError(f"input '{name}' has the shape {declared}; {list(sizes)} does not fit it")


def _set_inputs(model: ir.Model, inputs: Mapping[str, Sequence[int]]) -> None:
    for value in model.graph.inputs:
        if value.name is not None and value.name in inputs:
            value.shape = ir.Shape(list(inputs[value.name]))
    # What the file says about the other values holds for its symbols, not for these sizes.
    for node in model.graph.all_nodes():
        for output in node.outputs:
            output.shape = None


def _hide_large_initializers(model: ir.Model) -> None:
    """Turn them into inputs of the same type and shape, which says as much: only small ones hold shapes."""
    graph = model.graph
    for name, value in list(graph.initializers.items()):
        tensor = value.const_value
        if tensor is None or tensor.nbytes <= SMALL:
            continue
        value.shape, value.dtype, value.const_value = ir.Shape(tensor.shape.numpy()), tensor.dtype, None
        graph.initializers.pop(name)
        if not value.is_graph_input():
            graph.inputs.append(value)


def _by_position(graph: ir.Graph, inferred: ir.Graph) -> dict[ir.Value, ir.Value]:
    """Pair the values of two graphs with the same nodes in the same order."""
    pairs = list(zip(graph.inputs, inferred.inputs, strict=False))
    for left, right in zip(graph.all_nodes(), inferred.all_nodes(), strict=True):
        pairs.extend(zip(left.outputs, right.outputs, strict=False))
    for _, twin in pairs:
        if twin.shape is not None:
            twin.shape = ir.Shape([_dim(dim) for dim in twin.shape])
    return dict(pairs)


def _dim(dim: int | ir.SymbolicDim) -> int | ir.SymbolicDim | None:
    """Without the symbols that the inference makes up for what it does not know."""
    return None if isinstance(dim, ir.SymbolicDim) and (dim.value or "").startswith("unk__") else dim
