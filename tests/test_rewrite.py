"""rewrite(): verdicts, selection, profitability, arguments, and what it leaves alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import pytest
from models_for_tests import conv_model, model, node, random_array
from rewriting import EXACT, attributes, ops, rewrite, rewrite_exactly

from drpass.errors import DrpassError
from drpass.operator.spec import OP_TYPE, ReuseParameters
from drpass.passes.plan import MIN_OUTPUT_CHANNELS, MIN_ROWS
from drpass.rewriting import UNCHECKED


def three_convs() -> onnx.ModelProto:
    """x → stem/conv → block/conv_a → block/conv_b → y, each 32 channels of 3 × 3."""
    names = ["stem/conv", "block/conv_a", "block/conv_b"]
    held, nodes, source = {}, [], "x"
    for index, name in enumerate(names):
        held[f"w{index}"] = random_array(32, 32, 3, 3)
        target = "y" if index == 2 else f"h{index}"
        nodes.append(node("Conv", [source, f"w{index}"], [target], name=name, pads=[1, 1, 1, 1]))
        source = target
    return model(nodes, {"x": ["N", 32, 20, 20]}, {"y": None}, held)


def replaced(proto: onnx.ModelProto, **options: Any) -> list[str]:
    return [verdict.node for verdict in rewrite(proto, **options).report.verdicts if verdict.replaced]


def verdict_of(proto: onnx.ModelProto, **options: Any):
    (verdict,) = rewrite(proto, **options).report.verdicts
    return verdict


def test_default_is_the_grid_with_its_parameters_in_the_node() -> None:
    found = attributes(rewrite(conv_model()).to_proto().graph.node[0])
    default = ReuseParameters()
    assert found["method"] == b"grid"
    assert found["scope"] == b"image"
    assert found["step"] == pytest.approx(default.step)
    assert found["sub_vector_length"] == default.sub_vector_length
    assert "hash_bits" not in found
    assert "seed" not in found


def test_parameters_of_lsh_are_in_the_node() -> None:
    parameters = ReuseParameters(method="lsh", scope="batch", sub_vector_length=8, hash_bits=12, seed=5)
    found = attributes(rewrite(conv_model(), parameters=parameters).to_proto().graph.node[0])
    assert (found["method"], found["scope"]) == (b"lsh", b"batch")
    assert (found["sub_vector_length"], found["hash_bits"], found["seed"]) == (8, 12, 5)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["stem/conv", "block/conv_a", "block/conv_b"]),
        ({"exclude": ["stem/*"]}, ["block/conv_a", "block/conv_b"]),
        ({"include": ["block/conv_?"]}, ["block/conv_a", "block/conv_b"]),
        ({"include": ["block/*"], "exclude": ["block/conv_a"]}, ["block/conv_b"]),
        ({"op_types": ["Gemm"]}, []),
        ({"op_types": ["Conv", "Gemm"], "exclude": ["*"]}, []),
    ],
)
def test_selection(options: dict[str, Any], expected: list[str]) -> None:
    assert replaced(three_convs(), **options) == expected


def test_reasons_of_the_selection() -> None:
    options = {"include": ["stem/conv", "block/*"], "exclude": ["block/conv_a"]}
    reasons = [verdict.reason for verdict in rewrite(three_convs(), **options).report.verdicts]
    assert reasons == ["", "excluded by the user", ""]
    assert rewrite(three_convs(), include=["stem/*"]).report.verdicts[1].reason == "not included by the user"
    assert rewrite(three_convs(), op_types=["Gemm"]).report.verdicts[0].reason == "op type Conv not chosen"


@pytest.mark.parametrize("option", ["include", "exclude"])
def test_selection_that_matches_no_node_names_near_ones(option: str) -> None:
    with pytest.raises(DrpassError, match=r"'block/conv_c' matches no .* there are block/conv_"):
        rewrite(three_convs(), **{option: ["block/conv_c"]})


def test_selection_may_name_a_node_that_is_replaced_already() -> None:
    once = rewrite(three_convs(), include=["stem/conv"]).to_proto()
    again = rewrite(once, exclude=["stem/conv"])
    assert [verdict.node for verdict in again.report.verdicts] == ["block/conv_a", "block/conv_b"]


def test_unknown_op_type_is_an_error() -> None:
    with pytest.raises(DrpassError, match="'Add' can't be replaced; op types are Conv, Gemm, MatMul"):
        rewrite(three_convs(), op_types=["Add"])


UNPROFITABLE = [
    (conv_model(group=32, channels=32), "depthwise (group = channels)"),
    (conv_model(outputs=16), f"too few output channels (16; at least {MIN_OUTPUT_CHANNELS})"),
    (
        conv_model(channels=32, outputs=48, group=2),
        f"too few output channels (24 a group; at least {MIN_OUTPUT_CHANNELS})",
    ),
    (conv_model(size=12), f"too few pixels (144; at least {MIN_ROWS})"),
]


@pytest.mark.parametrize(("proto", "expected"), UNPROFITABLE)
def test_node_that_is_not_expected_to_gain_is_kept(proto: onnx.ModelProto, expected: str) -> None:
    verdict = verdict_of(proto)
    assert (verdict.replaced, verdict.reason) == (False, expected)


@pytest.mark.parametrize("proto", [proto for proto, _ in UNPROFITABLE])
def test_exact_name_in_include_replaces_it_all_the_same(proto: onnx.ModelProto) -> None:
    assert verdict_of(proto, include=["conv"]).replaced
    assert not verdict_of(proto, include=["con*"]).replaced


@pytest.mark.parametrize("proto", [proto for proto, _ in UNPROFITABLE])
def test_exact_mode_replaces_it_all_the_same(proto: onnx.ModelProto) -> None:
    assert verdict_of(proto, parameters=EXACT).replaced


def dense_model(rows: Any) -> onnx.ModelProto:
    gemm = node("Gemm", ["x", "w"], ["y"], name="gemm")
    return model([gemm], {"x": [rows, 7]}, {"y": [rows, 64]}, {"w": random_array(7, 64)})


def test_matrix_product_with_a_symbolic_number_of_rows_is_kept_until_a_shape_says_it() -> None:
    assert verdict_of(dense_model("N")).reason == "the number of rows is not known (--shape gives it)"
    assert verdict_of(dense_model("N"), shapes={"x": [MIN_ROWS, 7]}).replaced
    assert verdict_of(dense_model("N"), shapes={"x": [1, 7]}).reason == f"too few rows (1; at least {MIN_ROWS})"


def test_convolution_of_unknown_size_is_replaced() -> None:
    proto = conv_model()
    for axis in (2, 3):
        proto.graph.input[0].type.tensor_type.shape.dim[axis].Clear()
    assert verdict_of(proto).replaced


def test_batch_scope_counts_the_pixels_of_all_images() -> None:
    parameters = ReuseParameters(scope="batch")
    assert verdict_of(conv_model(size=12), parameters=parameters, shapes={"x": [2, 3, 12, 12]}).replaced
    assert not verdict_of(conv_model(size=12), parameters=parameters).replaced


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"z": [1]}, "the model has no input 'z'; it has x"),
        ({"x": [1, 4, 20, 20]}, r"input 'x' has the shape .*; \[1, 4, 20, 20\] does not fit it"),
        ({"x": [1, 3]}, "does not fit it"),
        ({"x": [-1, 3, 20, 20]}, "does not fit it"),
    ],
)
def test_shapes_that_do_not_fit_are_an_error(shapes: dict[str, list[int]], message: str) -> None:
    with pytest.raises(DrpassError, match=message):
        rewrite(conv_model(), shapes=shapes)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("method", "magic"),
        ("scope", "world"),
        ("sub_vector_length", 0),
        ("step", 0.0),
        ("step", float("nan")),
        ("hash_bits", 65),
        ("seed", 2**63),
        ("max_remaining_ratio", 0.0),
        ("table_type", "int4"),
    ],
)
def test_parameter_out_of_range_is_an_error(name: str, value: Any) -> None:
    with pytest.raises(DrpassError, match=f"{name} can't be"):
        rewrite(conv_model(), parameters=ReuseParameters(**{name: value}))


def test_argument_is_not_changed() -> None:
    proto = three_convs()
    before = proto.SerializeToString(deterministic=True)
    rewrite(proto)
    assert proto.SerializeToString(deterministic=True) == before
    held = ir.from_proto(proto)
    rewrite(held)
    assert [item.op_type for item in held.graph] == ["Conv", "Conv", "Conv"]


def test_path_message_and_ir_give_the_same_result(tmp_path: Path) -> None:
    proto = three_convs()
    path = tmp_path / "model.onnx"
    onnx.save(proto, path)
    results = [rewrite(source) for source in (str(path), path, proto, ir.from_proto(proto))]
    assert all(result.to_proto() == results[0].to_proto() for result in results)
    assert [item.op_type for item in results[0].model.graph] == [OP_TYPE] * 3


def test_saved_model_is_the_result(tmp_path: Path) -> None:
    result = rewrite(three_convs())
    result.save(tmp_path / "out.onnx")
    assert onnx.load(tmp_path / "out.onnx") == result.to_proto()


def test_report_as_json_has_everything() -> None:
    proto = conv_model([node("Relu", ["conv_out"], ["y"])])
    report = json.loads(json.dumps(rewrite(proto).report.to_dict()))
    assert (report["replaced"], report["kept"]) == (1, 0)
    assert report["nodes"][0] == {
        "node": "conv", "op_type": "Conv", "graph": "", "replaced": True, "parameters": report["parameters"],
        "reason": "", "absorbed": ["y"], "x_layout": "NCHW", "y_layout": "NCHW",
    }  # fmt: skip
    assert report["notes"] == [UNCHECKED]


def test_report_of_an_unchanged_model_does_not_speak_of_accuracy() -> None:
    assert rewrite(conv_model(), exclude=["conv"]).report.notes == ()


def test_sparse_initializers_are_an_error_for_they_would_be_lost() -> None:
    proto = conv_model()
    values = onnx.numpy_helper.from_array(random_array(1), "sparse")
    indices = onnx.numpy_helper.from_array(onnx.numpy_helper.np.array([0]), "indices")
    proto.graph.sparse_initializer.append(onnx.helper.make_sparse_tensor(values, indices, [3]))
    with pytest.raises(DrpassError, match="sparse initializers"):
        rewrite(proto)


def test_training_information_is_an_error_for_it_would_be_lost() -> None:
    proto = conv_model()
    proto.training_info.add().algorithm.name = "training"
    with pytest.raises(DrpassError, match="training information"):
        rewrite(proto)


def test_model_that_contradicts_itself_is_an_error() -> None:
    proto = conv_model()
    proto.graph.node.append(node("Relu", ["x"], ["conv_out"]))
    with pytest.raises(DrpassError, match="the model is not a valid ONNX model"):
        rewrite(proto)


def test_verdicts_cover_every_candidate_in_graph_order() -> None:
    names = [verdict.node for verdict in rewrite_exactly(three_convs()).report.verdicts]
    assert names == ["stem/conv", "block/conv_a", "block/conv_b"]
    assert ops(rewrite_exactly(three_convs()).to_proto()) == [OP_TYPE] * 3
