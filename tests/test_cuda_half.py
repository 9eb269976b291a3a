"""Tensors of float16 on CUDA: what tensors of float with the same values give, rounded once at the end.

That the results for float are right is shown elsewhere (test_cuda.py).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cuda_device
import numpy as np
import numpy.typing as npt
import onnx
import pytest
from chain_nets import EXACT, Net
from hypothesis import given, settings
from hypothesis import strategies as st
from models_for_tests import random_array
from onnx import TensorProto, helper, numpy_helper
from operator_models import Case, alike, block, forced_kernels, session
from test_cuda import SEEDS
from test_depthwise import LAYOUTS, a_case, depthwise_model
from test_fully_connected import layer
from test_operator_kernels import convolutions, matrix_case, methods
from test_operator_layout import _one_node, blockable, pools
from test_upsample import upsample_model

from drpass.rewriting import rewrite

pytestmark = cuda_device.needs_cuda

Array = npt.NDArray[Any]


def rounded(array: Array) -> Array:
    """The nearest values of float16, as float."""
    return array.astype(np.float16).astype(np.float32)


def rounded_case(case: Case) -> Case:
    parts = {name: getattr(case, name) for name in ("x", "weights", "bias", "addend")}
    return replace(case, **{name: rounded(part) for name, part in parts.items() if part is not None})


def in_half(model: bytes) -> bytes:
    """The model with float16 wherever it has float."""
    proto = onnx.ModelProto.FromString(model)
    graph = proto.graph
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.FLOAT16
    for constant in graph.initializer:
        if constant.data_type == TensorProto.FLOAT:
            array = numpy_helper.to_array(constant).astype(np.float16)
            constant.CopyFrom(numpy_helper.from_array(array, constant.name))
    return proto.SerializeToString()


def run(model: bytes, feeds: dict[str, Array], half: bool) -> list[Array]:
    if half:
        model, feeds = in_half(model), {name: array.astype(np.float16) for name, array in feeds.items()}
    with forced_kernels("cuda"):
        return session(model).run(None, feeds)


def assert_rounded_once(model: bytes, feeds: dict[str, Array]) -> list[Array]:
    """Runs the model in both types and compares the bytes; the outputs in float16."""
    expected, actual = run(model, feeds, half=False), run(model, feeds, half=True)
    for wanted, found in zip(expected, actual, strict=True):
        if wanted.dtype == np.float32:
            with np.errstate(over="ignore"):  # infinite in float16
                wanted = wanted.astype(np.float16)
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(found, wanted)
    return actual


def feeds_of(case: Case) -> dict[str, Array]:
    return {"X": case.x} if case.addend is None else {"X": case.x, "A": case.addend}


@settings(max_examples=25)
@given(convolutions(), methods(), st.sampled_from(SEEDS))
def test_outputs_are_those_for_float_rounded_once_and_clusters_those_of_the_cpu(
    case: Case, parameters: dict[str, Any], seed: int
) -> None:
    case = rounded_case(case)
    with cuda_device.schedule(seed):
        _, found = assert_rounded_once(case.reuse_model(stats=True, **parameters), feeds_of(case))
    with forced_kernels("reference"):
        _, clusters = case.run(case.reuse_model(stats=True, **parameters))
    np.testing.assert_array_equal(found, clusters)


@settings(max_examples=10)
@given(st.data())
def test_matrix_form_in_half_is_that_in_float_rounded_once(data: st.DataObject) -> None:
    case = rounded_case(matrix_case(data.draw, most_leading=4)[0])
    assert_rounded_once(case.reuse_model(stats=True, **data.draw(methods())), feeds_of(case))


@settings(max_examples=15)
@given(blockable(), methods(), st.booleans(), st.booleans())
def test_blocks_in_half_are_those_in_float_rounded_once(
    case: Case, parameters: dict[str, Any], x_blocked: bool, y_blocked: bool
) -> None:
    case = rounded_case(case)
    layouts = {"x_layout": "NCHW16c"} if x_blocked else {}
    layouts |= {"y_layout": "NCHW16c"} if y_blocked else {}
    moved = replace(case, x=block(case.x) if x_blocked else case.x)
    if case.addend is not None and y_blocked:
        moved.addend = block(case.addend)
    assert_rounded_once(moved.reuse_model(stats=True, **parameters, **layouts), feeds_of(moved))


def test_sums_of_several_passes_are_not_rounded_in_between() -> None:
    """The test build has no room for the tables of all sub-vector groups at a time; dense ones come first."""
    rng = np.random.default_rng(2)
    weights = rng.normal(size=(40, 24, 3, 3)).astype(np.float32) + 3
    case = rounded_case(Case(alike(rng, (1, 24, 16, 16)), weights, attributes={"pads": [1] * 4}))
    case.x[0, 20:] = rounded(rng.normal(size=case.x[0, 20:].shape))
    parameters = {"method": "grid", "step": 0.3, "sub_vector_length": 2, "max_remaining_ratio": 0.4}
    _, stats = assert_rounded_once(case.reuse_model(stats=True, **parameters), feeds_of(case))
    assert (stats[..., :10] > 0).all()
    assert (stats[..., 10:] == -1).all()


def test_values_that_float16_cannot_hold_become_infinite_and_small_ones_subnormal() -> None:
    x = rounded(np.array([[60000, 2, 6e-8, -60000]], np.float32).reshape(1, 1, 2, 2))
    case = Case(x, np.array([4, 2**-10], np.float32).reshape(2, 1, 1, 1))
    y = assert_rounded_once(case.reuse_model(), feeds_of(case))[0]
    np.testing.assert_array_equal(y[0, 0].ravel()[[0, 3]], [np.inf, -np.inf])
    assert 0 < y[0, 1, 0, 1] < 2**-8


@settings(max_examples=15)
@given(pools())
def test_pool_in_half_is_that_in_float_rounded_once(drawn: tuple[onnx.NodeProto, onnx.NodeProto, Array]) -> None:
    assert_rounded_once(_one_node(drawn[1], 5), {"x": rounded(block(drawn[2]))})


@pytest.mark.parametrize("layout", ["NCHW", "NCHW16c"])
def test_lrn_in_half_is_that_in_float_rounded_once(layout: str) -> None:
    x = rounded(np.random.default_rng(0).normal(size=(2, 23, 7, 5)).astype(np.float32) * 4)
    node = helper.make_node("LRN", ["x"], ["y"], domain="ai.drpass", layout=layout, size=5, alpha=0.3, bias=1.5)
    x = x if layout == "NCHW" else block(x)
    assert_rounded_once(_one_node(node, x.ndim), {"x": x})


@pytest.mark.parametrize("layout", LAYOUTS)
def test_depthwise_in_half_is_that_in_float_rounded_once(layout: str) -> None:
    case = rounded_case(a_case())
    x = block(case.x) if layout == "NCHW16c" else case.x
    assert_rounded_once(depthwise_model(case, layout, layout), {"X": x})


def test_fully_connected_in_half_is_that_in_float_rounded_once() -> None:
    rng = np.random.default_rng(0)
    x, weights, bias = (rounded(rng.normal(size=shape).astype(np.float32)) for shape in ((5, 40), (40, 270), (270,)))
    assert_rounded_once(layer(weights, bias), {"X": x})


def test_upsample_in_half_is_that_in_float_rounded_once() -> None:
    assert_rounded_once(upsample_model([2, 3]), {"X": rounded(block(random_array(2, 23, 7, 5)))})


def test_chain_in_half_stays_on_the_device_and_near_the_chain_in_float() -> None:
    net = Net(batch=2)
    net.conv("x", "a", 8, 40)
    net.node("MaxPool", ["a"], "b", kernel_shape=[2, 2], strides=[2, 2])
    net.node("LRN", ["b"], "c", size=5)
    net.conv("c", "d", 40, 32)
    rewritten = rewrite(net.model("d"), parameters=EXACT).to_proto()
    assert [node.op_type for node in rewritten.graph.node] == ["DeepReuseGemm", "Pool", "LRN", "DeepReuseGemm"]
    x = rounded(np.random.default_rng(1).normal(size=(2, 8, 12, 12)).astype(np.float32))
    model = rewritten.SerializeToString()
    (expected,), (actual,) = run(model, {"x": x}, half=False), run(model, {"x": x}, half=True)
    assert actual.dtype == np.float16
    np.testing.assert_allclose(actual, expected, rtol=0, atol=4e-3 * np.abs(expected).max())


def test_types_are_not_mixed_in_a_node() -> None:
    case = Case(np.ones((1, 4, 3, 3), np.float32), np.ones((4, 4, 1, 1), np.float32))
    proto = onnx.ModelProto.FromString(in_half(case.reuse_model()))
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT
    with forced_kernels("cuda"), pytest.raises(Exception, match="node"):
        session(proto.SerializeToString())
