"""Nodes whose tensors are float16 compute what the same nodes do in float of the converted inputs, rounded once."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from half_models import halved, units
from onnx import TensorProto, helper
from operator_models import Case, alike, block, forced_kernels, runnable_kernel_sets, session

from drpass.operator.spec import DOMAIN, OP_TYPE

#: All there are; NaN among them.
EVERY = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
GRID = {"method": "grid", "step": 0.3, "sub_vector_length": 4, "max_remaining_ratio": 1.0}
LSH = {"method": "lsh", "hash_bits": 8, "sub_vector_length": 3, "max_remaining_ratio": 1.0}
METHODS: dict[str, dict[str, Any]] = {
    "exact": {},
    "direct": {"winograd": 0},
    "grid": GRID,
    "int16": {**GRID, "table_type": "int16"},
    "lsh": LSH,
}


def rounded(array: np.ndarray) -> np.ndarray:
    """To the nearest float16, of two equally near ones to the even; what is out of range is infinite."""
    with np.errstate(over="ignore"):
        return array.astype(np.float16)


def half_case(case: Case) -> tuple[Case, Case]:
    """The case with numbers that float16 has, in float and in float16."""
    arrays = {name: getattr(case, name) for name in ("x", "weights", "bias", "addend")}
    halves = {name: None if array is None else rounded(array) for name, array in arrays.items()}
    floats = {name: None if array is None else array.astype(np.float32) for name, array in halves.items()}
    others = (case.attributes, case.activation, case.activation_params)
    return Case(*floats.values(), *others), Case(*halves.values(), *others)


def cases() -> dict[str, Case]:
    rng = np.random.default_rng(3)
    weights, x = rng.normal(size=(40, 12, 3, 3)).astype(np.float32), alike(rng, (2, 12, 9, 11))
    bias = rng.normal(size=40).astype(np.float32)
    return {
        "convolution": Case(x, weights, bias, attributes={"pads": [1, 1, 1, 1]}, activation="relu"),
        "addend": Case(x, weights, None, alike(rng, (2, 40, 7, 9)), activation="clip", activation_params=(-1.5, 2.5)),
        "groups": Case(x, weights[:, :3], bias, attributes={"group": 4, "strides": [2, 1]}, activation="sigmoid"),
        "one axis": Case(x[:, :, 0], weights[:, :, 0], bias, activation="leaky_relu", activation_params=(0.1,)),
        "matrix": Case(alike(rng, (3, 70, 12)), weights[:, :, 0, 0], bias),
    }


@pytest.fixture(params=runnable_kernel_sets())
def kernels(request: pytest.FixtureRequest) -> Any:
    with forced_kernels(request.param):
        yield request.param


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", cases())
def test_result_is_that_of_float_rounded_once(kernels: str, name: str, method: str) -> None:
    float_case, case = half_case(cases()[name])
    model = float_case.reuse_model(stats=True, **METHODS[method])
    y, stats = case.run(halved(onnx.ModelProto.FromString(model)).SerializeToString())
    expected, expected_stats = float_case.run(model)
    assert np.array_equal(stats, expected_stats)
    assert units(y, rounded(expected)) == 0


@pytest.mark.parametrize("factor", [1.0, 3.0, 2.0**-12, 2.0**12])
def test_every_number_there_is_is_converted_right_in_and_out(kernels: str, factor: float) -> None:
    x = EVERY.reshape(1, 1, 256, 256)
    case = Case(x, np.full((1, 1, 1, 1), factor, np.float16))
    (y,) = case.run(halved(onnx.ModelProto.FromString(case.reuse_model())).SerializeToString())
    with np.errstate(invalid="ignore"):
        product = x.astype(np.float32) * np.float32(factor)  # 22 bits at most: nothing is rounded
    assert units(y, rounded(product)) == 0


def test_every_number_passes_a_pool_of_one_pixel(kernels: str) -> None:
    x = EVERY.reshape(1, 1, 64, 64, 16)
    node = helper.make_node(
        "Pool", ["X"], ["Y"], domain=DOMAIN, channels=16, kernel_shape=[1, 1], strides=[1, 1], y_layout="NCHW16c"
    )
    (y,) = session(half_model(node, x)).run(None, {"X": x})
    assert units(y, x) == 0


@pytest.mark.parametrize("mode", ["max", "average"])
def test_pool_is_that_of_float_rounded_once(kernels: str, mode: str) -> None:
    x = rounded(block(alike(np.random.default_rng(4), (2, 20, 9, 9))))
    node = helper.make_node("Pool", ["X"], ["Y"], domain=DOMAIN, channels=20, mode=mode, kernel_shape=[3, 3])
    check_one_tensor(node, x)


@pytest.mark.parametrize("layout", ["NCHW", "NCHW16c"])
def test_lrn_is_that_of_float_rounded_once(kernels: str, layout: str) -> None:
    x = alike(np.random.default_rng(5), (2, 32, 5, 7)) * 100
    x = rounded(block(x) if layout == "NCHW16c" else x)
    check_one_tensor(helper.make_node("LRN", ["X"], ["Y"], domain=DOMAIN, size=5, alpha=0.1, layout=layout), x)


def check_one_tensor(node: onnx.NodeProto, x: np.ndarray) -> None:
    (y,) = session(half_model(node, x)).run(None, {"X": x})
    (expected,) = session(half_model(node, x, TensorProto.FLOAT)).run(None, {"X": x.astype(np.float32)})
    assert np.isfinite(expected).all()
    assert np.any(expected)
    assert units(y, rounded(expected)) == 0


def half_model(node: onnx.NodeProto, x: np.ndarray, element: int = TensorProto.FLOAT16) -> bytes:
    values = [helper.make_tensor_value_info(name, element, shape) for name, shape in (("X", x.shape), ("Y", None))]
    graph = helper.make_graph([node], "g", values[:1], values[1:])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def test_types_that_differ_are_refused() -> None:
    case = cases()["matrix"]
    model = halved(onnx.ModelProto.FromString(case.reuse_model()))
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT
    with pytest.raises(Exception, match="no kernel def matches node inputs"):
        session(model.SerializeToString())


def test_double_is_refused_by_onnx_runtime() -> None:
    x = np.zeros((1, 1, 2, 2, 16))
    node = helper.make_node("Pool", ["X"], ["Y"], domain=DOMAIN, channels=16)
    with pytest.raises(Exception, match=r"tensor\(double\).*invalid"):
        session(half_model(node, x, TensorProto.DOUBLE))


def test_errors_name_the_node_as_those_of_float_do() -> None:
    case = cases()["matrix"]
    model = halved(onnx.ModelProto.FromString(case.reuse_model()))
    opened = session(model.SerializeToString())
    with pytest.raises(ort.capi.onnxruntime_pybind11_state.InvalidArgument, match=f"{OP_TYPE} 'node': .*11 channels"):
        opened.run(None, {"X": np.zeros((1, 3, 11), np.float16)})
