"""Chains: which values become NCHW16c, and that the network computes what it computed."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from chain_nets import EXACT, Net, blocked, check, networks, types
from hypothesis import given, settings
from models_for_tests import function_model, if_model, loop_model
from onnx import TensorProto, helper, numpy_helper

from drpass import runtime
from drpass.rewriting import rewrite


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
    assert types(result) == ["DeepReuseGemm", "Pool", "LRN", "DeepReuseGemm", "Pool", "Pool", "Flatten"]
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
    net.node("Mul", ["f", "g"], "h")
    net.conv("h", "i", 48, 8)
    assert blocked(check(net.model("i"))) == set("abcdefgh")


@pytest.mark.parametrize(
    ("opset", "given", "axis"),
    [(12, False, 1), (12, True, -3), (17, False, 1), (17, True, -3), (18, False, 1), (18, True, 1)],
)
def test_split_into_equal_parts_works_on_blocks(opset: int, given: bool, axis: int) -> None:
    net = Net()
    net.conv("x", "a", 8, 64)
    attributes: dict[str, Any] = {"axis": axis}
    inputs = ["a"]
    if given and opset >= 13:
        net.constants.append(numpy_helper.from_array(np.array([32, 32], np.int64), "sizes"))
        inputs.append("sizes")
    elif given:
        attributes["split"] = [32, 32]
    elif opset >= 18:
        attributes["num_outputs"] = 2
    net.nodes.append(helper.make_node("Split", inputs, ["b", "c"], name="split", **attributes))
    net.conv("c", "d", 32, 32)
    net.node("Concat", ["b", "d"], "e", axis=1)
    net.conv("e", "f", 64, 16)
    assert blocked(check(net.model("f", opset=opset))) == set("abcde")


@pytest.mark.parametrize(("channels", "sizes"), [(48, [32, 16]), (48, [24, 24])])
def test_split_into_other_parts_ends_the_chain(channels: int, sizes: list[int]) -> None:
    net = Net()
    net.conv("x", "a", 8, channels)
    net.constants.append(numpy_helper.from_array(np.array(sizes, np.int64), "sizes"))
    net.nodes.append(helper.make_node("Split", ["a", "sizes"], ["b", "c"], name="split", axis=1))
    net.conv("b", "d", sizes[0], 16)
    net.conv("c", "e", sizes[1], 16)
    assert not blocked(check(net.model("d", "e"))) & set("abc")


def test_split_one_part_of_which_stays_in_planes_ends_the_chain() -> None:
    net = Net()
    net.conv("x", "a", 8, 64)
    net.nodes.append(helper.make_node("Split", ["a"], ["b", "c"], name="split", axis=1))
    net.conv("b", "d", 32, 16)
    net.node("Softmax", ["c"], "e", axis=1)
    assert not blocked(check(net.model("d", "e"))) & set("abc")


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


@pytest.mark.parametrize(
    ("channels", "group", "expected"), [(32, 2, {"a", "b"}), (16, 2, set()), (32, 16, set()), (32, 32, {"a", "b"})]
)
def test_groups_need_whole_blocks(channels: int, group: int, expected: set[str]) -> None:
    net = Net()
    net.conv("x", "a", 8, channels)
    net.conv("a", "b", channels, channels, group=group)
    net.conv("b", "c", channels, 16)
    assert blocked(check(net.model("c"))) == expected


@pytest.mark.parametrize(
    ("op_type", "attributes"),
    [
        ("MaxPool", {"ceil_mode": 1}),
        ("MaxPool", {"auto_pad": "SAME_UPPER"}),
        ("MaxPool", {"auto_pad": "SAME_LOWER", "storage_order": 1}),
        ("MaxPool", {"pads": [2, 1, 0, 2]}),
        ("AveragePool", {"pads": [2, 1, 0, 2]}),
        ("AveragePool", {"pads": [2, 1, 0, 2], "count_include_pad": 1}),
        ("AveragePool", {"ceil_mode": 1}),
        ("AveragePool", {"auto_pad": "VALID"}),
        ("GlobalMaxPool", {}),
    ],
)
@pytest.mark.parametrize("channels", [16, 24])
def test_pool_is_taken_over_with_all_that_it_says(op_type: str, attributes: dict[str, Any], channels: int) -> None:
    window = {} if op_type.startswith("Global") else {"kernel_shape": [3, 3], "strides": [2, 2]}
    net = Net()
    net.conv("x", "a", 8, channels)
    net.node(op_type, ["a"], "b", **window, **attributes)
    net.conv("b", "c", channels, 16)
    assert blocked(check(net.model("c"))) == {"a", "b"}


def mean(net: Net, x: str, y: str, axes: list[int], as_input: bool, **attributes: Any) -> None:
    """ReduceMean, with axes as they are from opset 18 on or as they were before."""
    if as_input:
        net.constants.append(numpy_helper.from_array(np.array(axes, np.int64), f"{y}_axes"))
        net.node("ReduceMean", [x, f"{y}_axes"], y, **attributes)
    else:
        net.node("ReduceMean", [x], y, axes=axes, **attributes)


@pytest.mark.parametrize("as_input", [False, True])
@pytest.mark.parametrize("axes", [[2, 3], [-1, -2]])
@pytest.mark.parametrize("channels", [16, 24])
def test_mean_over_all_pixels_is_a_pool(as_input: bool, axes: list[int], channels: int) -> None:
    net = Net()
    net.conv("x", "a", 8, channels)
    mean(net, "a", "b", axes, as_input)
    net.conv("b", "c", channels, 16, kernel=1)
    mean(net, "a", "d", axes, as_input, keepdims=0)
    result = check(net.model("c", "d", opset=18 if as_input else 17))
    assert blocked(result) == {"a", "b"}
    assert types(result) == ["DeepReuseGemm", "Pool", "DeepReuseGemm", "Pool", "Flatten"]
    assert not [constant for constant in result.to_proto().graph.initializer if "axes" in constant.name]


@pytest.mark.parametrize("axes", [[1], [2], [1, 2, 3], [0, 2], [2, 3, 9]])
def test_mean_over_other_axes_is_kept(axes: list[int]) -> None:
    net = Net()
    net.conv("x", "a", 8, 16)
    mean(net, "a", "b", axes, False)
    assert types(rewrite(net.bare_model("b"), parameters=EXACT)) == ["DeepReuseGemm", "ReduceMean"]


def test_pool_that_is_not_taken_over_ends_the_chain() -> None:
    net = Net()
    net.conv("x", "a", 8, 16)
    net.node("MaxPool", ["a"], "b", kernel_shape=[3, 3], strides=[2, 2], dilations=[2, 2])
    net.conv("b", "c", 16, 16)
    net.conv("c", "d", 16, 16)
    assert blocked(check(net.model("d"))) == {"c"}


@pytest.mark.parametrize(
    "attributes",
    [{"auto_pad": "ALL"}, {"pads": [-1, 0, 0, 0]}, {"pads": [3, 0, 0, 0]}, {"strides": [0, 1]}, {"pads": [1]}],
)
def test_pool_with_damaged_attributes_is_left_alone(attributes: dict[str, Any]) -> None:
    net = Net()
    net.conv("x", "a", 8, 16)
    net.nodes.append(helper.make_node("MaxPool", ["a"], ["b"], kernel_shape=[3, 3], **attributes))
    assert types(rewrite(net.bare_model("b"), parameters=EXACT)) == ["DeepReuseGemm", "MaxPool"]


def test_value_of_unknown_type_between_two_replaced_nodes() -> None:
    net = Net()
    net.conv("x", "a", 8, 16)
    net.nodes.append(helper.make_node("Dropout", ["a", "a", "a"], ["b"]))  # no inference: its third input is a bool
    net.conv("b", "c", 16, 16)
    assert types(rewrite(net.bare_model("c"), parameters=EXACT)) == ["DeepReuseGemm", "Dropout", "DeepReuseGemm"]


def test_indices_of_a_pool_end_the_chain() -> None:
    net = Net()
    net.conv("x", "a", 8, 16)
    net.nodes.append(helper.make_node("MaxPool", ["a"], ["b", "where"], kernel_shape=[3, 3]))
    net.node("Cast", ["where"], "i", to=TensorProto.FLOAT)
    net.conv("b", "c", 16, 16)
    assert blocked(check(net.model("c", "i"))) == set()


@pytest.mark.parametrize(
    ("op_type", "channels", "expected"),
    [("Tanh", 24, True), ("Sigmoid", 24, False), ("Sigmoid", 32, True), ("Softplus", 24, False)],
)
def test_lanes_without_a_channel_must_stay_zero(op_type: str, channels: int, expected: bool) -> None:
    net = Net()
    net.conv("x", "a", 8, channels)
    net.conv("a", "b", channels, channels)
    net.node("Mul", ["a", "b"], "c")  # so that the function is not absorbed
    net.node(op_type, ["c"], "d")
    net.conv("d", "e", channels, 16)
    assert ("d" in blocked(check(net.model("e")))) == expected


@pytest.mark.parametrize(("channels", "expected"), [(24, set()), (32, {"a", "b"})])
def test_lrn_without_a_bias_divides_zero_by_zero_in_lanes_without_a_channel(channels: int, expected: set[str]) -> None:
    net = Net()
    net.conv("x", "a", 8, channels)
    net.node("LRN", ["a"], "b", size=3, bias=0.0, alpha=1.0)
    net.conv("b", "c", channels, 16)
    model, x = net.model("c"), np.random.default_rng(1).normal(size=(2, 8, 12, 12)).astype(np.float32)
    results = [rewrite(model, parameters=EXACT, chains=chains) for chains in (True, False)]
    assert [blocked(result) for result in results] == [expected, set()]
    chained, plain = (runtime.session(r.to_proto().SerializeToString()).run(None, {"x": x})[0] for r in results)
    np.testing.assert_allclose(chained, plain, rtol=1e-4, atol=1e-5)


def test_number_with_more_axes_than_the_tensor_is_no_number() -> None:
    net = Net()
    net.constants.append(numpy_helper.from_array(np.full((1, 1, 1, 1, 1), 0.5, np.float32), "half"))
    net.conv("x", "a", 8, 16)
    net.node("Tanh", ["a"], "b")
    net.node("Mul", ["b", "half"], "c")
    net.node("Softmax", ["c"], "d")
    assert not blocked(check(net.model("d"))) & {"a", "b"}


def test_few_channels_stay_in_planes() -> None:
    net = Net()
    net.conv("x", "a", 8, 7)
    net.conv("a", "b", 7, 8)
    net.conv("b", "c", 8, 3)
    assert blocked(check(net.model("c"))) == {"b"}


def test_report_says_what_is_in_blocks() -> None:
    net = Net()
    net.conv("x", "a", 8, 16)
    net.node("MaxPool", ["a"], "b", kernel_shape=[2, 2])
    net.node("LRN", ["b"], "c", size=3)
    net.conv("c", "d", 16, 16)
    report = check(net.model("d")).report
    described = {verdict.node: verdict.describe() for verdict in report.verdicts}
    assert described == {
        "a": "exact, NCHW→NCHW16c",
        "b": "exact, NCHW16c",
        "c": "exact, NCHW16c",
        "d": "exact, NCHW16c→NCHW",
    }
    assert "values in NCHW16c, whose shapes differ from those in the original: 3" in report.notes
    pool = next(entry for entry in report.to_dict()["nodes"] if entry["op_type"] == "MaxPool")
    assert (pool["x_layout"], pool["y_layout"], pool["parameters"]) == ("NCHW16c", "NCHW16c", None)


def test_recorded_shapes_follow_the_layout_and_none_is_added() -> None:
    net = Net()
    net.conv("x", "a", 8, 24)
    net.conv("a", "b", 24, 16)
    recorded = net.model("b")
    bare = onnx.ModelProto.FromString(recorded.SerializeToString())
    del bare.graph.value_info[:]
    (shape,) = [v.type.tensor_type.shape for v in check(recorded).to_proto().graph.value_info if v.name == "a"]
    assert [dim.dim_param or dim.dim_value for dim in shape.dim] == ["N", 2, 12, 12, 16]
    assert not check(bare).to_proto().graph.value_info


def test_model_that_has_chains_is_left_as_it_is_when_more_is_replaced() -> None:
    net = Net()
    for left, right, inputs in (("x", "a", 8), ("a", "b", 16), ("b", "c", 16), ("c", "d", 16)):
        net.conv(left, right, inputs, 16)
    model = net.model("d")
    once = rewrite(model, parameters=EXACT, exclude=["c", "d"])
    assert blocked(once) == {"a"}
    twice = check(once.to_proto())
    assert twice.report.replaced == 2
    assert blocked(twice) == {"a"}


def test_nodes_of_functions_and_subgraphs_keep_their_layout() -> None:
    for proto in (function_model(), if_model(), loop_model()):
        assert blocked(rewrite(proto, parameters=EXACT)) == set()


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
    assert types(result) == ["DeepReuseGemm", "MaxPool", "DeepReuseGemm"]


def test_rewriting_a_chain_again_changes_nothing() -> None:
    net = Net()
    net.conv("x", "a", 8, 16)
    net.conv("a", "b", 16, 16)
    once = check(net.model("b")).to_proto()
    assert rewrite(once, parameters=EXACT).to_proto() == once


@settings(max_examples=60)
@given(networks())
def test_any_network_computes_what_it_did(model: onnx.ModelProto) -> None:
    # Winograd's rounding grows from layer to layer and would ask for a wide tolerance; the other tests have it on.
    check(model, winograd=False)


def _float(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
