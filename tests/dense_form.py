"""Rewritten models as plain ONNX: every DeepReuseGemm as Conv or MatMul, Add and its activation.

So the tests of the pass can run what it made in ONNX Runtime without the op library, and compare with the original.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from drpass.operator.packing import unpack_weights
from drpass.operator.spec import DOMAIN

Arrays = dict[str, npt.NDArray[Any]]


def run(model: onnx.ModelProto, feeds: Mapping[str, npt.NDArray[Any]]) -> Arrays:
    """Run a model (in dense form) on the CPU with one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    data = dense_form(model).SerializeToString()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


def dense_form(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the model without DeepReuseGemm nodes."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    _convert(copy.graph, {})
    for function in copy.functions:
        nodes = _expand_all(function.node, _constants(function.node))
        del function.node[:]
        function.node.extend(nodes)
    return copy


def _convert(graph: onnx.GraphProto, outer: Arrays) -> None:
    known = outer | {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    known |= _constants(graph.node)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _convert(attribute.g, known)
    nodes = _expand_all(graph.node, known)
    del graph.node[:]
    graph.node.extend(nodes)


def _constants(nodes: Iterable[onnx.NodeProto]) -> Arrays:
    return {
        node.output[0]: numpy_helper.to_array(node.attribute[0].t)
        for node in nodes
        if node.op_type == "Constant" and node.attribute[0].HasField("t")
    }


def _expand_all(nodes: Iterable[onnx.NodeProto], known: Arrays) -> list[onnx.NodeProto]:
    return [part for node in nodes for part in (_expand(node, known) if node.domain == DOMAIN else [node])]


def _expand(node: onnx.NodeProto, known: Arrays) -> list[onnx.NodeProto]:
    attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    inputs = [*node.input, "", "", ""]
    x, w, bias, addend = inputs[:4]
    kernel = attributes.get("kernel_shape")
    weights = unpack_weights(known[w], attributes["output_channels"], kernel)
    stem = node.output[0]
    parts: list[onnx.NodeProto] = []

    def add(op_type: str, sources: list[str], **settings: Any) -> str:
        output = f"{stem}/{len(parts)}"
        parts.append(helper.make_node(op_type, sources, [output], **settings))
        return output

    def constant(array: npt.NDArray[Any]) -> str:
        return add("Constant", [], value=numpy_helper.from_array(np.ascontiguousarray(array)))

    if kernel:
        names = ("kernel_shape", "strides", "dilations", "pads", "auto_pad", "group")
        window = {name: attributes[name] for name in names if name in attributes}
        value = add("Conv", [x, constant(weights), *([bias] if bias else [])], **window)
    else:
        left = add("Transpose", [x], perm=[1, 0]) if attributes.get("trans_a") else x
        value = add("MatMul", [left, constant(weights.T)])
        value = add("Add", [value, bias]) if bias else value
    value = add("Add", [value, addend]) if addend else value
    kind = attributes.get("activation", b"none").decode()
    parameters = list(attributes.get("activation_params", []))
    if kind == "clip":
        # Clip itself takes its limits as attributes below opset 11.
        value = add("Max", [value, constant(np.float32(parameters[0]))])
        parts.append(helper.make_node("Min", [value, constant(np.float32(parameters[1]))], [stem]))
    elif kind == "leaky_relu":
        parts.append(helper.make_node("LeakyRelu", [value], [stem], alpha=parameters[0]))
    else:
        op_type = {"none": "Identity", "relu": "Relu", "sigmoid": "Sigmoid"}[kind]
        parts.append(helper.make_node(op_type, [value], [stem]))
    return parts
