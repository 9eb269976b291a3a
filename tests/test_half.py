"""Models of float16: rewritten as those of float are, and as near to the truth as ONNX Runtime's own computation.

ONNX Runtime computes such models in float on the CPU, and rounds where float16 is asked for at last. So do nodes of the
library; outputs differ by a unit in the last place of float16 where float results lie on two sides of a tie. Constants
that were folded are rounded to float16 besides.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from backend_cases import Case, all_cases
from coverage_table import run_plainly
from half_models import halved, units
from models_for_tests import FLOAT, FLOAT16, conv_model, function_model, if_model, loop_model, model, node, random_array
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.transformers.onnx_model import OnnxModel
from rewriting import ops, reason, rewrite_exactly
from test_real_models import PREPROCESS, real

import drpass
from drpass import runtime
from drpass.data import Preprocess, open_data
from drpass.operator.spec import DEPTHWISE, DOMAIN, LRN, OP_TYPE, POOL, ReuseParameters
from drpass.restoring import restore
from drpass.tensors import input_specs
from drpass.tune.shadow import measure_errors
from drpass.validation import validate

#: A unit in the last place of float16, relative to the number.
UNIT = 2.0**-10


def run(proto: onnx.ModelProto, feeds: dict[str, Any]) -> list[np.ndarray]:
    return list(runtime.session(proto.SerializeToString(), threads=1).run(None, feeds))


def casts(proto: onnx.ModelProto) -> int:
    bodies = [attribute.g for node in proto.graph.node for attribute in node.attribute if attribute.HasField("g")]
    return sum(node.op_type == "Cast" for graph in (proto.graph, *bodies) for node in graph.node)


def tensors(proto: onnx.ModelProto) -> dict[str, bytes]:
    """The bits of the stored numbers by name, with those of bodies; in order, because Gemm may come back transposed."""
    bodies = [attribute.g for node in proto.graph.node for attribute in node.attribute if attribute.HasField("g")]
    found = [tensor for graph in (proto.graph, *bodies) for tensor in graph.initializer]
    return {tensor.name: np.sort(numpy_helper.to_array(tensor).ravel().view(np.uint16)).tobytes() for tensor in found}


def gemm_model(**attributes: Any) -> onnx.ModelProto:
    held = {"w": random_array(12, 40), "c": random_array(40)}
    return model([node("Gemm", ["x", "w", "c"], ["y"], **attributes)], {"x": [5, 12]}, {"y": None}, held)


def residual_model() -> onnx.ModelProto:
    nodes = [
        node("Conv", ["x", "w1"], ["a"], pads=[1, 1, 1, 1]),
        node("Relu", ["a"], ["b"]),
        node("Conv", ["b", "w2"], ["c"], pads=[1, 1, 1, 1]),
        node("Add", ["c", "b"], ["d"]),
        node("Clip", ["d"], ["e"]),
        node("MaxPool", ["e"], ["f"], kernel_shape=[2, 2], strides=[2, 2]),
        node("LRN", ["f"], ["g"], size=5),
        node("Conv", ["g", "w3"], ["h"]),
        node("GlobalAveragePool", ["h"], ["y"]),
    ]
    held = {
        "w1": random_array(32, 3, 3, 3),
        "w2": random_array(32, 32, 3, 3) / 16,
        "w3": random_array(48, 32, 1, 1) / 4,
    }
    return model(nodes, {"x": [2, 3, 20, 20]}, {"y": None}, held)


MODELS = {
    "convolution": lambda: conv_model([node("Relu", ["conv_out"], ["y"])]),
    "residual": residual_model,
    "gemm": gemm_model,
    "gemm with addend": lambda: model(
        [node("Gemm", ["x", "w", "a"], ["y"], beta=0.5)],
        {"x": [5, 12], "a": [5, 40]},
        {"y": None},
        {"w": random_array(12, 40)},
    ),
    "matmul": lambda: model(
        [node("MatMul", ["x", "w"], ["y"])], {"x": [2, 5, 12]}, {"y": None}, {"w": random_array(12, 40)}
    ),
    "if": if_model,
    "loop": loop_model,
}


def feeds_of(proto: onnx.ModelProto) -> dict[str, np.ndarray]:
    feeds: dict[str, np.ndarray] = {}
    for value in proto.graph.input:
        shape = [dim.dim_value or 2 for dim in value.type.tensor_type.shape.dim]
        dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        feeds[value.name] = np.ones(shape, dtype) if dtype == np.bool_ else random_array(*shape).astype(dtype)
    return feeds


@pytest.mark.parametrize("name", MODELS)
def test_rewritten_model_computes_what_onnx_runtime_does(name: str) -> None:
    whole = MODELS[name]()
    original = halved(whole)
    result = rewrite_exactly(original)
    rewritten, feeds = result.to_proto(), feeds_of(original)
    assert all(verdict.replaced for verdict in result.report.verdicts)
    assert [verdict.describe() for verdict in result.report.verdicts] == [
        verdict.describe() for verdict in rewrite_exactly(whole).report.verdicts
    ]
    assert casts(rewritten) == 0
    assert {tensor.data_type for tensor in rewritten.graph.initializer} <= {TensorProto.FLOAT16, TensorProto.INT64}
    inferred = onnx.shape_inference.infer_shapes(rewritten, check_type=True, strict_mode=True)
    assert {value.type.tensor_type.elem_type for value in inferred.graph.value_info} <= {FLOAT16}
    for found, expected in zip(run(rewritten, feeds), run_plainly(original, feeds), strict=True):
        # Beside tiny sums of large terms a unit of their own last place says nothing.
        large = np.abs(expected) > 2.0**-8 * np.abs(expected).max()
        assert units(found[large], expected[large]) <= 1
        np.testing.assert_allclose(found, expected, rtol=0, atol=UNIT * float(np.abs(expected).max()))
    assert rewrite_exactly(rewritten).to_proto() == rewritten
    assert tensors(original).items() <= tensors(restore(rewritten).to_proto()).items()


def test_functions_say_the_type_of_what_they_return() -> None:
    original = halved(function_model())
    rewritten, feeds = rewrite_exactly(original).to_proto(), feeds_of(original)
    declared = [node for function in rewritten.functions for node in function.node if node.op_type == "Cast"]
    assert [helper.get_node_attr_value(node, "to") for node in declared] == [TensorProto.FLOAT16]
    (found,), (expected,) = run(rewritten, feeds), run_plainly(original, feeds)
    np.testing.assert_allclose(found, expected, rtol=0, atol=UNIT * float(np.abs(expected).max()))
    back = restore(rewritten).to_proto()
    assert all(node.op_type != "Cast" for function in back.functions for node in function.node)


@pytest.mark.parametrize("method", ["grid", "lsh"])
def test_clusters_are_those_of_the_float_model(method: Any) -> None:
    """The first node's input has the same numbers in both, so it finds the same clusters."""
    original = conv_model()
    parameters = ReuseParameters(method, step=0.5, max_remaining_ratio=1.0)
    x = np.round(random_array(2, 3, 20, 20) * 2) / 2
    held = halved(original)
    for tensor, half in zip(original.graph.initializer, held.graph.initializer, strict=True):
        rounded = numpy_helper.to_array(half).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(rounded, tensor.name))
    (expected,) = run(drpass.rewrite(original, parameters=parameters).to_proto(), {"x": x})
    (found,) = run(drpass.rewrite(held, parameters=parameters).to_proto(), {"x": x.astype(np.float16)})
    assert units(found, expected.astype(np.float16)) == 0


def test_default_plan_is_that_of_the_float_model() -> None:
    whole = residual_model()
    reports = [drpass.rewrite(proto).report for proto in (whole, halved(whole))]
    assert reports[0].verdicts == reports[1].verdicts


@pytest.mark.parametrize("keep", [False, True])
def test_model_of_the_usual_converter_is_rewritten_whole(keep: bool) -> None:
    converter = OnnxModel(residual_model())
    converter.convert_float_to_float16(keep_io_types=keep)
    converter.topological_sort()
    original = converter.model
    result = rewrite_exactly(original)
    rewritten, feeds = result.to_proto(), feeds_of(original)
    assert all(verdict.replaced for verdict in result.report.verdicts)
    assert casts(rewritten) == casts(original) == 2 * keep
    (found,), (expected,) = run(rewritten, feeds), run_plainly(original, feeds)
    np.testing.assert_allclose(found, expected, rtol=0, atol=UNIT * float(np.abs(expected).max()))


def test_nodes_of_float_between_casts_are_rewritten_too() -> None:
    nodes = [
        node("Conv", ["x", "w1"], ["a"]),
        node("Cast", ["a"], ["b"], to=FLOAT),
        node("Conv", ["b", "w2"], ["c"]),
        node("Cast", ["c"], ["y"], to=FLOAT16),
    ]
    held = {"w1": random_array(32, 3, 3, 3).astype(np.float16), "w2": random_array(32, 32, 3, 3)}
    original = model(nodes, {"x": [1, 3, 12, 12]}, {"y": None}, held, element=FLOAT16)
    rewritten, feeds = rewrite_exactly(original).to_proto(), feeds_of(original)
    assert ops(rewritten) == [OP_TYPE, "Cast", OP_TYPE, "Cast"]
    assert [tensor.data_type for tensor in rewritten.graph.initializer] == [FLOAT16, FLOAT]
    (found,), (expected,) = run(rewritten, feeds), run_plainly(original, feeds)
    np.testing.assert_allclose(found, expected, rtol=0, atol=UNIT * float(np.abs(expected).max()))


def test_weights_of_float16_behind_a_cast_serve_a_node_of_float() -> None:
    nodes = [node("Cast", ["half"], ["w"], to=FLOAT), node("Conv", ["x", "w"], ["y"])]
    original = model(nodes, {"x": [1, 3, 12, 12]}, {"y": None}, {"half": random_array(32, 3, 3, 3).astype(np.float16)})
    rewritten, feeds = rewrite_exactly(original).to_proto(), feeds_of(original)
    assert ops(rewritten) == [OP_TYPE]
    (found,), (expected,) = run(rewritten, feeds), run_plainly(original, feeds)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def normalised_model(gamma: float, variance: float = 1.0) -> onnx.ModelProto:
    names = ["gamma", "beta", "mean", "variance"]
    held = dict(zip(names, (np.full(32, number, np.float32) for number in (gamma, 0.5, 0.25, variance)), strict=True))
    return halved(conv_model([node("BatchNormalization", ["conv_out", *names], ["y"], epsilon=0.0)], held))


def test_normalisation_is_folded_into_weights_of_float16() -> None:
    original = normalised_model(0.3, 2.0)
    rewritten, feeds = rewrite_exactly(original).to_proto(), feeds_of(original)
    assert ops(rewritten) == [OP_TYPE]
    (found,), (expected,) = run(rewritten, feeds), run_plainly(original, feeds)
    weights, bias = (numpy_helper.to_array(tensor).astype(np.float64) for tensor in rewritten.graph.initializer)
    terms = np.abs(weights).sum(axis=(0, 2, 3)).max() * np.abs(feeds["x"]).max() + np.abs(bias).max()
    # Every weight and the bias moved by half a unit at most, and so did the output.
    assert np.abs(found.astype(np.float64) - expected).max() <= UNIT / 2 * terms + UNIT * np.abs(expected).max()


@pytest.mark.parametrize(("gamma", "left"), [(1e-6, "BatchNormalization"), (60000.0, DEPTHWISE)])
def test_normalisation_that_leaves_the_range_of_float16_is_not_folded(gamma: float, left: str) -> None:
    original = normalised_model(gamma)
    rewritten = rewrite_exactly(original).to_proto()
    assert ops(rewritten) == [OP_TYPE, left]  # 60000 is in the range, but not the weights times it


def test_bias_that_leaves_the_range_of_float16_is_not_folded() -> None:
    original = halved(
        conv_model([node("Add", ["conv_out", "c"], ["y"])], {"c": np.full((32, 1, 1), 65500.0, np.float32)})
    )
    next(tensor for tensor in original.graph.initializer if tensor.name == "conv.bias").CopyFrom(
        numpy_helper.from_array(np.full(32, 100, np.float16), "conv.bias")
    )
    assert ops(rewrite_exactly(original).to_proto()) == [OP_TYPE, "Add"]


def test_alpha_that_takes_the_weights_out_of_range_is_a_reason_to_keep_a_gemm() -> None:
    assert reason(halved(gemm_model(alpha=1e-6))) == "weights times alpha leave the range of float16"
    assert reason(halved(gemm_model(beta=1e6))) == "C times beta leave the range of float16"
    assert ops(rewrite_exactly(halved(gemm_model(alpha=0.5, beta=2.0))).to_proto()) == [OP_TYPE]


def small_cases() -> list[Case]:
    return [case for case in all_cases() if case.kind in ("node", "pytorch-converted", "pytorch-operator")]


def test_backend_cases_of_onnx_compute_the_same_in_float16() -> None:
    replaced = 0
    for case in small_cases():
        original, feeds, _ = case.load()
        if any(array.dtype != np.float32 for array in feeds.values()):
            continue
        original = halved(original)
        feeds = {name: array.astype(np.float16) for name, array in feeds.items()}
        try:
            expected = run_plainly(original, feeds)
        except Exception:  # ONNX Runtime does not run it so
            continue
        rewritten = rewrite_exactly(original).to_proto()
        replaced += sum(node.domain == DOMAIN for node in rewritten.graph.node)
        for left, right in zip(run(rewritten, feeds), expected, strict=True):
            limit = 2 * UNIT * float(np.abs(right).max(initial=0))
            np.testing.assert_allclose(left, right, rtol=0, atol=limit, err_msg=case.name)
    assert replaced >= 46


def test_lrn_of_float16_is_the_librarys_own() -> None:
    original = model([node("LRN", ["x"], ["y"], size=5)], {"x": [1, 8, 6, 6]}, {"y": None}, element=FLOAT16)
    (new,) = rewrite_exactly(original).to_proto().graph.node
    assert (new.domain, new.op_type) == (DOMAIN, LRN)


def test_layers_are_compared_and_their_errors_measured(tmp_path: Path) -> None:
    original = halved(residual_model())
    feeds = feeds_of(original)
    rewritten = drpass.rewrite(original, parameters=ReuseParameters(step=0.1)).to_proto()
    np.savez(tmp_path / "feeds.npz", **feeds)
    report = validate(original, rewritten, tmp_path / "feeds.npz", layers=True)
    assert [layer.node for layer in report.layers] == ["a", "c"]
    assert all(0 < layer.errors.rms_rel < 0.1 for layer in report.layers)
    grid = ReuseParameters("grid", step=1.0, max_remaining_ratio=1.0)
    # Sums of squares that float16 does not hold.
    original.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(np.full((32, 3, 3, 3), 100, np.float16), original.graph.initializer[0].name)
    )
    errors = measure_errors(original, {("", "a"): grid}, [feeds], 1)
    assert 0.001 < errors["", "a"].error < 1


def test_squeezenet_is_as_near_to_the_truth_on_real_images_as_onnx_runtime_is() -> None:
    whole = onnx.load(real("DRPASS_MODELS", "squeezenet11_imagenet.onnx"))
    archive = real("DRPASS_DATA", "imagenet-samples.tar.xz")
    original = halved(whole)
    rewritten = rewrite_exactly(original).to_proto()
    assert {node.op_type for node in rewritten.graph.node} == {OP_TYPE, POOL, "Concat", "Flatten"}
    steps = Preprocess.from_toml(PREPROCESS / "squeezenet11_imagenet.toml")
    pictures = open_data(
        archive, input_specs(runtime.session(original.SerializeToString())), preprocess=steps, batch=5
    ).first(20)
    sums, largest = np.zeros(3), 0.0
    for batch in pictures.batches():
        (truth,) = run(whole, {name: array.astype(np.float32) for name, array in batch.feeds.items()})
        (expected,), (found,) = run_plainly(original, batch.feeds), run(rewritten, batch.feeds)
        errors = [expected - truth, found - truth, found.astype(np.float32) - expected]
        sums += [float((error.astype(np.float64) ** 2).sum()) for error in errors]
        largest = max(largest, float(np.abs(truth).max()))
        assert np.abs(errors[2]).max() <= UNIT * largest
        assert np.array_equal(found.argmax(1), expected.argmax(1))
    theirs, ours, apart = np.sqrt(sums)
    assert 0 < ours <= 1.01 * theirs
    assert apart <= 0.05 * theirs
