"""Small networks whose values may be in NCHW16c, and what tests of chains look at."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from drpass import runtime
from drpass.rewriting import ReuseParameters, RewriteResult, rewrite

EXACT = ReuseParameters(method="exact")

#: What `networks` draws a node from.
_KINDS = ("conv", "conv", "conv", "pool", "global", "lrn", "map", "number", "join", "concat", "split", "resize", "norm")


class Net:
    """A small network on x [N, 8, 12, 12], node by node."""

    def __init__(self, batch: int | str = "N", size: int | str = 12) -> None:
        self.rng = np.random.default_rng(0)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.shape: list[int | str] = [batch, 8, size, size]

    def conv(self, x: str, y: str, inputs: int, outputs: int, kernel: int = 3, **attributes: Any) -> str:
        weights = self.rng.normal(size=(outputs, inputs // attributes.get("group", 1), kernel, kernel)) / 8
        self.constants.append(numpy_helper.from_array(weights.astype(np.float32), f"{y}_w"))
        return self.node("Conv", [x, f"{y}_w"], y, pads=[kernel // 2] * 4, **attributes)

    def node(self, op_type: str, inputs: list[str], y: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op_type, inputs, [y], name=y, **attributes))
        return y

    def model(self, *outputs: str, opset: int = 17) -> onnx.ModelProto:
        return onnx.shape_inference.infer_shapes(self.bare_model(*outputs, opset=opset))

    def bare_model(self, *outputs: str, opset: int = 17) -> onnx.ModelProto:
        """Without the shapes of inner values."""
        value = helper.make_tensor_value_info
        inputs = [value("x", TensorProto.FLOAT, self.shape)]
        results = [value(name, TensorProto.FLOAT, None) for name in outputs]
        graph = helper.make_graph(self.nodes, "g", inputs, results, self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def batchnorm(net: Net, x: str, y: str, channels: int, **attributes: Any) -> str:
    """A BatchNormalization with random statistics."""
    names = [f"{y}_{name}" for name in ("gamma", "beta", "mean", "variance")]
    for name in names:
        net.constants.append(numpy_helper.from_array(net.rng.uniform(0.5, 2, channels).astype(np.float32), name))
    return net.node("BatchNormalization", [x, *names], y, **attributes)


def check(model: onnx.ModelProto, chains: bool = True, winograd: bool = True) -> RewriteResult:
    """Rewrites exactly, compares the results, and that names and shapes of the outputs stayed."""
    result = rewrite(model, parameters=EXACT, chains=chains)
    rewritten = result.to_proto()
    onnx.checker.check_model(rewritten, full_check=True)
    x = np.random.default_rng(1).normal(size=(2, 8, 12, 12)).astype(np.float32)
    for node in rewritten.graph.node:
        if node.op_type == "DeepReuseGemm" and not winograd:
            node.attribute.append(helper.make_attribute("winograd", 0))
    expected = runtime.session(model.SerializeToString(), threads=1).run(None, {"x": x})
    actual = runtime.session(rewritten.SerializeToString(), threads=2).run(None, {"x": x})
    for left, right in zip(expected, actual, strict=True):
        # Winograd rounds relative to the largest values, not to each.
        np.testing.assert_allclose(right, left, rtol=0, atol=1e-5 * np.abs(left).max())
    assert rewritten.graph.output == model.graph.output
    return result


def blocked(result: RewriteResult) -> set[str]:
    """Names of the values in NCHW16c, by what their producers say or, for ONNX nodes, by their shape."""
    proto = result.to_proto()
    names = {
        node.output[0]
        for node in proto.graph.node
        for attribute in node.attribute
        if attribute.name in ("y_layout", "layout") and attribute.s == b"NCHW16c"
    }
    shapes = {value.name for value in proto.graph.value_info if len(value.type.tensor_type.shape.dim) == 5}
    return names | shapes


def types(result: RewriteResult) -> list[str]:
    return [node.op_type for node in result.to_proto().graph.node]


def residual(net: Net, other: str, channels: int = 32, order: int = 1) -> str:
    """Conv on ``other``, and both added: "sum"; then another Conv: "end"."""
    net.conv(other, "long", channels, channels)
    net.node("Add", ["long", other][::order], "sum")
    net.node("Relu", ["sum"], "relu")
    return net.conv("relu", "end", channels, 16)


@st.composite
def networks(draw: st.DrawFn) -> onnx.ModelProto:
    """Up to eight nodes of all kinds between two convolutions, and now and then a second output."""
    net = Net()
    net.constants.append(numpy_helper.from_array(np.float32(0.5), "half"))
    first = draw(st.sampled_from([8, 16, 24]))
    values = [(net.conv("x", "first", 8, first), first, 12)]  # name, channels, size
    for index in range(draw(st.integers(0, 8))):
        x, channels, size = draw(st.sampled_from(values[-2:]))
        y = f"v{index}"
        kind = draw(st.sampled_from(_KINDS))
        alike = [name for name, count, other in values if (count, other) == (channels, size)]
        if kind == "conv":
            group = draw(st.sampled_from([1, 1, 2])) if channels % 2 == 0 else 1
            outputs = draw(st.sampled_from([6, 8, 16, 24, 32]))
            net.conv(x, y, channels, outputs, kernel=draw(st.sampled_from([1, 3])), group=group)
            channels = outputs
        elif kind == "pool" and size >= 2:
            op_type = draw(st.sampled_from(["MaxPool", "AveragePool"]))
            more = draw(st.sampled_from([{}, {"ceil_mode": 1}, {"auto_pad": "SAME_UPPER"}, {"pads": [0, 1, 1, 0]}]))
            net.node(op_type, [x], y, kernel_shape=[2, 2], strides=[2, 2], **more)
            size = -(-size // 2) if "ceil_mode" in more or "auto_pad" in more else (size + ("pads" in more)) // 2
        elif kind == "global":
            op_type = draw(st.sampled_from(["GlobalMaxPool", "GlobalAveragePool", "ReduceMean"]))
            net.node(op_type, [x], y, **({"axes": [3, 2]} if op_type == "ReduceMean" else {}))
            size = 1
        elif kind == "lrn":
            net.node("LRN", [x], y, size=draw(st.sampled_from([3, 5])))
        elif kind == "norm":
            batchnorm(net, x, y, channels)
        elif kind == "number":
            net.node(draw(st.sampled_from(["Add", "Mul"])), [x, "half"], y)
        elif kind == "join":
            gates = [name for name, count, other in values if count == channels and other in (1, size)]
            net.node(draw(st.sampled_from(["Add", "Add", "Mul"])), [x, draw(st.sampled_from(gates))], y)
        elif kind == "split" and channels % 2 == 0:
            net.nodes.append(helper.make_node("Split", [x], [y, f"{y}b"], name=y, axis=1))
            channels //= 2
            values.append((f"{y}b", channels, size))
        elif kind == "resize" and size < 24:
            net.constants.append(numpy_helper.from_array(np.float32([1, 1, 2, 2]), f"{y}_scales"))
            nearest = draw(st.sampled_from(["floor", "ceil"]))
            place = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": nearest}
            net.node("Resize", [x, "", f"{y}_scales"], y, **place)
            size *= 2
        elif kind == "concat":
            net.node("Concat", [x, draw(st.sampled_from(alike))], y, axis=1)
            channels *= 2
        else:
            net.node(draw(st.sampled_from(["Relu", "Sigmoid", "Tanh", "LeakyRelu"])), [x], y)
        values.append((y, channels, size))
    name, channels, _ = values[-1]
    second = draw(st.sampled_from([[], [], [values[0][0]], [name]]))
    return net.model(net.conv(name, "last", channels, 16), *second)
