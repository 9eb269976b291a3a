"""The operators on CUDAExecutionProvider: what they give on the CPU, with every node on the device.

More tests run on CUDA beside the kernel sets: those with `targets()`.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import cuda_device
import numpy as np
import onnx
import pytest
from chain_nets import EXACT, Net
from hypothesis import given, settings
from hypothesis import strategies as st
from models_for_tests import random_array
from operator_models import Case, alike, block, forced_kernels, session
from test_depthwise import LAYOUTS, cases, depthwise_model, in_planes
from test_fully_connected import layer, rows
from test_operator_kernels import convolutions, matrix_case, matrix_product, methods
from test_operator_layout import _one_node, _run, blockable, pools
from test_upsample import upsample_model

from drpass import runtime
from drpass.inference import infer
from drpass.operator.packing import unblock
from drpass.rewriting import rewrite

pytestmark = cuda_device.needs_cuda

#: Schedules of the emulator: in order, and three at random.
SEEDS = (0, 1, 2, 3)


def run(case: Case, **parameters: Any) -> list[np.ndarray]:
    with forced_kernels("cuda"):
        return case.run(case.reuse_model(**parameters))


def reference(case: Case, **parameters: Any) -> list[np.ndarray]:
    with forced_kernels("reference"):
        return case.run(case.reuse_model(**parameters))


@settings(max_examples=15)
@given(convolutions())
def test_exact_equals_onnxruntime(case: Case) -> None:
    expected = case.run(case.conv_model())[0]
    actual = run(case)[0]
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=case.rounding())


@settings(max_examples=30)
@given(convolutions(), methods(), st.sampled_from(SEEDS))
def test_methods_agree_with_the_reference(case: Case, parameters: dict[str, Any], seed: int) -> None:
    expected, clusters = reference(case, stats=True, **parameters)
    with cuda_device.schedule(seed):
        actual, found = run(case, stats=True, **parameters)
    np.testing.assert_array_equal(found, clusters)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=case.tolerance("cuda", parameters))


@settings(max_examples=20)
@given(st.data())
def test_matrix_form_equals_numpy(data: st.DataObject) -> None:
    draw = data.draw
    case, rng, whole = matrix_case(draw, most_leading=4)
    shape = [size if draw(st.booleans()) else 1 for size in whole]
    case.addend = rng.normal(size=shape).astype(np.float32)
    np.testing.assert_allclose(run(case)[0], matrix_product(case), rtol=1e-5, atol=case.rounding())
    parameters = draw(methods())
    expected, clusters = reference(case, stats=True, **parameters)
    actual, found = run(case, stats=True, **parameters)
    np.testing.assert_array_equal(found, clusters)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=case.tolerance("cuda", parameters))


@settings(max_examples=30)
@given(blockable(), methods(), st.booleans(), st.booleans())
def test_blocks_give_what_planes_give(case: Case, parameters: dict[str, Any], x_blocked: bool, y_blocked: bool) -> None:
    expected, clusters = reference(case, stats=True, **parameters)
    layouts = {"x_layout": "NCHW16c"} if x_blocked else {}
    layouts |= {"y_layout": "NCHW16c"} if y_blocked else {}
    moved = replace(case, x=block(case.x) if x_blocked else case.x)
    if case.addend is not None and y_blocked:
        moved.addend = block(case.addend)
    actual, found = run(moved, stats=True, **parameters, **layouts)
    np.testing.assert_array_equal(found, clusters)
    if y_blocked:
        assert not unblock(actual, actual.shape[1] * 16)[:, expected.shape[1] :].any(), "lanes without a channel"
        actual = unblock(actual, expected.shape[1])
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=case.tolerance("cuda", parameters))


@settings(max_examples=30)
@given(pools())
def test_pool_equals_onnxruntime(drawn: tuple[onnx.NodeProto, onnx.NodeProto, np.ndarray]) -> None:
    theirs, ours, x = drawn
    expected = _run(_one_node(theirs, 4), x)
    with forced_kernels("cuda"):
        actual = _run(_one_node(ours, 5), block(x))
    if actual.ndim == 5:
        actual = unblock(actual, x.shape[1])
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


@settings(max_examples=25)
@given(cases(), st.sampled_from(LAYOUTS), st.sampled_from(LAYOUTS), st.sampled_from(SEEDS))
def test_depthwise_equals_onnxruntime(case: Case, x_layout: str, y_layout: str, seed: int) -> None:
    expected = case.run(case.conv_model())[0]
    x = block(case.x) if x_layout == "NCHW16c" else case.x
    with forced_kernels("cuda"), cuda_device.schedule(seed):
        actual = session(depthwise_model(case, x_layout, y_layout)).run(None, {"X": x})[0]
    actual = in_planes(actual, case.weights.shape[0])
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=case.rounding())


@pytest.mark.parametrize("scales", [[1, 1], [2, 2], [1, 3], [4, 1]], ids=str)
@pytest.mark.parametrize("seed", SEEDS)
def test_upsample_repeats_pixels(scales: list[int], seed: int) -> None:
    x = block(random_array(2, 23, 7, 5))
    with forced_kernels("cuda"), cuda_device.schedule(seed):
        actual = session(upsample_model(scales)).run(None, {"X": x})[0]
    np.testing.assert_array_equal(actual, x.repeat(scales[0], axis=2).repeat(scales[1], axis=3))


@settings(max_examples=15)
@given(st.integers(1, 10), st.integers(1, 60), st.sampled_from([1, 255, 256, 300, 520]), st.sampled_from(SEEDS))
def test_fully_connected_equals_the_reference(count: int, inputs: int, outputs: int, seed: int) -> None:
    rng = np.random.default_rng(seed + inputs)
    x, weights = rows(rng, (count, inputs), 0.5), rng.normal(size=(inputs, outputs)).astype(np.float32)
    made = layer(weights, rng.normal(size=outputs).astype(np.float32) if seed % 2 else None, activation="silu")
    with forced_kernels("reference"):
        expected = session(made).run(None, {"X": x})[0]
    with forced_kernels("cuda"), cuda_device.schedule(seed):
        actual = session(made).run(None, {"X": x})[0]
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5 * inputs**0.5)


@pytest.mark.parametrize("layout", ["NCHW", "NCHW16c"])
@pytest.mark.parametrize("beta", [0.75, 0.5, 1.0, 0.6])
def test_lrn_of_every_exponent_equals_the_reference(layout: str, beta: float) -> None:
    x = np.random.default_rng(0).normal(size=(2, 23, 7, 5)).astype(np.float32) * 4
    attributes = {"size": 5, "alpha": 0.3, "beta": beta, "bias": 1.5}

    def lrn(layout: str, x: np.ndarray) -> np.ndarray:
        node = onnx.helper.make_node("LRN", ["x"], ["y"], domain="ai.drpass", layout=layout, **attributes)
        return _run(_one_node(node, x.ndim), x)

    with forced_kernels("reference"):
        expected = lrn("NCHW", x)
    with forced_kernels("cuda"):
        actual = lrn(layout, x) if layout == "NCHW" else unblock(lrn(layout, block(x)), 23)
    np.testing.assert_allclose(actual, expected, rtol=2e-6, atol=1e-7)


def test_a_chain_stays_on_the_device() -> None:
    net = Net(batch=2)
    net.conv("x", "a", 8, 40)
    net.node("Relu", ["a"], "b")
    net.node("MaxPool", ["b"], "c", kernel_shape=[2, 2], strides=[2, 2])
    net.node("LRN", ["c"], "d", size=5)
    net.conv("d", "e", 40, 32)
    net.node("AveragePool", ["e"], "f", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    model = net.model("f")
    rewritten = rewrite(model, parameters=EXACT).to_proto()
    assert [node.op_type for node in rewritten.graph.node] == ["DeepReuseGemm", "Pool", "LRN", "DeepReuseGemm", "Pool"]
    x = np.random.default_rng(1).normal(size=(2, 8, 12, 12)).astype(np.float32)
    expected = runtime.session(model.SerializeToString(), threads=1).run(None, {"x": x})[0]
    with forced_kernels("cuda"):  # a node on the CPU would make this fail
        actual = session(rewritten.SerializeToString()).run(None, {"x": x})[0]
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("outputs", [12, 80])
@pytest.mark.parametrize("scope", ["image", "batch"])
@pytest.mark.parametrize("method", ["exact", "grid", "lsh"])
def test_same_bytes_for_repetition_and_every_schedule(outputs: int, scope: str, method: str) -> None:
    rng = np.random.default_rng(3)
    weights = rng.normal(size=(outputs, 6, 3, 3)).astype(np.float32)
    case = Case(alike(rng, (2, 6, 25, 23)), weights, attributes={"pads": [1] * 4})
    case.x[0, 4:] = rng.normal(size=case.x[0, 4:].shape)  # for the guard
    with forced_kernels("cuda"):
        made = session(case.reuse_model(method=method, scope=scope, step=0.5, hash_bits=9))
    expected = made.run(None, {"X": case.x})[0].tobytes()
    for seed in SEEDS:
        with cuda_device.schedule(seed):
            assert made.run(None, {"X": case.x})[0].tobytes() == expected


@pytest.mark.parametrize(("seed", "allow_tf32"), [*((seed, 0) for seed in SEEDS), (1, 1)])
def test_long_sub_vectors_in_more_clusters_than_blocks_of_a_table(seed: int, allow_tf32: int) -> None:
    rng = np.random.default_rng(5)
    case = Case(rng.normal(size=(1, 40, 26, 26)).astype(np.float32), rng.normal(size=(20, 40, 1, 1)).astype(np.float32))
    parameters = {"method": "grid", "step": 1e-3, "sub_vector_length": 20, "max_remaining_ratio": 1.0}
    with cuda_device.schedule(seed):
        actual, stats = run(case, stats=True, allow_tf32=allow_tf32, **parameters)
    assert (stats == 26 * 26).all()
    rounding = 2**-10 * case.magnitude() if allow_tf32 else case.rounding()
    np.testing.assert_allclose(actual, case.run(case.conv_model())[0], rtol=1e-5, atol=rounding)


def test_concurrent_callers_get_their_own_results() -> None:
    rng = np.random.default_rng(4)
    case = Case(alike(rng, (1, 6, 12, 12)), rng.normal(size=(20, 6, 3, 3)).astype(np.float32))
    inputs = [case.x + shift for shift in range(4)]
    with forced_kernels("cuda"):
        made = session(case.reuse_model(method="grid", step=0.5))
    expected = [made.run(None, {"X": x})[0].tobytes() for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        order = [index % len(inputs) for index in range(24)]
        results = list(pool.map(lambda index: made.run(None, {"X": inputs[index]})[0].tobytes(), order))
    assert results == [expected[index] for index in order]


def test_run_says_that_every_node_ran_on_cuda() -> None:
    net = Net(batch=2)
    net.conv("x", "a", 8, 40)
    net.node("MaxPool", ["a"], "b", kernel_shape=[2, 2], strides=[2, 2])
    net.conv("b", "c", 40, 8)
    rewritten = rewrite(net.model("c"), parameters=EXACT).to_proto()
    with forced_kernels("cuda"):
        result = infer(rewritten, "random", provider="cuda")
    assert result.placement == {"CUDAExecutionProvider": {"DeepReuseGemm": 2, "Pool": 1}}
