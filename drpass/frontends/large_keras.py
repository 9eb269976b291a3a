"""Large Keras models: their weights do not go through TensorFlow's graph and tf2onnx.

A graph of TensorFlow can't hold 2 GB, and tf2onnx copies what it holds again and again (8 GB for the 0.6 GB of VGG-19).
So while the model is converted, its large variables are inputs beside its own; then they become initializers of the
ONNX model, which are read from Keras when it is written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import onnx_ir as ir

from drpass.deferred import deferred
from drpass.frontends.model import unique_names
from drpass.frontends.tensorflow_function import TensorFlowFunction, described, import_tensorflow

#: Bytes of all variables from which a model is large, and of a variable that then takes the other way.
LARGE_MODEL, LARGE_VARIABLE = 1 << 28, 1 << 20


@dataclass(frozen=True, kw_only=True)
class LargeKerasModel(TensorFlowFunction):
    """``variables``: of Keras, those that are large."""

    variables: list[Any]

    def convert(self, opset: int, nhwc: bool) -> ir.Model:
        """See `FrameworkModel.convert`."""
        own = [*(spec.name for spec in self.inputs), *self.outputs]
        names = unique_names([*own, *(variable.path for variable in self.variables)])[len(own) :]
        held = dict(zip(names, self.variables, strict=True))
        beside = [described(name, variable) for name, variable in held.items()]
        function = _taking_variables(self.function, self.variables, len(self.inputs))
        whole = _WithVariables(
            name=self.name, inputs=[*self.inputs, *beside], outputs=self.outputs, function=function, model=self
        )
        converted = whole.convert(opset, nhwc)
        inputs = {value.name: value for value in converted.graph.inputs}
        for name, variable in held.items():
            converted.graph.inputs.remove(inputs[name])
            _hold(converted.graph, inputs[name], variable)
        return converted


@dataclass(frozen=True, kw_only=True)
class _WithVariables(TensorFlowFunction):
    """``model`` with variables as inputs, which are no pictures, whatever their shape is."""

    model: TensorFlowFunction

    def moved_inputs(self, nhwc: bool) -> set[str]:
        """See `FrameworkModel.moved_inputs`."""
        return self.model.moved_inputs(nhwc)

    def moves_outputs(self, nhwc: bool) -> bool:
        """See `FrameworkModel.moves_outputs`."""
        return self.model.moves_outputs(nhwc)


def large_variables(model: Any) -> list[Any]:
    """Of a Keras model: those that take the other way; none where it is not large."""
    as_dtype = import_tensorflow().as_dtype
    sizes = [(variable, prod(variable.shape) * as_dtype(variable.dtype).size) for variable in model.variables]
    if sum(size for _, size in sizes) < LARGE_MODEL:
        return []
    return [variable for variable, size in sizes if size >= LARGE_VARIABLE]


def _taking_variables(function: Callable[..., list[Any]], variables: list[Any], inputs: int) -> Callable[..., Any]:
    import keras

    def taking(*tensors: Any) -> list[Any]:
        with keras.StatelessScope(state_mapping=list(zip(variables, tensors[inputs:], strict=True))):
            return function(*tensors[:inputs])

    return taking


def _hold(graph: ir.Graph, value: ir.Value, variable: Any) -> None:
    """Make ``value`` an initializer with the content of a variable; what transposes it, one of its own."""
    for node in [use.node for use in value.uses() if use.node.op_type == "Transpose"]:
        order = tuple(node.attributes["perm"].as_ints())
        transposed = ir.Value(name=node.outputs[0].name, type=value.type)
        node.outputs[0].replace_all_uses_with(transposed)
        graph.remove(node, safe=True)
        _set_content(graph, transposed, variable, order)
    if value.uses():
        _set_content(graph, value, variable, tuple(range(len(variable.shape))))


def _set_content(graph: ir.Graph, value: ir.Value, variable: Any, order: tuple[int, ...]) -> None:
    tensor = deferred(
        lambda: np.ascontiguousarray(variable.numpy().transpose(order)),
        [variable.shape[axis] for axis in order],
        ir.DataType.from_numpy(np.dtype(import_tensorflow().as_dtype(variable.dtype).as_numpy_dtype)),
    )
    tensor.name = value.name
    value.shape = ir.Shape(tensor.shape)
    value.const_value = tensor
    graph.register_initializer(value)
