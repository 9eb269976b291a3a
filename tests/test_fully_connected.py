"""Fully connected layers: the operator in every kernel set, and which products become one."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models_for_tests import model, node, random_array
from onnx import helper, numpy_helper
from operator_models import ACTIVATIONS, forced_kernels, inferred, runnable_kernel_sets, session, targets
from rewriting import EXACT, assert_same_outputs, ops, rewrite_exactly

from drpass import explain, restore, rewrite
from drpass.operator.packing import WIDE_PANEL, unpack_fully_connected
from drpass.operator.spec import DOMAIN, FULLY_CONNECTED
from drpass.passes import fully_connected


def packed(weights: np.ndarray) -> np.ndarray:
    """[K, M] as [ceil(M / 256), K, 256]."""
    inputs, outputs = weights.shape
    padded = np.zeros((inputs, -(-outputs // WIDE_PANEL) * WIDE_PANEL), np.float32)
    padded[:, :outputs] = weights
    panels = padded.shape[1] // WIDE_PANEL
    return np.ascontiguousarray(padded.reshape(inputs, panels, WIDE_PANEL).transpose(1, 0, 2))


def layer(
    weights: np.ndarray, bias: np.ndarray | None = None, rank: int = 2, w: np.ndarray | None = None, **attributes: Any
) -> bytes:
    """One FullyConnected; ``w``: packed weights other than those of ``weights``."""
    constants = {"W": packed(weights) if w is None else w} | ({} if bias is None else {"B": bias})
    options = {"output_channels": weights.shape[1], **attributes}
    made = helper.make_node(FULLY_CONNECTED, ["X", *constants], ["Y"], name="fc", domain=DOMAIN, **options)
    value = helper.make_tensor_value_info
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    x, y = value("X", onnx.TensorProto.FLOAT, [None] * rank), value("Y", onnx.TensorProto.FLOAT, None)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)]
    graph = helper.make_graph([made], "g", [x], [y], tensors)
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def run(made: bytes, x: np.ndarray, threads: int = 1) -> np.ndarray:
    return session(made, threads).run(None, {"X": x})[0]


def rows(rng: np.random.Generator, shape: tuple[int, ...], share: float) -> np.ndarray:
    """Values of which ``share`` are not zero."""
    return (rng.normal(size=shape) * (rng.random(shape) < share)).astype(np.float32)


@settings(max_examples=80)
@given(
    st.sampled_from([(1,), (3,), (9,), (40,), (2, 3), (2, 2, 30)]),
    st.sampled_from([1, 7, 16, 33, 512, 700, 1100]),
    st.sampled_from([1, 15, 16, 200, 256, 257, 600]),
    st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    st.sampled_from(list(ACTIVATIONS)),
    st.integers(0, 2**32),
)
def test_equals_the_product_in_every_kernel_set_and_for_every_split(
    leading: tuple[int, ...], inputs: int, outputs: int, share: float, activation: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x, weights = rows(rng, (*leading, inputs), share), rng.normal(size=(inputs, outputs)).astype(np.float32)
    bias = rng.normal(size=outputs).astype(np.float32) if seed % 2 else None
    options: dict[str, Any] = {"activation": activation}
    if ACTIVATIONS[activation]:
        options["activation_params"] = list(ACTIVATIONS[activation])
    made = layer(weights, bias, len(x.shape), **options)
    with forced_kernels("reference"):
        expected = run(made, x)
    if activation == "none":
        exact = x.astype(np.float64) @ weights + (0 if bias is None else bias)
        np.testing.assert_allclose(expected, exact, rtol=1e-5, atol=1e-5 * inputs**0.5)
    assert inferred(made, x.shape) == expected.shape
    single = layer(weights, bias, 2, **options)
    for kernels in runnable_kernel_sets():
        with forced_kernels(kernels):
            actual = run(made, x)
            assert run(made, x, threads=3).tobytes() == actual.tobytes(), kernels
            alone = np.concatenate([run(single, row[None]) for row in x.reshape(-1, inputs)])
        assert alone.tobytes() == actual.tobytes(), kernels  # whether zeros were listed or not
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5 * inputs**0.5, err_msg=kernels)


def test_runs_on_all_targets() -> None:
    rng = np.random.default_rng(0)
    x, weights = rows(rng, (6, 70), 0.4), rng.normal(size=(70, 300)).astype(np.float32)
    bias = rng.normal(size=300).astype(np.float32)
    for target in targets():
        with forced_kernels(target):
            actual = run(layer(weights, bias, activation="relu"), x)
        np.testing.assert_allclose(actual, np.maximum(x @ weights + bias, 0), rtol=1e-5, atol=1e-4, err_msg=target)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["x", "weights"])
@pytest.mark.parametrize("count", [1, 50])
def test_what_is_not_finite_reaches_what_it_reaches_in_onnxruntime(where: str, value: float, count: int) -> None:
    """A weight that is not finite makes NaN of a zero, so zeros can't be skipped then."""
    rng = np.random.default_rng(1)
    x, weights = rows(rng, (count, 40), 0.3), rng.normal(size=(40, 270)).astype(np.float32)
    x[0, 3] = 0
    if where == "x":
        x[0, 3] = value
    else:
        weights[3, 260] = value
    gemm = model([node("MatMul", ["X", "W"], ["Y"])], {"X": ["R", 40]}, {"Y": None}, {"W": weights})
    expected = run(gemm.SerializeToString(), x)
    assert not np.isfinite(expected).all()
    for kernels in runnable_kernel_sets():
        with forced_kernels(kernels):
            np.testing.assert_allclose(run(layer(weights), x), expected, rtol=1e-4, atol=1e-4, err_msg=kernels)


def test_weights_that_are_not_known_before_the_call_meet_all_inputs() -> None:
    rng = np.random.default_rng(2)
    x, weights = rows(rng, (1, 40), 0.3), rng.normal(size=(40, 270)).astype(np.float32)
    weights[np.flatnonzero(x[0] == 0)[0], 5] = np.inf
    proto = onnx.ModelProto.FromString(layer(weights))
    proto.graph.input.append(helper.make_tensor_value_info("W", onnx.TensorProto.FLOAT, packed(weights).shape))
    del proto.graph.initializer[:]
    actual = session(proto.SerializeToString(), 1).run(None, {"X": x, "W": packed(weights)})[0]
    assert np.flatnonzero(np.isnan(actual[0])).tolist() == [5]


@pytest.mark.parametrize("shape", [(0, 40), (3, 0), (0, 0)], ids=str)
def test_empty_inputs(shape: tuple[int, int]) -> None:
    weights, bias = random_array(max(shape[1], 0), 270), random_array(270)
    for kernels in runnable_kernel_sets():
        with forced_kernels(kernels):
            actual = run(layer(weights, bias, activation="relu"), np.zeros(shape, np.float32))
        np.testing.assert_array_equal(actual, np.broadcast_to(np.maximum(bias, 0), (shape[0], 270)), err_msg=kernels)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"output_channels": 300}, r"W has shape \[1, 40, 256\], but \[2, 40, 256\] was expected"),
        ({"output_channels": 0}, r"output_channels must be in \[1, "),
        ({"activation": "swish"}, "activation must be one of none, relu"),
        ({"w": np.zeros((1, 39, 256), np.float32)}, r"W has shape \[1, 39, 256\], but"),
    ],
    ids=["outputs", "none", "activation", "inputs"],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any], message: str) -> None:
    made, x = layer(random_array(40, 200), **changes), np.zeros((1, 40), np.float32)
    with pytest.raises(Exception, match=message):
        run(made, x)
    with pytest.raises(onnx.shape_inference.InferenceError, match=message):
        inferred(made, x.shape)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products of 256 outputs count as large."""
    monkeypatch.setattr(fully_connected, "MIN_WEIGHTS", 8 * 256)


def head(**constants: np.ndarray) -> onnx.ModelProto:
    """Gemm, Relu, MatMul, Add."""
    nodes = [
        node("Gemm", ["x", "w", "b"], ["h"], "first", transB=1),
        node("Relu", ["h"], ["r"]),
        node("MatMul", ["r", "v"], ["m"], "second"),
        node("Add", ["m", "c"], ["y"]),
    ]
    held = {"w": random_array(256, 40), "b": random_array(256), "v": random_array(256, 500), "c": random_array(500)}
    return model(nodes, {"x": ["N", 40]}, {"y": None}, held | constants)


@pytest.mark.usefixtures("small")
def test_large_products_of_few_rows_are_replaced_without_being_asked_for() -> None:
    result = rewrite(head())
    assert ops(result.to_proto()) == [FULLY_CONNECTED, FULLY_CONNECTED]
    assert [verdict.absorbed for verdict in result.report.verdicts] == [("r",), ("y",)]
    assert_same_outputs(head(), result.to_proto(), {"x": random_array(3, 40)})
    assert rewrite(result.to_proto()).to_proto() == result.to_proto()


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("x", [["N", 7, 40], [100, 40], ["N", "T", 40]])
def test_products_of_many_rows_are_kept(x: list[int | str]) -> None:
    proto = model([node("MatMul", ["x", "w"], ["y"])], {"x": x}, {"y": None}, {"w": random_array(40, 256)})
    (verdict,) = rewrite(proto).report.verdicts
    assert verdict.reason == "a matrix product of many rows gains nothing without clustering"


def test_small_products_are_kept() -> None:
    for verdict in rewrite(head()).report.verdicts:
        assert verdict.reason == "a matrix product gains nothing without clustering"


@pytest.mark.usefixtures("small")
def test_comes_back_from_restore_with_the_bits_of_its_weights() -> None:
    restored = restore(rewrite(head()).to_proto()).to_proto()
    assert ops(restored) == ["Gemm", "Relu", "Gemm"]
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in restored.graph.initializer}
    np.testing.assert_array_equal(held["w"], random_array(256, 40))
    np.testing.assert_array_equal(held["v"].T, random_array(256, 500))
    assert_same_outputs(head(), restored, {"x": random_array(3, 40)})
    assert ops(rewrite(restored).to_proto()) == [FULLY_CONNECTED, FULLY_CONNECTED]


@pytest.mark.usefixtures("small")
def test_explained() -> None:
    found = explain(rewrite(head()).model, "first")
    assert found.facts[0].startswith("A fully connected layer that does not read weights which meet a zero")
    assert "--exclude first" in found.changes[0]


@pytest.mark.usefixtures("small")
def test_transposed_input_and_addend_stay_with_the_other_operator() -> None:
    transposed = model(
        [node("Gemm", ["x", "w"], ["y"], transA=1)], {"x": [40, 3]}, {"y": None}, {"w": random_array(40, 256)}
    )
    assert ops(rewrite(transposed, parameters=EXACT).to_proto()) == ["DeepReuseGemm"]
    added = model(
        [node("Gemm", ["x", "w", "a"], ["y"])],
        {"x": [3, 40], "a": [3, 256]},
        {"y": None},
        {"w": random_array(40, 256)},
    )
    rewritten = rewrite_exactly(added).to_proto()
    assert ops(rewritten) == ["DeepReuseGemm"]


def test_packing_is_undone() -> None:
    weights = random_array(30, 300)
    np.testing.assert_array_equal(unpack_fully_connected(packed(weights), 300), weights.T)
    with pytest.raises(ValueError, match="no weights of 600 outputs"):
        unpack_fully_connected(packed(weights), 600)
