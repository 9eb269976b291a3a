"""Models with float16 in the place of float."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which every float tensor and value is float16; attributes that are numbers stay."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    _halve_graph(copy.graph)
    for function in copy.functions:
        _halve_nodes(function.node)
        _halve_values(function.value_info)
    return copy


def units(found: npt.NDArray[np.float16], expected: npt.NDArray[np.float16]) -> int:
    """How many numbers of float16 two arrays are apart, at most; NaN is where NaN is."""
    assert found.dtype == expected.dtype == np.float16
    assert np.array_equal(np.isnan(found), np.isnan(expected))
    places = [_place(array) for array in (found, expected)]
    return int(np.abs(places[0] - places[1]).max(initial=0, where=~np.isnan(expected)))


def _place(array: npt.NDArray[np.float16]) -> npt.NDArray[np.int32]:
    """Of a number among all, in order; both zeros are 0."""
    bits = array.view(np.uint16).astype(np.int32)
    return np.where(bits & 0x8000, -(bits & 0x7FFF), bits)


def _halve_graph(graph: onnx.GraphProto) -> None:
    for tensor in graph.initializer:
        _halve_tensor(tensor)
    _halve_values([*graph.input, *graph.output, *graph.value_info])
    _halve_nodes(graph.node)


def _halve_nodes(nodes: Iterable[onnx.NodeProto]) -> None:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                _halve_graph(attribute.g)
            elif attribute.type == AttributeProto.TENSOR:
                _halve_tensor(attribute.t)
            elif node.op_type == "Constant" and attribute.type in (AttributeProto.FLOAT, AttributeProto.FLOATS):
                array = np.asarray(helper.get_attribute_value(attribute), np.float16)
                attribute.CopyFrom(helper.make_attribute("value", numpy_helper.from_array(array)))


def _halve_tensor(tensor: onnx.TensorProto) -> None:
    if tensor.data_type == TensorProto.FLOAT:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))


def _halve_values(values: Iterable[onnx.ValueInfoProto]) -> None:
    for value in values:
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.FLOAT16
