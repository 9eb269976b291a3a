"""inspect(): the table of nodes, without running anything."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from models_for_tests import conv_model, function_model, if_model, model, node, random_array
from rewriting import EXACT, rewrite

import drpass
from drpass.errors import DrpassError
from drpass.inspection import NodeInfo, inspect
from drpass.operator.spec import OP_TYPE


def table(proto: onnx.ModelProto, folder: Path, **options) -> dict[str, NodeInfo]:
    path = folder / "model.onnx"
    onnx.save(proto, path)
    return {line.node: line for line in inspect(path, **options)}


def network() -> onnx.ModelProto:
    """x [N, 4, 20, 20] → conv (grouped, 3 × 3, 40) → Relu → GlobalAveragePool → Flatten → fc (10) → y."""
    held = {"w": random_array(40, 2, 3, 3), "fc": random_array(40, 10)}
    nodes = [
        node("Conv", ["x", "w"], ["c"], name="conv", group=2, strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Relu", ["c"], ["r"]),
        node("GlobalAveragePool", ["r"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "fc"], ["y"], name="fc"),
    ]
    return model(nodes, {"x": ["N", 4, 20, 20]}, {"y": ["N", 10]}, held)


def test_shapes_and_multiply_adds(tmp_path: Path) -> None:
    lines = table(network(), tmp_path)
    assert list(lines) == ["conv", "fc"]
    conv, fc = lines["conv"], lines["fc"]
    assert (conv.input_shape, conv.output_shape) == (("N", 4, 20, 20), ("N", 40, 10, 10))
    assert conv.macs == 40 * 10 * 10 * 2 * 3 * 3
    assert fc.macs == 40 * 10
    assert conv.share == pytest.approx(conv.macs / (conv.macs + 400))
    assert conv.share + fc.share == pytest.approx(1)


def test_multiply_adds_of_a_chain_are_those_of_the_original(tmp_path: Path) -> None:
    held = {"v": random_array(40, 4, 3, 3), "w": random_array(24, 40, 1, 1)}
    nodes = [
        node("Conv", ["x", "v"], ["a"], name="first"),
        node("MaxPool", ["a"], ["b"], kernel_shape=[2, 2]),
        node("Conv", ["b", "w"], ["y"], name="second"),
    ]
    proto = model(nodes, {"x": ["N", 4, 20, 20]}, {"y": None}, held)
    before, after = table(proto, tmp_path), table(rewrite(proto, parameters=EXACT).to_proto(), tmp_path)
    assert {name: line.macs for name, line in after.items()} == {name: line.macs for name, line in before.items()}
    assert after["first"].output_shape == ("N", 3, 18, 18, 16)
    assert [line.verdict for line in after.values()] == ["exact, NCHW→NCHW16c", "exact, NCHW16c→NCHW"]


def test_given_shapes_are_used(tmp_path: Path) -> None:
    lines = table(network(), tmp_path, shapes={"x": [8, 4, 20, 20]})
    assert lines["conv"].output_shape == (8, 40, 10, 10)
    assert lines["conv"].macs == 8 * 40 * 100 * 18


def test_unknown_sizes_are_none(tmp_path: Path) -> None:
    proto = conv_model()
    proto.graph.input[0].type.tensor_type.shape.dim[2].Clear()
    line = table(proto, tmp_path)["conv"]
    assert line.output_shape == ("N", 32, None, 18)
    assert line.macs is None
    assert line.share is None


def test_verdicts_are_those_of_rewrite(tmp_path: Path) -> None:
    proto = network()
    lines = table(proto, tmp_path)
    for verdict in drpass.rewrite(proto).report.verdicts:
        line = lines[verdict.node]
        assert line.replaceable == verdict.replaced
        if not verdict.replaced:
            assert line.verdict == f"keep: {verdict.reason}"
    assert lines["fc"].verdict == "keep: a matrix product gains nothing without clustering"


def test_reuse_nodes_show_their_parameters_and_the_same_multiply_adds(tmp_path: Path) -> None:
    proto = conv_model([node("Relu", ["conv_out"], ["y"])], channels=4, group=2, pads=[1, 1, 1, 1])
    before = table(proto, tmp_path, shapes={"x": [2, 4, 20, 20]})["conv"]
    result = rewrite(proto, include=["conv"])
    after = table(result.to_proto(), tmp_path, shapes={"x": [2, 4, 20, 20]})["conv"]
    assert after.op_type == OP_TYPE
    assert after.macs == before.macs
    assert after.output_shape == before.output_shape
    assert after.verdict == f"{result.report.parameters.describe()}, relu"


def test_matrix_form_has_the_multiply_adds_of_the_gemm(tmp_path: Path) -> None:
    gemm = node("Gemm", ["x", "w"], ["y"], transA=1)
    proto = model([gemm], {"x": [7, 5]}, {"y": [5, 20]}, {"w": random_array(7, 20)})
    before = table(proto, tmp_path)["y"]
    after = table(rewrite(proto, include=["y"]).to_proto(), tmp_path)["y"]
    assert before.macs == after.macs == 5 * 7 * 20


def test_every_node_is_shown_where_asked_for(tmp_path: Path) -> None:
    lines = table(network(), tmp_path, every_node=True)
    assert [line.op_type for line in lines.values()] == ["Conv", "Relu", "GlobalAveragePool", "Flatten", "Gemm"]
    assert lines["r"].macs is None
    assert lines["r"].verdict == ""


def test_subgraphs_and_functions_are_shown_with_their_path(tmp_path: Path) -> None:
    assert {line.graph for line in table(if_model(), tmp_path).values()} == {"choose/then_branch", "choose/else_branch"}
    assert table(function_model(), tmp_path)["conv_block"].graph == "function local::Block"


def test_unknown_input_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DrpassError, match="no input 'z'"):
        table(network(), tmp_path, shapes={"z": [1]})
