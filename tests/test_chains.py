"""Chains: which values become NCHW16c, and that the network computes what it computed."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from drpass import runtime
from drpass.rewrite import ReuseParameters, RewriteResult, rewrite

EXACT = ReuseParameters(method="exact")


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

    def model(self, *outputs: str) -> onnx.ModelProto:
        value = helper.make_tensor_value_info
        inputs = [value("x", TensorProto.FLOAT, self.shape)]
        results = [value(name, TensorProto.FLOAT, None) for name in outputs]
        graph = helper.make_graph(self.nodes, "g", inputs, results, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        return onnx.shape_inference.infer_shapes(model)


def check(model: onnx.ModelProto, chains: bool = True) -> RewriteResult:
    """Rewrites exactly, compares the results, and that names and shapes of the outputs stayed."""
    result = rewrite(model, parameters=EXACT, chains=chains)
    rewritten = result.to_proto()
    onnx.checker.check_model(rewritten, full_check=True)
    x = np.random.default_rng(1).normal(size=(2, 8, 12, 12)).astype(np.float32)
    expected = runtime.session(model.SerializeToString(), threads=1).run(None, {"x": x})
    actual = runtime.session(rewritten.SerializeToString(), threads=2).run(None, {"x": x})
    for left, right in zip(expected, actual, strict=True):
        np.testing.assert_allclose(right, left, rtol=1e-4, atol=1e-5)
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


def test_convolutions_pools_and_lrn_are_one_chain() -> None:
    net = Net()
    net.conv("x", "a", 8, 40)
    net.node("Relu", ["a"], "b")
    net.node("MaxPool", ["b"], "c", kernel_shape=[2, 2], strides=[2, 2])
    net.node("LRN", ["c"], "d", size=5)
    net.conv("d", "e", 40, 32)
    net.node("AveragePool", ["e"], "f", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    net.node("GlobalAveragePool", ["f"], "g")
    net.node("Flatten", ["g"], "h")
    result = check(net.model("h"))
    assert blocked(result) == {"b", "c", "d", "e", "f"}
    types = [node.op_type for node in result.to_proto().graph.node]
    assert types == ["DeepReuseGemm", "Pool", "LRN", "DeepReuseGemm", "Pool", "Pool", "Flatten"]
    assert [verdict.node for verdict in result.report.verdicts if "Pool" in verdict.op_type] == ["c", "f", "g"]


def test_concat_and_elementwise_operators_work_on_blocks_as_they_are() -> None:
    net = Net()
    net.constants.append(numpy_helper.from_array(np.float32(0.5), "half"))
    net.conv("x", "a", 8, 16)
    net.conv("a", "b", 16, 32, kernel=1)
    net.conv("a", "c", 16, 16)
    net.node("Concat", ["b", "c"], "d", axis=-3)
    net.node("Mul", ["d", "half"], "e")
    net.node("Tanh", ["e"], "f")
    net.conv("f", "g", 48, 48)
    net.node("Add", ["f", "g"], "h")
    net.conv("h", "i", 48, 8)
    assert blocked(check(net.model("i"))) == set("abcdefgh")


def test_concat_of_parts_of_blocks_is_kept_in_planes() -> None:
    net = Net()
    net.conv("x", "a", 8, 24)
    net.conv("x", "b", 8, 24)
    net.node("Concat", ["a", "b"], "c", axis=1)
    net.conv("c", "d", 48, 16)
    assert blocked(check(net.model("d"))) == set()


def test_value_that_another_operator_reads_stays_in_planes() -> None:
    net = Net()
    net.conv("x", "a", 8, 16)
    net.conv("a", "b", 16, 16)
    net.node("Softmax", ["b"], "c", axis=1)
    net.conv("b", "d", 16, 16)
    assert blocked(check(net.model("c", "d"))) == {"a"}


def test_graph_output_inside_a_chain_stays_in_planes() -> None:
    net = Net()
    net.conv("x", "a", 8, 16)
    net.conv("a", "b", 16, 16)
    net.conv("b", "c", 16, 16)
    assert blocked(check(net.model("c", "a"))) == {"b"}


@pytest.mark.parametrize(("channels", "group", "expected"), [(32, 2, {"a", "b"}), (16, 2, set()), (32, 32, set())])
def test_groups_need_whole_blocks(channels: int, group: int, expected: set[str]) -> None:
    net = Net()
    net.conv("x", "a", 8, channels)
    net.conv("a", "b", channels, channels, group=group)
    net.conv("b", "c", channels, 16)
    assert blocked(check(net.model("c"))) == expected


@pytest.mark.parametrize(
    "attributes", [{"ceil_mode": 1}, {"auto_pad": "SAME_UPPER"}, {"dilations": [2, 2]}], ids=lambda value: str(value)
)
def test_pool_that_is_not_taken_over_ends_the_chain(attributes: dict[str, Any]) -> None:
    net = Net()
    net.conv("x", "a", 8, 16)
    net.node("MaxPool", ["a"], "b", kernel_shape=[3, 3], strides=[2, 2], **attributes)
    net.conv("b", "c", 16, 16)
    net.conv("c", "d", 16, 16)
    assert blocked(check(net.model("d"))) == {"c"}


def test_value_that_a_subgraph_reads_stays_in_planes() -> None:
    net = Net()
    net.conv("x", "a", 8, 16)
    net.constants.append(numpy_helper.from_array(np.array(True), "yes"))
    bodies = [
        helper.make_graph([helper.make_node(op, ["a"], [f"{op}_y"])], op, [], [_float(f"{op}_y")])
        for op in ("Relu", "Neg")
    ]
    net.nodes.append(helper.make_node("If", ["yes"], ["b"], then_branch=bodies[0], else_branch=bodies[1]))
    net.conv("a", "c", 16, 16)
    assert blocked(check(net.model("b", "c"))) == set()


def test_sizes_that_are_not_known_stay_unknown() -> None:
    net = Net("N", "S")
    net.conv("x", "a", 8, 16)
    net.node("MaxPool", ["a"], "b", kernel_shape=[3, 3])
    net.conv("b", "c", 16, 16)
    assert blocked(check(net.model("c"))) == {"a", "b"}


def test_chains_can_be_switched_off() -> None:
    net = Net()
    net.conv("x", "a", 8, 16)
    net.node("MaxPool", ["a"], "b", kernel_shape=[2, 2])
    net.conv("b", "c", 16, 16)
    result = check(net.model("c"), chains=False)
    assert blocked(result) == set()
    assert [node.op_type for node in result.to_proto().graph.node] == ["DeepReuseGemm", "MaxPool", "DeepReuseGemm"]


def test_rewriting_a_chain_again_changes_nothing() -> None:
    net = Net()
    net.conv("x", "a", 8, 16)
    net.conv("a", "b", 16, 16)
    once = check(net.model("b")).to_proto()
    assert rewrite(once, parameters=EXACT).to_proto() == once


def _float(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
