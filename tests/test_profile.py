"""Times of kernels by ONNX Runtime's profile: under which name a node of the model is found there."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from models_for_tests import conv_model, loop_model, model, node, random_array

from drpass import profile, rewrite
from drpass.errors import DrpassError
from drpass.profile import kernel_times, named, original_names, time_of
from drpass.tensors import Feeds

X = random_array(2, 3, 20, 20)


def find(proto: onnx.ModelProto, name: str) -> onnx.NodeProto:
    return next(entry for entry in proto.graph.node if entry.name == name)


def times_of(proto: onnx.ModelProto, *names: str, feeds: Feeds | None = None) -> list[float | None]:
    times = kernel_times(proto, 3 * [feeds or {"x": X}], 1)
    return [time_of(times, original_names(proto, find(proto, name))) for name in names]


@pytest.mark.parametrize("fused", ["Relu", "LeakyRelu", "Sigmoid", "Tanh"])
def test_convolution_is_found_with_the_activation_that_is_fused(fused: str) -> None:
    proto = conv_model([node(fused, ["conv_out"], ["y"])])
    assert original_names(proto, find(proto, "conv")) == ["conv", "conv_out", "y"]
    (time,) = times_of(proto, "conv")
    assert time is not None
    assert time > 0


def test_convolution_is_found_behind_normalisation_and_residual() -> None:
    scale = random_array(32) ** 2
    after = [
        node("BatchNormalization", ["conv_out", "scale", "zero", "zero", "scale"], ["normal"]),
        node("Add", ["normal", "shift"], ["sum"]),
        node("Relu", ["sum"], ["y"]),
    ]
    proto = conv_model(after, {"scale": scale, "zero": 0 * scale, "shift": random_array(1, 32, 1, 1)})
    assert original_names(proto, find(proto, "conv")) == ["conv", "conv_out", "normal", "sum", "y"]
    assert times_of(proto, "conv") != [None]


def test_names_end_at_a_value_with_other_uses_or_that_is_an_output() -> None:
    after = [node("Relu", ["conv_out"], ["r"]), node("Neg", ["r"], ["y"])]
    proto = conv_model(after)
    assert original_names(proto, find(proto, "conv")) == ["conv", "conv_out", "r"]
    proto.graph.output.append(onnx.helper.make_tensor_value_info("conv_out", onnx.TensorProto.FLOAT, None))
    assert original_names(proto, find(proto, "conv")) == ["conv", "conv_out"]
    twice = conv_model([node("Relu", ["conv_out"], ["r"]), node("Add", ["r", "conv_out"], ["y"])])
    assert original_names(twice, find(twice, "conv")) == ["conv", "conv_out"]


def test_matrix_product_is_found_with_its_bias_activation_or_transposition() -> None:
    nodes = [
        node("MatMul", ["x", "w"], ["product"], name="first"),
        node("Add", ["product", "b"], ["sum"]),
        node("Relu", ["sum"], ["r"]),
        node("Transpose", ["r"], ["turned"], perm=[1, 0]),
        node("MatMul", ["turned", "v"], ["second_out"], name="second"),
        node("Gemm", ["second_out", "u", "c"], ["third_out"], name="third"),
        node("Sigmoid", ["third_out"], ["y"]),
    ]
    constants = {
        "w": random_array(32, 48),
        "b": random_array(48),
        "v": random_array(64, 16),
        "u": random_array(16, 8),
        "c": random_array(8),
    }
    proto = model(nodes, {"x": [64, 32]}, {"y": None}, constants)
    assert None not in times_of(proto, "first", "second", "third", feeds={"x": random_array(64, 32)})


def test_reuse_node_is_found_by_the_name_of_what_it_replaces() -> None:
    result = rewrite(conv_model([node("Relu", ["conv_out"], ["y"])], outputs=64), include=["conv"])
    times = kernel_times(result.to_proto(), 3 * [{"x": X}], 1)
    assert time_of(times, ["conv"]) is not None
    assert time_of(times, ["none"]) is None


def test_warm_up_does_not_count_and_the_median_of_the_rest_does(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [{"a": 9.0, "b": 9.0}, {"a": 1.0}, {"a": 3.0, "b": 5.0}, {"a": 2.0, "b": 6.0}]
    monkeypatch.setattr(profile, "_split_runs", lambda path: runs)
    proto = conv_model(result="conv_out")
    assert kernel_times(proto, 4 * [{"x": X}], 1) == {"a": 2, "b": 5.5}
    assert kernel_times(proto, 4 * [{"x": X}], 1, warmup=3) == {"a": 2, "b": 6}
    with pytest.raises(DrpassError, match="more inputs than the 4 that warm up, not 4"):
        kernel_times(proto, 4 * [{"x": X}], 1, warmup=4)


def test_kernels_of_one_name_are_summed_within_a_run_and_runs_are_told_apart(tmp_path: Path) -> None:
    names = [
        "fused a_kernel_time",
        "body_kernel_time",
        "body_kernel_time",
        "model_run",
        "b_nchwc_kernel_time",
        "model_run",
    ]
    events = [{"name": name, "dur": 1000 * (index + 1)} for index, name in enumerate(names)]
    (tmp_path / "profile.json").write_text(json.dumps(events))
    assert profile._split_runs(tmp_path / "profile.json") == [{"a": 1, "body": 5}, {"b": 5}]


def test_body_of_a_loop_counts_all_its_turns() -> None:
    times = kernel_times(loop_model(), 2 * [{"x": X[:1]}], 1)
    assert 0 < times["conv_body"] < times["repeat"]


def test_nodes_without_a_name_get_that_of_their_output() -> None:
    proto = conv_model([node("Relu", ["conv_out"], ["y"])])
    for entry in proto.graph.node:
        entry.name = ""
    copy = named(proto)
    assert [entry.name for entry in copy.graph.node] == ["conv_out", "y"]
    assert [entry.name for entry in proto.graph.node] == ["", ""]
    assert times_of(copy, "conv_out") != [None]
