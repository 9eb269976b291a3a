"""Rewritten models in ONNX Runtime with the operator library, against the originals."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from models_for_tests import conv_model, function_model, if_model, loop_model, model, node, random_array
from rewriting import EXACT, rewrite, run

from drpass.operator.spec import DOMAIN, ReuseParameters
from drpass.runtime import session

X = random_array(1, 3, 20, 20)

STATISTICS = {f"s{index}": np.abs(random_array(32, seed=index)) + np.float32(0.1) for index in range(4)}
CHAIN = conv_model(
    [
        node("BatchNormalization", ["conv_out", *STATISTICS], ["n"]),
        node("Mul", ["n", "m"], ["s"]),
        node("LeakyRelu", ["s"], ["y"], alpha=0.2),
    ],
    {**STATISTICS, "m": random_array(32, 1, 1)},
)


def nested_functions_model() -> onnx.ModelProto:
    """x → Outer, which calls Block and Head of `function_model` → y; a MaxPool follows the Conv of Block."""
    proto = function_model()
    proto.functions[0].node[-1].CopyFrom(node("MaxPool", ["c"], ["b"], kernel_shape=[2, 2]))
    calls = [
        onnx.helper.make_node("Block", ["a"], ["h"], domain="local"),
        onnx.helper.make_node("Head", ["h", "w"], ["b"], domain="local"),
    ]
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("local", 1)]
    proto.functions.append(onnx.helper.make_function("local", "Outer", ["a", "w"], ["b"], calls, opsets))
    del proto.graph.node[:]
    proto.graph.node.append(onnx.helper.make_node("Outer", ["x", "w"], ["y"], domain="local"))
    return proto


MODELS: dict[str, tuple[onnx.ModelProto, dict[str, npt.NDArray[Any]]]] = {
    "conv": (conv_model(pads=[1, 1, 1, 1], strides=[2, 1]), {"x": X}),
    "chain": (CHAIN, {"x": X}),
    "if, then": (if_model(), {"x": X, "flag": np.array(True)}),
    "if, else": (if_model(), {"x": X, "flag": np.array(False)}),
    "loop": (loop_model(), {"x": X}),
    "function": (function_model(), {"x": X}),
    "nested functions": (nested_functions_model(), {"x": X}),
    "matmul": (
        model([node("MatMul", ["x", "w"], ["y"])], {"x": [2, 3, 7]}, {"y": None}, {"w": random_array(7, 20)}),
        {"x": random_array(2, 3, 7)},
    ),
    "gemm": (
        model(
            [node("Gemm", ["x", "w", "c"], ["y"], transA=1, transB=1, alpha=0.5, beta=2.0)],
            {"x": [7, 5], "c": [5, 1]},
            {"y": None},
            {"w": random_array(20, 7)},
        ),
        {"x": random_array(7, 5), "c": random_array(5, 1)},
    ),
}


def run_rewritten(rewritten: onnx.ModelProto, feeds: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    opened = session(rewritten.SerializeToString(), threads=1)
    names = [output.name for output in opened.get_outputs()]
    return dict(zip(names, opened.run(names, dict(feeds)), strict=True))


def relative_error(found: npt.NDArray[Any], expected: npt.NDArray[Any]) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("name", MODELS)
def test_exact_mode_gives_the_outputs_of_the_original(name: str) -> None:
    proto, feeds = MODELS[name]
    result = rewrite(proto, parameters=EXACT)
    assert result.report.replaced
    expected, found = run(proto, feeds), run_rewritten(result.to_proto(), feeds)
    assert list(found) == list(expected)
    for output in expected:
        assert relative_error(found[output], expected[output]) < 1e-5


def run_with_reuse(name: str, parameters: ReuseParameters) -> dict[str, npt.NDArray[Any]]:
    """Rewrite every node that can be, whether it pays off or not, and run."""
    proto, feeds = MODELS[name]
    nodes = [verdict.node for verdict in rewrite(proto, parameters=EXACT).report.verdicts if verdict.replaced]
    result = rewrite(proto, parameters=parameters, include=nodes)
    assert result.report.replaced == len(nodes)
    return run_rewritten(result.to_proto(), feeds)


@pytest.mark.parametrize("name", MODELS)
def test_fine_grid_stays_near_the_original(name: str) -> None:
    found = run_with_reuse(name, ReuseParameters(step=0.01, max_remaining_ratio=1.0))
    for output, expected in run(*MODELS[name]).items():
        assert relative_error(found[output], expected) < 0.02


@pytest.mark.parametrize("name", ["conv", "if, else", "function"])
def test_lsh_runs_and_its_seed_reaches_the_operator(name: str) -> None:
    """lsh has no error bound to check; two seeds draw other hyperplanes, hence give other clusters."""
    first, second = (
        run_with_reuse(name, ReuseParameters(method="lsh", hash_bits=8, seed=seed, max_remaining_ratio=1.0))
        for seed in (1, 2)
    )
    for output, expected in run(*MODELS[name]).items():
        assert first[output].shape == expected.shape
        assert np.isfinite(first[output]).all()
        assert not np.array_equal(first[output], second[output])


def test_weights_below_ir_version_4_are_constants_for_the_runtime() -> None:
    proto = conv_model(ir_version=3)
    for tensor in proto.graph.initializer:
        proto.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, 1, list(tensor.dims)))
    result = rewrite(proto, parameters=EXACT)
    opened = session(result.to_proto().SerializeToString(), threads=1)
    assert [value.name for value in opened.get_inputs()] == ["x"]
    found = opened.run(None, {"x": X})[0]
    assert relative_error(found, run(proto, {"x": X})["conv_out"]) < 1e-5


def test_batch_of_any_size_runs() -> None:
    opened = session(rewrite(CHAIN, parameters=EXACT).to_proto().SerializeToString(), threads=1)
    for batch in (1, 3):
        x = random_array(batch, 3, 20, 20)
        assert relative_error(opened.run(None, {"x": x})[0], run(CHAIN, {"x": x})["y"]) < 1e-5


def test_rewritten_model_has_the_operator() -> None:
    assert [item.domain for item in rewrite(CHAIN).to_proto().graph.node] == [DOMAIN]


#: Real networks, with an input that they take.
REAL = {
    "squeezenet11_imagenet.onnx": (1, 3, 227, 227),
    "vgg16_imagenette.onnx": (1, 3, 224, 224),
    "waifu2x_upconv7_photo_x2.onnx": (1, 3, 142, 142),
}


@pytest.mark.parametrize("name", REAL)
def test_real_network_in_exact_mode_gives_the_outputs_of_the_original(name: str) -> None:
    folder = os.environ.get("DRPASS_MODELS")
    if not folder:
        pytest.skip("DRPASS_MODELS does not say where the models are")
    path = Path(folder) / name
    result = rewrite(path, parameters=EXACT)
    # The last layer of waifu2x, a ConvTranspose with stride 2, is no convolution of one stride.
    assert all(verdict.replaced for verdict in result.report.verdicts if verdict.op_type != "ConvTranspose")
    feeds = {"input": random_array(*REAL[name]) * np.float32(50 if "waifu" not in name else 0.2)}
    expected, found = run(onnx.load(path), feeds), run_rewritten(result.to_proto(), feeds)
    for output in expected:
        assert relative_error(found[output], expected[output]) < 1e-4
