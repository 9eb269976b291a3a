"""Small ONNX models for tests, built from values instead of protobuf boilerplate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Dims = Sequence[int | str | None] | None

#: What ONNX Runtime and the onnx package both support.
OPSET, IR_VERSION = 17, 8

FLOAT, FLOAT16, DOUBLE = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE


def random_array(*shape: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """Near-Gaussian float32 numbers, the same for the same arguments."""
    generator = np.random.default_rng([seed, *shape])
    return generator.standard_normal(shape).astype(np.float32)


def node(
    op_type: str, inputs: Sequence[str], outputs: Sequence[str], name: str = "", **attributes: Any
) -> onnx.NodeProto:
    """A node of domain ai.onnx; its name is by default that of its first output."""
    return helper.make_node(op_type, inputs, outputs, name=name or outputs[0], **attributes)


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Dims],
    outputs: Mapping[str, Dims],
    constants: Mapping[str, npt.NDArray[Any]] | None = None,
    *,
    opset: int = OPSET,
    ir_version: int = IR_VERSION,
    element: int = FLOAT,
    functions: Sequence[onnx.FunctionProto] = (),
    domains: Mapping[str, int] | None = None,
) -> onnx.ModelProto:
    """A model whose inputs and outputs all have the type ``element``; ``constants`` are its initializers."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, element, dims) for name, dims in inputs.items()],
        [helper.make_tensor_value_info(name, element, dims) for name, dims in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    opsets += [helper.make_opsetid(domain, version) for domain, version in (domains or {}).items()]
    return helper.make_model(
        graph, opset_imports=opsets, ir_version=ir_version, functions=list(functions), producer_name="tests"
    )


def conv_model(
    after: Sequence[onnx.NodeProto] = (),
    constants: Mapping[str, npt.NDArray[Any]] | None = None,
    *,
    channels: int = 3,
    outputs: int = 32,
    size: int = 20,
    kernel: int = 3,
    bias: bool = True,
    result: str | None = None,
    opset: int = OPSET,
    ir_version: int = IR_VERSION,
    **attributes: Any,
) -> onnx.ModelProto:
    """x [N, channels, size, size] → Conv "conv" → ``after`` (reads "conv_out") → y.

    ``result`` names the graph output; by default the output of the last node.
    """
    weights = random_array(outputs, channels // attributes.get("group", 1), kernel, kernel)
    held = {"conv.weight": weights, **(constants or {})}
    inputs = ["x", "conv.weight"]
    if bias:
        held["conv.bias"] = random_array(outputs)
        inputs.append("conv.bias")
    conv = node("Conv", inputs, ["conv_out"], name="conv", **attributes)
    result = result or ([conv, *after][-1]).output[0]
    shape = ["N", channels, size, size]
    return model([conv, *after], {"x": shape}, {result: None}, held, opset=opset, ir_version=ir_version)


def if_model() -> onnx.ModelProto:
    """x, flag → If "choose": then Conv + Relu with weights inside the branch, else Conv with outer weights → y."""
    held = {"w_then": random_array(32, 3, 3, 3), "w_outer": random_array(32, 3, 3, 3, seed=1)}
    then_nodes = [
        node("Conv", ["x", "w_then"], ["t"], name="conv_then", pads=[1, 1, 1, 1]),
        node("Relu", ["t"], ["t_out"]),
    ]
    otherwise = [node("Conv", ["x", "w_outer"], ["e_out"], name="conv_else", pads=[1, 1, 1, 1])]
    inside = [numpy_helper.from_array(held["w_then"], "w_then")]
    then_graph = helper.make_graph(then_nodes, "then", [], [_untyped("t_out")], inside)
    else_graph = helper.make_graph(otherwise, "else", [], [_untyped("e_out")])
    choose = node("If", ["flag"], ["y"], name="choose", then_branch=then_graph, else_branch=else_graph)
    proto = model([choose], {"x": [1, 3, 20, 20]}, {"y": None}, {"w_outer": held["w_outer"]})
    proto.graph.input.append(helper.make_tensor_value_info("flag", TensorProto.BOOL, []))
    return proto


def loop_model() -> onnx.ModelProto:
    """x → Loop "repeat", three times Conv (3 → 3 channels) + Sigmoid with weights of the outer graph → y."""
    body = helper.make_graph(
        [
            node("Conv", ["state", "w"], ["c"], name="conv_body", pads=[1, 1, 1, 1]),
            node("Sigmoid", ["c"], ["next"]),
            node("Identity", ["condition"], ["go_on"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("condition", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", FLOAT, [1, 3, 20, 20]),
        ],
        [helper.make_tensor_value_info("go_on", TensorProto.BOOL, []), _untyped("next")],
    )
    loop = node("Loop", ["trips", "", "x"], ["y"], name="repeat", body=body)
    constants = {"trips": np.array(3, np.int64), "w": random_array(3, 3, 3, 3)}
    return model([loop], {"x": [1, 3, 20, 20]}, {"y": [1, 3, 20, 20]}, constants)


def function_model() -> onnx.ModelProto:
    """x → Block (a function: Conv with its own weights, Relu) → Head (a function: Conv with given weights) → y."""
    weights = numpy_helper.from_array(random_array(32, 3, 3, 3), "own")
    opsets = [helper.make_opsetid("", OPSET)]
    block = helper.make_function(
        "local",
        "Block",
        ["a"],
        ["b"],
        [
            node("Constant", [], ["own_w"], value=weights),
            node("Conv", ["a", "own_w"], ["c"], name="conv_block"),
            node("Relu", ["c"], ["b"]),
        ],
        opsets,
    )
    head = helper.make_function(
        "local", "Head", ["a", "given_w"], ["b"], [node("Conv", ["a", "given_w"], ["b"], name="conv_head")], opsets
    )
    calls = [
        helper.make_node("Block", ["x"], ["h"], name="block", domain="local"),
        helper.make_node("Head", ["h", "w"], ["y"], name="head", domain="local"),
    ]
    return model(
        calls,
        {"x": ["N", 3, 20, 20]},
        {"y": None},
        {"w": random_array(8, 32, 1, 1)},
        functions=[block, head],
        domains={"local": 1},
    )


def _untyped(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, FLOAT, None)
