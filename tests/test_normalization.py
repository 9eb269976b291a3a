"""LRN: the pass, and the library's kernel against ONNX Runtime's."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models_for_tests import model, node
from operator_models import forced_kernels, runnable_kernel_sets, session, targets

from drpass import runtime
from drpass.errors import DrpassError
from drpass.operator.spec import DOMAIN
from drpass.rewriting import rewrite


def lrn_model(dtype: int = onnx.TensorProto.FLOAT, **attributes: Any) -> onnx.ModelProto:
    attributes = {"size": 3, **attributes}
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("LRN", ["x"], ["y"], name="norm", **attributes)],
        "g",
        [onnx.helper.make_tensor_value_info("x", dtype, ["N", "C", "H", "W"])],
        [onnx.helper.make_tensor_value_info("y", dtype, ["N", "C", "H", "W"])],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)


def formula(x: np.ndarray, size: int, alpha: float, beta: float, bias: float) -> np.ndarray:
    """ONNX LRN in double."""
    squares = np.pad(x.astype(np.float64) ** 2, [(0, 0), ((size - 1) // 2, size // 2), (0, 0), (0, 0)])
    sums = sum(squares[:, offset : offset + x.shape[1]] for offset in range(size))
    return x / (np.float32(bias) + np.float32(alpha) / np.float32(size) * sums) ** np.float32(beta)


def run(proto: onnx.ModelProto, x: np.ndarray, threads: int = 1) -> np.ndarray:
    return session(proto.SerializeToString(), threads).run(None, {"x": x})[0]


@settings(max_examples=60)
@given(st.data())
def test_every_kernel_set_equals_the_formula_and_onnxruntime(data: st.DataObject) -> None:
    draw = data.draw
    shape = tuple(draw(st.integers(1, high)) for high in (3, 12, 9, 40))
    attributes = {
        "size": draw(st.sampled_from([1, 3, 5, 9])),  # ONNX Runtime refuses even sizes
        "alpha": draw(st.sampled_from([1e-4, 0.3])),
        "beta": draw(st.sampled_from([0.75, 0.5, 1.0, 0.6])),
        "bias": draw(st.sampled_from([1.0, 2.5])),
    }
    x = np.random.default_rng(draw(st.integers(0, 2**32))).normal(size=shape).astype(np.float32) * 5
    original = lrn_model(**attributes)
    rewritten = rewrite(original).to_proto()
    assert rewritten.graph.node[0].domain == DOMAIN
    expected = formula(x, **attributes)
    # ONNX Runtime adds and subtracts squares in a running sum, whose rounding shows.
    np.testing.assert_allclose(run(original, x), expected, rtol=1e-5, atol=1e-7)
    for kernels in runnable_kernel_sets():
        with forced_kernels(kernels):
            np.testing.assert_allclose(run(rewritten, x), expected, rtol=1e-6, atol=1e-7, err_msg=kernels)


def test_even_window_reaches_one_channel_further_forward() -> None:
    x = np.arange(1, 5, dtype=np.float32).reshape(1, 4, 1, 1)
    rewritten = rewrite(lrn_model(size=2, alpha=2.0, beta=1.0, bias=0.0)).to_proto()
    for kernels in targets():
        with forced_kernels(kernels):
            np.testing.assert_allclose(run(rewritten, x).ravel(), [1 / 5, 2 / 13, 3 / 25, 4 / 16], rtol=1e-6)


def test_same_bytes_for_every_number_of_threads_and_special_values() -> None:
    x = np.random.default_rng(0).normal(size=(3, 7, 20, 20)).astype(np.float32)
    x[0, 3, 4, 5], x[1, 2, 3, 3] = np.nan, np.inf
    rewritten = rewrite(lrn_model()).to_proto()
    results = [run(rewritten, x, threads) for threads in (1, 2, 3)]
    assert len({result.tobytes() for result in results}) == 1
    # As the formula says: in the windows that hold them. (ONNX Runtime's running sum carries NaN further.)
    reached = np.zeros(x.shape, bool)
    reached[0, 2:5, 4, 5] = reached[1, 2, 3, 3] = True
    np.testing.assert_array_equal(np.isnan(results[0]), reached)
    assert not results[0][1, [1, 3], 3, 3].any()


def test_zero_sized_input() -> None:
    rewritten = rewrite(lrn_model()).to_proto()
    assert run(rewritten, np.zeros((2, 3, 0, 4), np.float32)).shape == (2, 3, 0, 4)


def test_attributes_name_metadata_and_shapes_are_kept() -> None:
    original = lrn_model(size=5, alpha=0.5, beta=0.25, bias=3.0)
    original.graph.node[0].metadata_props.add(key="layer", value="norm1")
    result = rewrite(original)
    (new,) = result.to_proto().graph.node
    assert (new.domain, new.op_type, new.name, list(new.output)) == (DOMAIN, "LRN", "norm", ["y"])
    assert list(new.attribute) == list(original.graph.node[0].attribute)
    assert new.metadata_props[0].value == "norm1"
    assert result.to_proto().graph.output == original.graph.output
    assert rewrite(result.to_proto()).to_proto() == result.to_proto()


def test_selection_and_type_are_reasons_to_keep_it() -> None:
    def verdict(proto: onnx.ModelProto, **selection: Any) -> str:
        return rewrite(proto, **selection).report.verdicts[0].describe()

    assert verdict(lrn_model()) == "exact"
    assert verdict(lrn_model(), op_types=["Conv"]) == "kept: op type LRN not chosen"
    assert verdict(lrn_model(), exclude=["no*"]) == "kept: excluded by the user"
    double = lrn_model(onnx.TensorProto.DOUBLE)
    assert verdict(double) == "kept: unsupported type (double; only float32 and float16 are supported)"


def test_lrn_in_a_function_is_kept() -> None:
    body = [node("LRN", ["a"], ["b"], size=3)]
    opset = [onnx.helper.make_opsetid("", 17)]
    function = onnx.helper.make_function("local", "Norm", ["a"], ["b"], body, opset)
    call, shape = node("Norm", ["x"], ["y"], domain="local"), ("N", 4, 5, 5)
    proto = model([call], {"x": shape}, {"y": shape}, functions=[function], domains={"local": 1})
    assert rewrite(proto).report.verdicts[0].reason == "the type of its input is not known"


def test_bad_size_stops_the_session() -> None:
    proto = rewrite(lrn_model()).to_proto()
    proto.graph.node[0].attribute[0].i = 0
    with pytest.raises(DrpassError, match=r"LRN 'norm': size must be in \[1, 1048576\], not 0"):
        runtime.session(proto.SerializeToString())
