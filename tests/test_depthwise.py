"""Depthwise convolutions: the operator in every kernel set and layout, and how convolutions become one."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from chain_nets import EXACT, Net, blocked, check, types
from hypothesis import given, settings
from hypothesis import strategies as st
from models_for_tests import model, node, random_array
from onnx import helper, numpy_helper
from operator_models import ACTIVATIONS, Case, block, forced_kernels, inferred, runnable_kernel_sets, session, targets
from rewriting import assert_same_outputs, rewrite_exactly

from drpass import restore
from drpass.errors import DrpassError
from drpass.explanation import explain
from drpass.operator.packing import PANEL, unblock, unpack_depthwise
from drpass.operator.spec import DEPTHWISE, DOMAIN
from drpass.rewriting import rewrite

LAYOUTS = ("NCHW", "NCHW16c")


def packed(weights: np.ndarray) -> np.ndarray:
    """[C, 1, \\*kernel] as [ceil(C / 16), T, 16]."""
    channels, taps = weights.shape[0], weights[0].size
    rows = np.zeros((-(-channels // PANEL) * PANEL, taps), np.float32)
    rows[:channels] = weights.reshape(channels, taps)
    return np.ascontiguousarray(rows.reshape(-1, PANEL, taps).transpose(0, 2, 1))


def depthwise_model(case: Case, x_layout: str = "NCHW", y_layout: str = "NCHW", **attributes: Any) -> bytes:
    """One DepthwiseConv that computes what ``case.conv_model()`` does."""
    constants = {"W": packed(case.weights)} | ({} if case.bias is None else {"B": case.bias})
    own = {name: value for name, value in case.attributes.items() if name != "group"}
    if case.activation_params:
        own["activation_params"] = list(case.activation_params)
    options = {"channels": case.weights.shape[0], "kernel_shape": case.weights.shape[2:], **own, **attributes}
    options |= {"activation": case.activation, "x_layout": x_layout, "y_layout": y_layout}
    made = helper.make_node(DEPTHWISE, ["X", *constants], ["Y"], name="dw", domain=DOMAIN, **options)
    value = helper.make_tensor_value_info
    rank = 5 if x_layout == "NCHW16c" else 4
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(
        [made],
        "g",
        [value("X", onnx.TensorProto.FLOAT, [None] * rank)],
        [value("Y", onnx.TensorProto.FLOAT, None)],
        tensors,
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def in_planes(y: np.ndarray, channels: int) -> np.ndarray:
    if y.ndim == 4:
        return y
    assert not unblock(y, y.shape[1] * PANEL)[:, channels:].any(), "lanes without a channel"
    return unblock(y, channels)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    channels = draw(st.sampled_from([1, 5, 16, 23, 48]))
    kernel = [draw(st.sampled_from([3, 3, 5, 1, 2, 4, 7])) for _ in range(2)]
    strides, dilations = [draw(st.integers(1, 3)) for _ in range(2)], [draw(st.integers(1, 2)) for _ in range(2)]
    sizes = [draw(st.integers(1, 30)) for _ in range(2)]
    attributes: dict[str, Any] = {"group": channels, "strides": strides, "dilations": dilations}
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    if draw(st.integers(0, 3)) == 0 and max(strides + dilations) == 1:
        attributes["auto_pad"] = draw(st.sampled_from(["SAME_UPPER", "SAME_LOWER"]))
    else:
        pads = [draw(st.integers(0, 4)) for _ in range(4)]
        for axis in range(2):  # the kernel fits
            pads[axis] += max(0, reach[axis] - sizes[axis] - pads[axis] - pads[axis + 2])
        attributes["pads"] = pads
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    x = rng.normal(size=(draw(st.integers(1, 3)), channels, *sizes)).astype(np.float32)
    weights = rng.normal(size=(channels, 1, *kernel)).astype(np.float32)
    bias = rng.normal(size=channels).astype(np.float32) if draw(st.booleans()) else None
    activation = draw(st.sampled_from(list(ACTIVATIONS)))
    return Case(x, weights, bias, None, attributes, activation, ACTIVATIONS[activation])


@settings(max_examples=120)
@given(cases(), st.sampled_from(LAYOUTS), st.sampled_from(LAYOUTS))
def test_equals_onnxruntime_in_every_kernel_set_and_layout(case: Case, x_layout: str, y_layout: str) -> None:
    expected = case.run(case.conv_model())[0]
    model, x = depthwise_model(case, x_layout, y_layout), block(case.x) if x_layout == "NCHW16c" else case.x
    assert inferred(model, x.shape) == (block(expected) if y_layout == "NCHW16c" else expected).shape
    found = set()
    for kernels in runnable_kernel_sets():
        with forced_kernels(kernels):
            actual = session(model, 1).run(None, {"X": x})[0]
            assert actual.tobytes() == session(model, 3).run(None, {"X": x})[0].tobytes(), kernels
        found.add(actual.tobytes())
        actual = in_planes(actual, case.weights.shape[0])
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=case.rounding(), err_msg=kernels)
    if case.activation in ("none", "relu", "clip"):  # sums of the same numbers in the same order, fused
        with forced_kernels("portable"):  # which does not fuse
            found.discard(session(model, 1).run(None, {"X": x})[0].tobytes())
        assert len(found) <= 1


def a_case(channels: int = 20, size: int = 9, activation: str = "none", **attributes: Any) -> Case:
    rng = np.random.default_rng(channels)
    x = rng.normal(size=(2, channels, size, size)).astype(np.float32)
    weights = rng.normal(size=(channels, 1, 3, 3)).astype(np.float32)
    bias = rng.normal(size=channels).astype(np.float32)
    options = {"group": channels, "pads": [1, 1, 1, 1], **attributes}
    return Case(x, weights, bias, None, options, activation, ACTIVATIONS[activation])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_runs_on_all_targets(layout: str) -> None:
    case = a_case(activation="silu")
    expected = case.run(case.conv_model())[0]
    x = block(case.x) if layout == "NCHW16c" else case.x
    for target in targets():
        with forced_kernels(target):
            actual = session(depthwise_model(case, layout, layout)).run(None, {"X": x})[0]
        np.testing.assert_allclose(in_planes(actual, 20), expected, rtol=1e-5, atol=case.rounding(), err_msg=target)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_special_values_reach_what_they_reach_in_the_reference(activation: str, value: float) -> None:
    case = a_case(activation=activation, size=21)
    case.x[0, 3, 5, 6] = case.x[1, 17, 0, 20] = value
    with forced_kernels("reference"):
        expected = session(depthwise_model(case)).run(None, {"X": case.x})[0]
    for kernels in runnable_kernel_sets():
        with forced_kernels(kernels):
            actual = session(depthwise_model(case)).run(None, {"X": case.x})[0]
        np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected), err_msg=kernels)
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5, err_msg=kernels)


@pytest.mark.parametrize("shape", [(0, 20, 9, 9), (2, 20, 0, 9), (2, 20, 9, 0), (1, 20, 1, 1)], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_empty_and_one_element_inputs(shape: tuple[int, ...], layout: str) -> None:
    case = a_case()
    case.x = np.ones(shape, np.float32)
    expected = case.run(case.conv_model())[0] if 0 not in shape else None
    for kernels in runnable_kernel_sets():
        with forced_kernels(kernels):
            x = np.ones((shape[0], 2, *shape[2:], PANEL), np.float32) if layout == "NCHW16c" else case.x
            actual = session(depthwise_model(case, layout, layout)).run(None, {"X": x})[0]
        if expected is None:
            assert actual.size == 0
            continue
        np.testing.assert_allclose(in_planes(actual, 20), expected, rtol=1e-5, atol=1e-5, err_msg=kernels)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": 40}, "channels need|W has shape"),
        ({"channels": 0}, r"channels must be in \[1, "),
        ({"kernel_shape": [3]}, "kernel_shape needs 2 values"),
        ({"kernel_shape": [5, 3]}, r"W has shape \[2, 9, 16\]"),
        ({"strides": [0, 1]}, r"strides must be in \[1, "),
        ({"pads": [1, 1]}, "pads needs 4 values"),
        ({"activation": "swish"}, "activation must be one of none, relu"),
        ({"y_layout": "NHWC"}, "y_layout must be one of NCHW, NCHW16c"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any], message: str) -> None:
    case = a_case()
    proto = onnx.ModelProto.FromString(depthwise_model(case))
    (made,) = proto.graph.node
    for name, value in changes.items():
        for old in [attribute for attribute in made.attribute if attribute.name == name]:
            made.attribute.remove(old)
        made.attribute.append(helper.make_attribute(name, value))
    with pytest.raises(Exception, match=message):
        session(proto.SerializeToString()).run(None, {"X": case.x})
    with pytest.raises(onnx.shape_inference.InferenceError, match=message):
        inferred(proto.SerializeToString(), case.x.shape)


def mobile_block(net: Net, x: str, name: str, inputs: int, inside: int, outputs: int, **window: Any) -> str:
    """Expand, convolve every channel, project, as in MobileNetV2."""
    net.conv(x, f"{name}_up", inputs, inside, kernel=1)
    net.node("Clip", [f"{name}_up", "zero", "six"], f"{name}_up6")
    net.conv(f"{name}_up6", f"{name}_dw", inside, inside, group=inside, **window)
    net.node("Clip", [f"{name}_dw", "zero", "six"], f"{name}_dw6")
    return net.conv(f"{name}_dw6", f"{name}_down", inside, outputs, kernel=1)


def mobile_net() -> Net:
    net = Net()
    for name, value in (("zero", 0.0), ("six", 6.0)):
        net.constants.append(numpy_helper.from_array(np.float32(value), name))
    return net


def test_convolution_between_others_is_one_operator_in_blocks() -> None:
    net = mobile_net()
    mobile_block(net, "x", "a", 8, 40, 16)
    mobile_block(net, "a_down", "b", 16, 96, 24, strides=[2, 2])
    result = check(net.model("b_down"))
    assert types(result) == ["DeepReuseGemm", DEPTHWISE, "DeepReuseGemm"] * 2
    assert blocked(result) == {"a_up6", "a_dw6", "a_down", "b_up6", "b_dw6"}
    verdict = next(verdict for verdict in result.report.verdicts if verdict.node == "a_dw")
    assert (verdict.describe(), verdict.absorbed) == ("exact, NCHW16c", ("a_dw6",))


def test_convolution_at_the_edges_of_a_chain_and_alone() -> None:
    net = mobile_net()
    net.conv("x", "a", 8, 8, group=8)
    net.conv("a", "b", 8, 24)
    net.conv("b", "c", 24, 24, group=24)
    assert types(check(net.model("c"))) == [DEPTHWISE, "DeepReuseGemm", DEPTHWISE]
    alone = check(net.model("c"), chains=False)
    assert (types(alone), blocked(alone)) == ([DEPTHWISE, "DeepReuseGemm", DEPTHWISE], set())


def test_several_outputs_a_channel_an_addend_and_clusters_stay_with_the_other_operator() -> None:
    net = mobile_net()
    net.conv("x", "a", 8, 16, group=8)
    assert types(check(net.model("a"))) == ["DeepReuseGemm"]
    net = mobile_net()
    net.conv("x", "a", 8, 32)
    net.conv("a", "b", 32, 32, group=32)
    net.node("Add", ["b", "a"], "c")
    net.conv("c", "d", 32, 16)
    assert types(check(net.model("d"))) == ["DeepReuseGemm"] * 3


def test_comes_back_from_restore_with_the_bits_of_its_weights() -> None:
    net = mobile_net()
    mobile_block(net, "x", "a", 8, 40, 16)
    original = net.model("a_down")
    rewritten = check(original).to_proto()
    restored = restore(rewritten).to_proto()
    assert [one.op_type for one in restored.graph.node] == ["Conv", "Clip", "Conv", "Clip", "Conv"]
    weights = [{t.name: t.raw_data for t in proto.graph.initializer}["a_dw_w"] for proto in (original, restored)]
    assert weights[0] == weights[1]
    assert rewrite(restored, parameters=EXACT).to_proto().graph.node == rewritten.graph.node
    assert rewrite(rewritten, parameters=EXACT).to_proto() == rewritten


def test_damaged_node_is_refused_by_restore() -> None:
    net = mobile_net()
    mobile_block(net, "x", "a", 8, 40, 16)
    proto = check(net.model("a_down")).to_proto()
    (made,) = [one for one in proto.graph.node if one.op_type == DEPTHWISE]
    weights = next(tensor for tensor in proto.graph.initializer if tensor.name == made.input[1])
    weights.CopyFrom(numpy_helper.from_array(np.zeros((2, 9, 16), np.float32), weights.name))
    with pytest.raises(DrpassError, match=r"W has shape \[2, 9, 16\], but \[3, 9, 16\] was expected"):
        restore(proto)


def test_in_a_function() -> None:
    weights = random_array(20, 1, 3, 3)
    inner = [
        node("Constant", [], ["w"], value=numpy_helper.from_array(weights, "w")),
        node("Conv", ["a", "w"], ["b"], name="inner", group=20),
    ]
    function = helper.make_function("local", "Block", ["a"], ["b"], inner, [helper.make_opsetid("", 17)])
    call = helper.make_node("Block", ["x"], ["y"], name="block", domain="local")
    proto = model([call], {"x": ["N", 20, 9, 9]}, {"y": None}, functions=[function], domains={"local": 1})
    rewritten = rewrite_exactly(proto).to_proto()
    assert DEPTHWISE in [one.op_type for one in rewritten.functions[0].node]
    assert_same_outputs(proto, rewritten, {"x": random_array(2, 20, 9, 9)})
    assert "Conv" in [one.op_type for one in restore(rewritten).to_proto().functions[0].node]


def test_explained() -> None:
    net = mobile_net()
    mobile_block(net, "x", "a", 8, 40, 16)
    rewritten = check(net.model("a_down"))
    found = explain(rewritten.model, "a_dw")
    assert found.facts[0].startswith("A depthwise convolution by the library's own kernel")
    assert "the activation clip" in found.facts[1]
    assert "--exclude a_dw" in found.changes[0]


def test_packing_is_undone() -> None:
    weights = np.random.default_rng(0).normal(size=(20, 1, 3, 5)).astype(np.float32)
    np.testing.assert_array_equal(unpack_depthwise(packed(weights), 20, (3, 5)), weights)
    with pytest.raises(ValueError, match="no weights of 40 channels"):
        unpack_depthwise(packed(weights), 40, (3, 5))
