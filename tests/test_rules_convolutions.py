"""What becomes of Conv behind Pad and BatchNormalization, of ConvTranspose, and of products that ONNX Runtime fused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models_for_tests import conv_model, model, node, random_array
from rewriting import assert_same_outputs, attributes, ops, reason, rewrite_exactly

from drpass.operator.spec import OP_TYPE
from drpass.restoring import restore
from drpass.runtime import session

MICROSOFT = {"com.microsoft": 1}


def padded_conv(
    amounts: list[int], *, value: float | None = None, axes: list[int] | None = None, opset: int = 18, **options: Any
) -> onnx.ModelProto:
    """x [2, 3, 9, 8] → Pad "pad" → Conv "conv", 20 channels, 3 × 3 → y."""
    mode = {"mode": options.pop("mode")} if "mode" in options else {}
    held: dict[str, Any] = {"w": random_array(20, 3, 3, 3), "b": random_array(20)}
    if opset < 11:
        pad = node("Pad", ["x"], ["padded"], name="pad", pads=amounts, **({"value": value} if value else {}), **mode)
    else:
        held |= {"pads": np.array(amounts, np.int64)}
        held |= {"value": np.float32(value)} if value is not None else {}
        held |= {"axes": np.array(axes, np.int64)} if axes is not None else {}
        inputs = ["x", "pads", "value" if value is not None else "", "axes" if axes is not None else ""]
        while not inputs[-1]:
            inputs.pop()
        pad = node("Pad", inputs, ["padded"], name="pad", **mode)
    conv = node("Conv", ["padded", "w", "b"], ["y"], name="conv", **options)
    return model([pad, conv], {"x": [2, 3, 9, 8]}, {"y": None}, held, opset=opset)


def normalized_conv(**options: Any) -> onnx.ModelProto:
    """x [2, 4, 7, 7] → BatchNormalization "norm" → Conv "conv", 16 channels in 2 groups → y."""
    bias = options.pop("bias", True)
    statistics = {"gamma": random_array(4), "beta": random_array(4, seed=1), "mean": random_array(4, seed=2)}
    held = {**statistics, "variance": np.float32([0.5, 1, 2, 3]), "w": random_array(16, 2, 3, 3), "b": random_array(16)}
    nodes = [
        node("BatchNormalization", ["x", *statistics, "variance"], ["normal"], name="norm"),
        node("Conv", ["normal", "w", *(["b"] if bias else [])], ["y"], name="conv", group=2, **options),
    ]
    if not bias:
        del held["b"]
    return model(nodes, {"x": [2, 4, 7, 7]}, {"y": None}, held)


def assert_computes_the_same(proto: onnx.ModelProto, replaced: int = 1) -> onnx.ModelProto:
    """Also by the library's kernels, rewritten again and restored; returns the rewritten model."""
    result = rewrite_exactly(proto)
    assert result.report.replaced == replaced
    rewritten = result.to_proto()
    assert rewrite_exactly(rewritten).to_proto() == rewritten
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in proto.graph.input}
    feeds = {name: random_array(*shape, seed=5) for name, shape in shapes.items()}
    assert_same_outputs(proto, rewritten, feeds)
    plain = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    for expected, found in zip(plain.run(None, feeds), session(rewritten.SerializeToString()).run(None, feeds)):
        np.testing.assert_allclose(found, expected, atol=2e-6 * np.abs(expected).max(), rtol=1e-5)
    return rewritten


@pytest.mark.parametrize("opset", [7, 10, 11, 13, 17])
@pytest.mark.parametrize("window", [{}, {"pads": [0, 1, 2, 0]}, {"auto_pad": "VALID"}, {"strides": [2, 2]}])
def test_pad_of_zeros_becomes_pads_of_the_convolution(opset: int, window: dict[str, Any]) -> None:
    proto = padded_conv([0, 0, 1, 2, 0, 0, 3, 0], opset=opset, **window)
    rewritten = assert_computes_the_same(proto)
    assert ops(rewritten) == [OP_TYPE]
    own = window.get("pads", [0] * 4)
    assert attributes(rewritten.graph.node[0])["pads"] == [a + b for a, b in zip(own, [1, 2, 3, 0])]
    assert rewrite_exactly(proto).report.verdicts[0].absorbed == ("pad",)
    assert [tensor.name for tensor in rewritten.graph.initializer] == ["b", "w_packed"]
    assert ops(restore(rewritten).to_proto()) == ["Conv"]


def test_pad_that_names_its_axes_becomes_pads_of_the_convolution() -> None:
    rewritten = assert_computes_the_same(padded_conv([2, 1, 0, 1], axes=[-1, 2], value=0.0))
    assert attributes(rewritten.graph.node[0])["pads"] == [1, 2, 1, 0]


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "reflect"},
        {"value": 1.0},
        {"auto_pad": "SAME_UPPER"},
        {"amounts": [0, 0, -1, 0, 0, 0, 1, 1]},
        {"amounts": [0, 0, 1, 0, 1, 0, 1, 1]},
    ],
)
def test_other_pads_stay_in_front_of_the_convolution(options: dict[str, Any]) -> None:
    proto = padded_conv(**{"amounts": [0, 0, 1, 2, 0, 0, 3, 0], **options})
    assert ops(assert_computes_the_same(proto)) == ["Pad", OP_TYPE]


def test_pad_whose_amount_is_an_input_stays() -> None:
    proto = padded_conv([0, 0, 1, 1, 0, 0, 1, 1])
    (amount,) = [tensor for tensor in proto.graph.initializer if tensor.name == "pads"]
    proto.graph.initializer.remove(amount)
    proto.graph.input.append(onnx.helper.make_tensor_value_info("pads", onnx.TensorProto.INT64, [8]))
    assert ops(rewrite_exactly(proto).to_proto()) == ["Pad", OP_TYPE]


def test_pad_that_something_else_reads_stays_for_that() -> None:
    proto = padded_conv([0, 0, 1, 1, 0, 0, 1, 1])
    proto.graph.output.append(onnx.helper.make_tensor_value_info("padded", onnx.TensorProto.FLOAT, None))
    rewritten = assert_computes_the_same(proto)
    assert sorted(ops(rewritten)) == [OP_TYPE, "Pad"]
    assert attributes(rewritten.graph.node[1])["pads"] == [1, 1, 1, 1]
    assert rewrite_exactly(proto).report.verdicts[0].absorbed == ()


def test_two_convolutions_that_read_one_pad_take_it_both() -> None:
    proto = padded_conv([0, 0, 1, 1, 0, 0, 1, 1])
    proto.graph.node.append(node("Conv", ["padded", "w"], ["z"], name="other"))
    proto.graph.output.append(onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, None))
    assert ops(assert_computes_the_same(proto, replaced=2)) == [OP_TYPE, OP_TYPE]


def test_pad_behind_a_replaced_convolution_reads_its_new_output() -> None:
    proto = padded_conv([0, 0, 1, 1, 0, 0, 1, 1])
    first = node("Conv", ["image", "v"], ["x"], name="first", pads=[1, 1, 1, 1])
    proto.graph.node.insert(0, first)
    proto.graph.input[0].name = "image"
    proto.graph.initializer.append(onnx.numpy_helper.from_array(random_array(3, 3, 3, 3), "v"))
    assert ops(assert_computes_the_same(proto, replaced=2)) == [OP_TYPE, OP_TYPE]


@pytest.mark.parametrize("bias", [True, False])
def test_batchnorm_before_a_convolution_without_pads_goes_into_it(bias: bool) -> None:
    proto = normalized_conv(bias=bias)
    assert ops(assert_computes_the_same(proto)) == [OP_TYPE]
    assert rewrite_exactly(proto).report.verdicts[0].absorbed == ("norm",)


@pytest.mark.parametrize("window", [{"pads": [0, 0, 0, 1]}, {"auto_pad": "SAME_LOWER"}])
def test_batchnorm_before_a_convolution_with_pads_stays(window: dict[str, Any]) -> None:
    assert ops(assert_computes_the_same(normalized_conv(**window))) == ["BatchNormalization", OP_TYPE]


def test_batchnorm_that_two_convolutions_read_stays() -> None:
    proto = normalized_conv()
    proto.graph.node.append(node("Conv", ["normal", "w"], ["z"], name="other", group=2))
    proto.graph.output.append(onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, None))
    assert ops(assert_computes_the_same(proto, replaced=2)) == ["BatchNormalization", OP_TYPE, OP_TYPE]


def test_batchnorm_between_two_convolutions_goes_into_the_first() -> None:
    proto = normalized_conv()
    proto.graph.node.insert(0, node("Conv", ["image", "v"], ["x"], name="first", pads=[1, 1, 1, 1]))
    proto.graph.input[0].name = "image"
    proto.graph.initializer.append(onnx.numpy_helper.from_array(random_array(4, 4, 3, 3), "v"))
    assert ops(assert_computes_the_same(proto, replaced=2)) == [OP_TYPE, OP_TYPE]
    assert rewrite_exactly(proto).report.verdicts[0].absorbed == ("norm",)


@settings(max_examples=40)
@given(data=st.data(), rank=st.integers(1, 3), group=st.integers(1, 3))
def test_transposed_convolution_of_stride_1_is_a_convolution(data: st.DataObject, rank: int, group: int) -> None:
    kernel = data.draw(st.lists(st.integers(1, 4), min_size=rank, max_size=rank))
    dilations = data.draw(st.lists(st.integers(1, 2), min_size=rank, max_size=rank))
    reach = [d * (k - 1) for d, k in zip(dilations, kernel)]
    extents = data.draw(st.lists(st.integers(5, 8), min_size=rank, max_size=rank))
    pads = [data.draw(st.integers(0, most)) for most in reach]
    # One pixel is left at least.
    pads += [data.draw(st.integers(0, min(r, n + r - p - 1))) for r, n, p in zip(reach, extents, pads)]
    x = [2, 2 * group, *extents]
    held = {"w": random_array(2 * group, 3, *kernel), "b": random_array(3 * group)}
    conv = node("ConvTranspose", ["x", "w", "b"], ["y"], group=group, pads=pads, dilations=dilations)
    rewritten = assert_computes_the_same(model([conv], {"x": x}, {"y": None}, held))
    assert ops(rewritten) == [OP_TYPE]


def test_transposed_convolution_absorbs_what_follows() -> None:
    held = {"w": random_array(3, 16, 3, 3), "factor": random_array(16, 1, 1)}
    nodes = [
        node("ConvTranspose", ["x", "w"], ["transposed"], name="up"),
        node("Mul", ["transposed", "factor"], ["scaled"]),
        node("Relu", ["scaled"], ["y"]),
    ]
    assert ops(assert_computes_the_same(model(nodes, {"x": [1, 3, 6, 6]}, {"y": None}, held))) == [OP_TYPE]


@pytest.mark.parametrize(
    ("window", "why"),
    [
        ({"strides": [2, 2]}, "transposed with stride 2 (only stride 1 is one convolution)"),
        ({"output_shape": [6, 6]}, "its pads follow from output_shape"),
        ({"auto_pad": "SAME_UPPER"}, "its pads follow from auto_pad SAME_UPPER"),
        ({"pads": [3, 0, 0, 0]}, "it cuts off more than its kernel adds"),
    ],
)
def test_other_transposed_convolutions_are_kept_with_the_reason(window: dict[str, Any], why: str) -> None:
    conv = node("ConvTranspose", ["x", "w"], ["y"], **window)
    proto = model([conv], {"x": [1, 3, 6, 6]}, {"y": None}, {"w": random_array(3, 4, 3, 3)})
    assert reason(proto) == why


@pytest.mark.parametrize(
    ("activation", "parameters"),
    [("", []), ("Relu", []), ("Sigmoid", []), ("LeakyRelu", [0.2]), ("Clip", [-0.5, 0.75])],
)
@pytest.mark.parametrize("addend", [True, False])
def test_fused_conv_is_replaced_with_its_addend_and_activation(
    activation: str, parameters: list[float], addend: bool
) -> None:
    options: dict[str, Any] = {"activation": activation} if activation else {}
    if parameters:
        options["activation_params"] = parameters
    inputs = ["x", "w", "b", *(["z"] if addend else [])]
    conv = node("FusedConv", inputs, ["y"], domain="com.microsoft", pads=[1, 1, 1, 1], **options)
    shapes: dict[str, Any] = {"x": [2, 3, 7, 7], **({"z": [2, 16, 7, 7]} if addend else {})}
    held = {"w": random_array(16, 3, 3, 3), "b": random_array(16)}
    proto = model([conv], shapes, {"y": [2, 16, 7, 7]}, held, domains=MICROSOFT)
    assert ops(assert_computes_the_same(proto)) == [OP_TYPE]


def test_fused_conv_with_another_activation_is_kept_with_the_reason() -> None:
    conv = node("FusedConv", ["x", "w"], ["y"], domain="com.microsoft", activation="Tanh")
    held = {"w": random_array(16, 3, 3, 3)}
    proto = model([conv], {"x": [2, 3, 7, 7]}, {"y": [2, 16, 5, 5]}, held, domains=MICROSOFT)
    assert reason(proto) == "fused with Tanh (supported are Relu, LeakyRelu, Clip, Sigmoid)"


@pytest.mark.parametrize("activation", [{"activation": "Relu"}, {"activation": "LeakyRelu", "activation_alpha": 0.3}])
def test_fused_gemm_is_replaced_with_its_activation(activation: dict[str, Any]) -> None:
    scales = {"alpha": 0.5, "beta": 2.0, "transB": 1}
    gemm = node("FusedGemm", ["x", "w", "c"], ["y"], domain="com.microsoft", **scales, **activation)
    held = {"w": random_array(20, 7), "c": random_array(20)}
    proto = model([gemm], {"x": [5, 7]}, {"y": [5, 20]}, held, domains=MICROSOFT)
    assert ops(assert_computes_the_same(proto)) == [OP_TYPE]


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("x", [[5, 7], [2, 3, 5, 7]])
def test_fused_matmul_is_replaced(transposed: int, x: list[int]) -> None:
    held = {"w": random_array(*((20, 7) if transposed else (7, 20)))}
    product = node("FusedMatMul", ["x", "w"], ["y"], domain="com.microsoft", alpha=0.25, transB=transposed)
    proto = model([product], {"x": x}, {"y": [*x[:-1], 20]}, held, domains=MICROSOFT)
    assert ops(assert_computes_the_same(proto)) == [OP_TYPE]


def test_fused_matmul_of_a_transposed_matrix_is_replaced_and_of_more_axes_is_kept() -> None:
    product = node("FusedMatMul", ["x", "w"], ["y"], domain="com.microsoft", transA=1)
    held = {"w": random_array(7, 20)}
    assert_computes_the_same(model([product], {"x": [7, 5]}, {"y": [5, 20]}, held, domains=MICROSOFT))
    more = model([product], {"x": [2, 7, 5]}, {"y": [2, 5, 20]}, held, domains=MICROSOFT)
    assert reason(more) == "its left side of 3 axes is transposed"


def _optimized(proto: onnx.ModelProto, folder: Path, level: Any) -> onnx.ModelProto:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return onnx.load(folder / "optimized.onnx")


def test_model_that_onnx_runtime_fused_and_saved_is_rewritten(tmp_path: Path) -> None:
    proto = conv_model([node("Relu", ["conv_out"], ["y"])])
    fused = _optimized(proto, tmp_path, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED)
    assert ops(fused) == ["FusedConv"]
    assert ops(rewrite_exactly(fused).to_proto()) == [OP_TYPE]


def test_model_in_the_layout_of_onnx_runtime_is_kept_and_the_reason_says_what_to_do(tmp_path: Path) -> None:
    blocked = _optimized(conv_model(channels=32), tmp_path, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL)
    if "ReorderInput" not in ops(blocked):
        pytest.skip("this processor has no NCHWc kernels in ONNX Runtime")
    assert "rewrite the model as it was before ONNX Runtime optimised it" in reason(blocked)
