"""NCHW16c: every operator gives in blocks what it gives in planes; Pool against ONNX Runtime."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from operator_models import Case, alike, block, forced_kernels, runnable_kernel_sets, session, targets
from test_operator_kernels import ACTIVATIONS, methods

from drpass.operator import schema
from drpass.operator.packing import unblock


@st.composite
def blockable(draw: st.DrawFn) -> Case:
    """A 2-D convolution whose groups, where there are several, are whole blocks."""
    group = draw(st.sampled_from([1, 1, 1, 2]))
    inputs = draw(st.sampled_from([16, 32])) if group > 1 else draw(st.integers(1, 40))
    outputs = draw(st.sampled_from([16, 32])) if group > 1 else draw(st.integers(1, 40))
    kernel = draw(st.sampled_from([(1, 1), (3, 3), (3, 3), (5, 5), (2, 3)]))
    sizes = [k + draw(st.integers(0, 12)) for k in kernel]
    attributes = {
        "group": group,
        "strides": draw(st.sampled_from([[1, 1], [1, 1], [2, 1]])),
        "pads": [draw(st.integers(0, 2)) for _ in range(4)],
    }
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    x = alike(rng, (draw(st.integers(1, 3)), group * inputs, *sizes))
    weights = rng.normal(size=(group * outputs, inputs, *kernel)).astype(np.float32)
    bias = rng.normal(size=group * outputs).astype(np.float32) if draw(st.booleans()) else None
    activation = draw(st.sampled_from(list(ACTIVATIONS)))
    case = Case(x, weights, bias, None, attributes, activation, ACTIVATIONS[activation])
    if draw(st.booleans()):
        shape = case.run(case.reuse_model())[0].shape
        case.addend = rng.normal(size=shape).astype(np.float32)
    return case


@settings(max_examples=120)
@given(blockable(), methods(), st.booleans(), st.booleans())
def test_blocks_give_what_planes_give(case: Case, parameters: dict, x_blocked: bool, y_blocked: bool) -> None:
    with forced_kernels("reference"):
        expected, clusters = case.run(case.reuse_model(stats=True, **parameters))
    layouts = {"x_layout": "NCHW16c"} if x_blocked else {}
    layouts |= {"y_layout": "NCHW16c"} if y_blocked else {}
    moved = replace(case, x=block(case.x) if x_blocked else case.x)
    if case.addend is not None and y_blocked:
        moved.addend = block(case.addend)
    for kernels in runnable_kernel_sets():
        with forced_kernels(kernels):
            actual, found = moved.run(moved.reuse_model(stats=True, **parameters, **layouts))
        if y_blocked:
            assert not unblock(actual, actual.shape[1] * 16)[:, expected.shape[1] :].any(), "lanes without a channel"
            actual = unblock(actual, expected.shape[1])
        np.testing.assert_array_equal(found, clusters, err_msg=kernels)
        atol = 4 * case.tolerance(kernels, parameters)
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=atol, err_msg=kernels)


def _one_node(node: onnx.NodeProto, rank: int) -> bytes:
    value = helper.make_tensor_value_info
    inputs = [value("x", onnx.TensorProto.FLOAT, [None] * rank)]
    graph = helper.make_graph([node], "g", inputs, [value("y", onnx.TensorProto.FLOAT, None)])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.drpass", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def _run(model: bytes, x: np.ndarray, threads: int = 1) -> np.ndarray:
    return session(model, threads).run(None, {"x": x})[0]


@st.composite
def pools(draw: st.DrawFn) -> tuple[onnx.NodeProto, onnx.NodeProto, np.ndarray]:
    """A pooling node of ONNX, the same as Pool, and their input in planes."""
    kernel = [draw(st.integers(1, 4)) for _ in range(2)]
    pads = [draw(st.integers(0, size - 1)) for size in kernel * 2]
    sizes = [size + draw(st.integers(0, 9)) for size in kernel]
    channels, average, whole = draw(st.integers(1, 40)), draw(st.booleans()), draw(st.booleans())
    attributes: dict[str, Any] = {}
    if not whole:
        attributes = {"kernel_shape": kernel, "strides": [draw(st.integers(1, 3)) for _ in range(2)]}
        auto_pad = draw(st.sampled_from(["NOTSET", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]))
        attributes |= {"pads": pads} if auto_pad == "NOTSET" else {"auto_pad": auto_pad}
        if auto_pad.startswith("SAME"):  # ONNX Runtime would take negative pads, and refuses
            attributes["strides"] = [min(pair) for pair in zip(attributes["strides"], kernel)]
        attributes |= draw(st.sampled_from([{}, {"ceil_mode": 1}, {"count_include_pad": 1} if average else {}]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    x = rng.normal(size=(draw(st.integers(1, 3)), channels, *sizes)).astype(np.float32)
    op_type = ("Global" if whole else "") + ("AveragePool" if average else "MaxPool")
    layout = draw(st.sampled_from(["NCHW", "NCHW16c"]))
    node = helper.make_node("Pool", ["x"], ["y"], domain="ai.drpass", channels=channels, y_layout=layout, **attributes)
    node.attribute.append(helper.make_attribute("mode", "average" if average else "max"))
    return helper.make_node(op_type, ["x"], ["y"], **attributes), node, x


@settings(max_examples=100)
@given(pools())
def test_pool_equals_onnxruntime(drawn: tuple[onnx.NodeProto, onnx.NodeProto, np.ndarray]) -> None:
    theirs, node, x = drawn
    expected = _run(_one_node(theirs, 4), x)
    inferred = _inferred_shape(node, block(x).shape)
    for kernels in runnable_kernel_sets():
        with forced_kernels(kernels):
            actual = _run(_one_node(node, 5), block(x))
            assert actual.shape == inferred
            assert actual.tobytes() == _run(_one_node(node, 5), block(x), threads=3).tobytes()
        if actual.ndim == 5:
            actual = unblock(actual, x.shape[1])
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6, err_msg=kernels)


def _inferred_shape(node: onnx.NodeProto, x_shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of y that the Python schema infers."""
    schema.register()
    proto = onnx.ModelProto.FromString(_one_node(node, 5))
    proto.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, x_shape))
    inferred = onnx.shape_inference.infer_shapes(proto, strict_mode=True)
    return tuple(dim.dim_value for dim in inferred.graph.output[0].type.tensor_type.shape.dim)


@pytest.mark.parametrize("place", range(4))
def test_maximum_takes_the_later_where_nan_meets_a_number(place: int) -> None:
    x = np.ones((1, 16, 2, 2), np.float32)
    x.reshape(16, 4)[:, place] = np.nan
    x[0, 5] = np.nan
    node = helper.make_node("Pool", ["x"], ["y"], domain="ai.drpass", channels=16, kernel_shape=[2, 2])
    expected = np.where((np.arange(16) == 5) | (place == 3), np.nan, 1)
    for kernels in targets():
        with forced_kernels(kernels):
            np.testing.assert_array_equal(_run(_one_node(node, 5), block(x)).ravel(), expected, err_msg=kernels)


def test_maximum_of_infinities_and_average_of_a_large_image() -> None:
    node = helper.make_node("Pool", ["x"], ["y"], domain="ai.drpass", channels=16)
    average = helper.make_node("Pool", ["x"], ["y"], domain="ai.drpass", channels=16, mode="average")
    x = np.random.default_rng(0).random((1, 16, 400, 300)).astype(np.float32)
    for kernels in targets():
        with forced_kernels(kernels):
            lowest = _run(_one_node(node, 5), block(np.full((1, 16, 3, 3), -np.inf, np.float32)))
            mean = _run(_one_node(average, 5), block(x))
        assert (lowest == -np.inf).all(), kernels
        np.testing.assert_allclose(mean, x.mean((2, 3), dtype=np.float64, keepdims=True), rtol=2e-6, err_msg=kernels)


@pytest.mark.parametrize(
    ("x_shape", "attributes", "message"),
    [
        ((1, 1, 4, 4, 8), {}, "X has shape"),
        ((1, 1, 4, 16), {}, "X has shape|Pool needs"),
        ((1, 1, 0, 4, 16), {}, "negative size on axis 2"),
        ((1, 1, 4, 4, 16), {"kernel_shape": [2, 2], "pads": [0, 2, 0, 0]}, "pads must be smaller than the kernel"),
        ((1, 1, 4, 4, 16), {"kernel_shape": [2]}, "kernel_shape needs 2 values"),
        ((1, 1, 4, 4, 16), {"kernel_shape": [2, 2], "strides": [0, 1]}, r"strides must be in \[1, "),
        ((1, 1, 4, 4, 16), {"mode": "median"}, "mode must be one of max, average"),
        ((1, 1, 4, 4, 16), {"y_layout": "NHWC"}, "y_layout must be one of NCHW, NCHW16c"),
        ((1, 1, 4, 4, 16), {"ceil_mode": 1, "count_include_pad": 1}, "count_include_pad must be 0 with ceil_mode"),
    ],
)
def test_pool_that_makes_no_sense_is_refused(
    x_shape: tuple[int, ...], attributes: dict[str, Any], message: str
) -> None:
    node = helper.make_node("Pool", ["x"], ["y"], name="pool", domain="ai.drpass", channels=16, **attributes)
    with pytest.raises(Exception, match=message):
        _run(_one_node(node, len(x_shape)), np.zeros(x_shape, np.float32))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 9, 200])
@pytest.mark.parametrize("channels", [1, 16, 23, 64])
def test_lrn_in_blocks_equals_lrn_in_planes(size: int, channels: int) -> None:
    x = np.random.default_rng(size).normal(size=(2, channels, 7, 5)).astype(np.float32) * 4
    attributes = {"size": size, "alpha": 0.3, "beta": 0.75, "bias": 1.5}
    planes = helper.make_node("LRN", ["x"], ["y"], domain="ai.drpass", **attributes)
    blocks = helper.make_node("LRN", ["x"], ["y"], domain="ai.drpass", layout="NCHW16c", **attributes)
    with forced_kernels("reference"):
        expected = _run(_one_node(planes, 4), x)
    for kernels in targets():
        with forced_kernels(kernels):
            actual = _run(_one_node(blocks, 5), block(x))
        np.testing.assert_allclose(unblock(actual, channels), expected, rtol=1e-6, atol=1e-7, err_msg=kernels)


def test_blocks_that_do_not_fit_are_refused() -> None:
    rng = np.random.default_rng(0)
    planes = rng.normal(size=(1, 16, 4, 4)).astype(np.float32)
    weights = rng.normal(size=(4, 17, 1, 1)).astype(np.float32)
    case = Case(block(planes), weights)
    with pytest.raises(Exception, match="17 channels in NCHW16c need 2 blocks"):
        case.run(case.reuse_model(x_layout="NCHW16c"))
    grouped = Case(block(planes), weights[:, :8], attributes={"group": 2})
    with pytest.raises(Exception, match="X can't be NCHW16c: its 8 channels a group"):
        grouped.run(grouped.reuse_model(x_layout="NCHW16c"))
    matrix = Case(rng.normal(size=(4, 3)).astype(np.float32), rng.normal(size=(5, 3)).astype(np.float32))
    with pytest.raises(Exception, match="must be NCHW in the matrix form"):
        matrix.run(matrix.reuse_model(x_layout="NCHW16c"))
    pool = helper.make_node("Pool", ["x"], ["y"], domain="ai.drpass", channels=40)
    with pytest.raises(Exception, match="40 channels in NCHW16c need"):
        _run(_one_node(pool, 5), case.x)
    wide = helper.make_node("Pool", ["x"], ["y"], domain="ai.drpass", channels=16, kernel_shape=[9, 1])
    with pytest.raises(Exception, match="negative size on axis 2"):
        _run(_one_node(wide, 5), case.x)
