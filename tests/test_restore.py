"""Restoring: the original computation in ONNX operators, to the bit where nothing was folded; and what is refused."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from chain_nets import Net, networks
from coverage_table import run_plainly
from hypothesis import given, settings
from models_for_tests import conv_model, function_model, if_model, loop_model, model, node, random_array
from onnx import helper, numpy_helper
from rewriting import EXACT, attributes, ops, rewrite_exactly

from drpass.errors import DrpassError
from drpass.model_check import fault
from drpass.operator.packing import pack_weights
from drpass.operator.spec import DOMAIN, OP_TYPE, ReuseParameters
from drpass.replay import METADATA_KEY
from drpass.restoring import restore
from drpass.rewriting import rewrite

GRID = ReuseParameters(step=0.5)
X = random_array(2, 8, 12, 12)
#: What `Net` and the models of models_for_tests are run on.
FEEDS = {"x": X}


def round_trip(
    proto: onnx.ModelProto, feeds: Mapping[str, npt.NDArray[Any]], parameters: ReuseParameters = EXACT
) -> onnx.ModelProto:
    """Rewrite and restore; the result is plain and valid, gives the bits of the original, and is rewritten to the same.

    Where constants were folded, it gives the bits to rounding.
    """
    rewritten = rewrite(proto, parameters=parameters).to_proto()
    assert DOMAIN in {item.domain for item in rewritten.opset_import}
    restored = restore(rewritten).to_proto()
    text = str(restored)
    assert f'domain: "{DOMAIN}"' not in text
    assert fault(restored, strict=True) == fault(proto, strict=True)
    assert (restored.graph.input, restored.graph.output) == (proto.graph.input, proto.graph.output)
    # A mean over all pixels comes back as GlobalAveragePool, which adds in another order.
    folded = not set(constants(restored).values()) <= set(constants(proto).values()) or "ReduceMean" in ops(proto)
    # Optimizations depend on where a constant lies: in the graph, or in a branch that reads it.
    outputs = (run_plainly(each, feeds, optimized=False) for each in (proto, restored))
    for expected, found in zip(*outputs, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6 * np.abs(expected).max() if folded else 0)
    assert in_order(rewrite(restored, parameters=parameters).to_proto()) == in_order(rewritten)
    return restored


def in_order(proto: onnx.ModelProto) -> onnx.ModelProto:
    """With the initializers by name."""
    proto.graph.initializer.sort(key=lambda tensor: tensor.name)
    return proto


def constants(proto: onnx.ModelProto) -> dict[str, bytes]:
    return {tensor.name: numpy_helper.to_array(tensor).tobytes() for tensor in proto.graph.initializer}


def shapes(proto: onnx.ModelProto) -> dict[str, list[Any]]:
    return {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in proto.graph.value_info
    }


def all_layers() -> Net:
    """A chain with every kind of node that may stand in one."""
    net = Net()
    net.constants.append(numpy_helper.from_array(np.float32(0.5), "half"))
    net.conv("x", "a", 8, 32)
    net.node("Relu", ["a"], "b")
    net.node("MaxPool", ["b"], "c", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    net.node("LRN", ["c"], "d", size=5, alpha=0.5)
    net.conv("d", "e", 32, 32, group=2)
    net.node("AveragePool", ["e"], "f", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)
    net.conv("f", "g", 32, 16, kernel=1)
    net.conv("f", "h", 32, 32)
    net.node("Concat", ["g", "h"], "i", axis=1)
    net.node("GlobalAveragePool", ["i"], "j")
    net.node("Sigmoid", ["j"], "k")
    net.node("Mul", ["i", "k"], "l")
    net.node("Mul", ["l", "half"], "m")
    net.conv("m", "n", 48, 48)
    net.node("Add", ["n", "m"], "o")
    net.node("GlobalMaxPool", ["o"], "p")
    net.node("AveragePool", ["o"], "q", kernel_shape=[2, 2], auto_pad="SAME_UPPER")
    return net


# The computation


def test_chain_comes_back_with_its_shapes_and_operators() -> None:
    proto = all_layers().model("p", "q")
    restored = round_trip(proto, FEEDS)
    assert ops(restored) == ops(proto)
    assert shapes(restored) == shapes(proto)
    assert not [dims for dims in shapes(restored).values() if len(dims) == 5]


@settings(max_examples=60)
@given(networks())
def test_any_network_comes_back_to_the_bit(proto: onnx.ModelProto) -> None:
    round_trip(proto, FEEDS)


@pytest.mark.parametrize("make", [if_model, loop_model, function_model])
def test_subgraphs_and_functions_come_back(make: Any) -> None:
    feeds = {"x": random_array(1, 3, 20, 20)} | ({"flag": np.array(True)} if make is if_model else {})
    proto = make()
    restored = round_trip(proto, feeds)
    assert [[item.op_type for item in found.node] for found in restored.functions] == [
        [item.op_type for item in found.node] for found in proto.functions
    ]
    assert [found.opset_import for found in restored.functions] == [found.opset_import for found in proto.functions]


@pytest.mark.parametrize(
    ("gate", "options", "product"),
    [
        ("Sigmoid", {}, True),
        ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}, True),
        ("HardSigmoid", {"alpha": 0.3, "beta": 0.25}, False),
        ("HardSwish", {}, False),
    ],
)
def test_activations_of_several_operators_come_back(gate: str, options: dict[str, float], product: bool) -> None:
    nodes = [node(gate, ["conv_out"], ["gate" if product else "y"], **options)]
    nodes += [node("Mul", ["conv_out", "gate"], ["y"])] if product else []
    restored = round_trip(conv_model(nodes), {"x": random_array(1, 3, 20, 20)})
    assert ops(restored) == ["Conv", *(["HardSigmoid", "Mul"] if gate == "HardSwish" else [n.op_type for n in nodes])]


def test_weights_and_names_are_those_of_the_original() -> None:
    proto = conv_model([node("LeakyRelu", ["conv_out"], ["y"], alpha=0.2)], channels=6, group=3, outputs=33)
    restored = round_trip(proto, {"x": random_array(2, 6, 20, 20)})
    assert constants(restored) == constants(proto)
    assert restored.graph.node[0].name == "conv"
    assert attributes(restored.graph.node[0])["group"] == 3
    assert attributes(restored.graph.node[1]) == {"alpha": np.float32(0.2)}


def test_weights_that_nodes_share_are_unpacked_once() -> None:
    nodes = [node("Conv", ["x", "w"], ["a"]), node("Conv", ["x", "w"], ["b"], strides=[1, 1])]
    proto = model([*nodes, node("Mul", ["a", "b"], ["y"])], {"x": [1, 6, 20, 20]}, {"y": None})
    proto.graph.initializer.append(numpy_helper.from_array(random_array(32, 6, 1, 1), "w"))
    assert constants(round_trip(proto, {"x": random_array(1, 6, 20, 20)})) == constants(proto)


@pytest.mark.parametrize("opset", [7, 10, 11, 17])
@pytest.mark.parametrize("limits", [(0.0, 6.0), (None, 0.5), (-0.5, None)])
def test_clip_comes_back_in_the_form_of_its_opset(opset: int, limits: tuple[float | None, float | None]) -> None:
    given_limits = {name: limit for name, limit in zip(("min", "max"), limits, strict=True) if limit is not None}
    if opset < 11:
        after, held = node("Clip", ["conv_out"], ["y"], **given_limits), {}
    else:
        held = {name: np.float32(limit) for name, limit in given_limits.items()}
        after = node("Clip", ["conv_out", *(name if name in held else "" for name in ("min", "max"))], ["y"])
    proto = conv_model([after], held, opset=opset)
    clip = round_trip(proto, {"x": random_array(1, 3, 20, 20)}).graph.node[1]
    assert clip.op_type == "Clip"
    assert attributes(clip) == {name: attributes(after)[name] for name in given_limits if opset < 11}
    assert [bool(name) for name in clip.input[1:]] == [bool(name) for name in after.input[1:]][: len(clip.input) - 1]


@pytest.mark.parametrize("opset", [9, 13])
@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("c", [None, "row", "matrix"])
def test_gemm_comes_back(opset: int, transposed: int, c: str | None) -> None:
    if c is None and opset < 11:
        c = "row"
    held = {"w": random_array(7, 20), "row": random_array(20), "matrix": random_array(5, 20)}
    inputs = ["x", "w", *([c] if c else [])]
    proto = model(
        [node("Gemm", inputs, ["g"], transA=transposed), node("Relu", ["g"], ["y"])],
        {"x": [7, 5] if transposed else [5, 7]},
        {"y": None},
        {name: array for name, array in held.items() if name in inputs},
        opset=opset,
    )
    x = random_array(7, 5) if transposed else random_array(5, 7)
    rewritten = rewrite_exactly(proto).to_proto()
    restored = restore(rewritten).to_proto()
    assert fault(restored, strict=True) == fault(proto, strict=True)
    (expected,), (found,) = run_plainly(proto, {"x": x}), run_plainly(restored, {"x": x})
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    # Which of both forms the original had is not recorded.
    weights = constants(restored)["w"]
    assert weights in (held["w"].tobytes(), np.ascontiguousarray(held["w"].T).tobytes())
    assert not any(not np.frombuffer(data, np.float32).any() for data in constants(restored).values() if len(data) > 4)
    uses_gemm = transposed or c == "row"
    assert ops(restored)[0] == ("Gemm" if uses_gemm else "MatMul")


def test_batched_matmul_and_its_bias_come_back_as_matmul_and_add() -> None:
    nodes = [node("MatMul", ["x", "w"], ["m"]), node("Add", ["m", "b"], ["s"]), node("Sigmoid", ["s"], ["y"])]
    held = {"w": random_array(7, 20), "b": random_array(20)}
    proto = model(nodes, {"x": [2, 5, 7]}, {"y": None}, held)
    restored = round_trip(proto, {"x": random_array(2, 5, 7)})
    assert ops(restored) == ["MatMul", "Add", "Sigmoid"]
    assert sorted(constants(restored).values()) == sorted(constants(proto).values())


def test_nodes_that_one_comes_back_as_have_names_of_their_own() -> None:
    """A bias and a residual are two Adds; another node may have the name that one of them would get."""
    nodes = [
        node("Relu", ["x"], ["r"], name="p_add"),
        node("MatMul", ["r", "w"], ["m"], name="p"),
        node("Add", ["m", "b"], ["s"], name="q"),
        node("Add", ["s", "r"], ["y"], name="t"),
    ]
    held = {"w": random_array(7, 7), "b": random_array(7)}
    proto = model(nodes, {"x": [2, 5, 7]}, {"y": None}, held)
    restored = round_trip(proto, {"x": random_array(2, 5, 7)})
    assert ops(restored) == ["Relu", "MatMul", "Add", "Add"]
    assert [entry.name for entry in restored.graph.node] == ["p_add", "p", "p_add_2", "p_add_3"]


def test_residual_comes_back_as_add_without_the_bias_of_zeros() -> None:
    net = Net()
    net.conv("x", "a", 8, 8)
    net.node("Add", ["a", "x"], "s")
    net.node("Relu", ["s"], "y")
    proto = net.model("y")
    restored = round_trip(proto, FEEDS)
    assert ops(restored) == ["Conv", "Add", "Relu"]
    assert constants(restored) == constants(proto)


def test_folded_batch_normalization_stays_folded_and_computes_the_same() -> None:
    held = {f"s{index}": np.abs(random_array(32, seed=index)) + np.float32(0.1) for index in range(4)}
    proto = conv_model([node("BatchNormalization", ["conv_out", *held], ["y"])], held)
    result = restore(rewrite_exactly(proto).to_proto())
    assert ops(result.to_proto()) == ["Conv"]
    assert any("stays folded" in note for note in result.report.notes)
    x = {"x": random_array(1, 3, 20, 20)}
    (expected,), (found,) = run_plainly(proto, x), run_plainly(result.to_proto(), x)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_nodes_that_clustered_become_the_exact_operators_that_were_meant() -> None:
    proto = all_layers().model("p")
    result = restore(rewrite(proto, parameters=GRID, include=["a", "e", "h", "n"]).to_proto())
    for expected, found in zip(run_plainly(proto, FEEDS), run_plainly(result.to_proto(), FEEDS), strict=True):
        np.testing.assert_array_equal(found, expected)
    methods = [found.parameters.method for found in result.report.nodes if found.parameters]
    assert methods == ["grid"] * 4
    assert "nodes that clustered, and compute exactly now what they approximated: 4" in result.report.notes[0]


def test_metadata_stays_and_what_a_plan_wrote_goes() -> None:
    proto = conv_model([node("Relu", ["conv_out"], ["y"])], ir_version=10)
    proto.producer_version, proto.doc_string, proto.model_version = "2", "a model", 7
    proto.metadata_props.add(key="author", value="someone")
    proto.graph.node[0].metadata_props.add(key="scope", value="layer1")
    proto.graph.node[0].doc_string = "first"
    rewritten = rewrite_exactly(proto).to_proto()
    rewritten.graph.node[0].metadata_props.add(key=METADATA_KEY, value="{}")
    restored = restore(rewritten).to_proto()
    assert restored.graph.node[0].metadata_props == proto.graph.node[0].metadata_props
    assert restored.graph.node[0].doc_string == "first"
    assert restored.opset_import == proto.opset_import
    for copy in (restored, proto):
        copy.ClearField("graph")
    assert restored == proto


def test_initializers_of_an_old_model_are_inputs_again() -> None:
    proto = conv_model(ir_version=3)
    for tensor in proto.graph.initializer:
        proto.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    restored = restore(rewrite_exactly(proto).to_proto()).to_proto()
    assert {value.name for value in restored.graph.input} == {value.name for value in proto.graph.input}


def test_nodes_without_names_stay_without() -> None:
    proto = conv_model([node("Relu", ["conv_out"], ["y"])])
    for item in proto.graph.node:
        item.ClearField("name")
    result = restore(rewrite_exactly(proto).to_proto())
    assert [item.name for item in result.to_proto().graph.node] == ["", ""]
    assert [found.node for found in result.report.nodes] == ["y"]


def test_model_without_nodes_of_drpass_comes_back_unchanged_and_says_so() -> None:
    proto = conv_model()
    result = restore(proto)
    assert result.to_proto().SerializeToString() == proto.SerializeToString()
    assert result.report.nodes == ()
    assert "it is unchanged" in result.report.notes[0]


@pytest.mark.parametrize("name", ["squeezenet11_imagenet", "waifu2x_upconv7_photo_x2"])
@pytest.mark.parametrize("parameters", [EXACT, GRID])
def test_trained_network_comes_back_to_the_bit(name: str, parameters: ReuseParameters) -> None:
    path = Path(os.environ.get("DRPASS_MODELS", "")) / f"{name}.onnx"
    if not path.is_file():
        pytest.skip(f"DRPASS_MODELS names no folder with {name}.onnx")
    proto = onnx.load(path)
    shape = [dim.dim_value or 1 for dim in proto.graph.input[0].type.tensor_type.shape.dim]
    shape[2:] = [size if size > 1 else 64 for size in shape[2:]]
    restored = round_trip(proto, {proto.graph.input[0].name: random_array(*shape)}, parameters)
    assert constants(restored) == constants(proto)
    assert sorted(shapes(restored).values(), key=str) == sorted(shapes(proto).values(), key=str)
    assert ops(restored) == ops(proto)


# What is refused


def reuse_model(
    op_type: str = OP_TYPE,
    inputs: tuple[str, ...] = ("x", "w"),
    outputs: tuple[str, ...] = ("a",),
    after: onnx.NodeProto | None = None,
    weights: npt.NDArray[Any] | None = None,
    opset: int = 17,
    **settings_: Any,
) -> onnx.ModelProto:
    """A function of DeepReuseGemm "reuse" and Neg that nothing calls: no shape inference sees its mistakes."""
    weights = pack_weights(random_array(16, 8, 3, 3)) if weights is None else weights
    settings_ = {"kernel_shape": [3, 3], "output_channels": 16, **settings_}
    nodes = [
        node("Constant", [], ["w"], value=numpy_helper.from_array(weights)),
        helper.make_node(op_type, inputs, outputs, name="reuse", domain=DOMAIN, **settings_),
        after or node("Neg", ["a"], ["y"]),
    ]
    imports = [helper.make_opsetid("", opset), helper.make_opsetid(DOMAIN, 1)]
    body = helper.make_function("local", "F", ["x"], ["y"], nodes, imports)
    domains = {"local": 1, DOMAIN: 1}
    return model(
        [node("Neg", ["x"], ["y"])], {"x": [1, 8, 12, 12]}, {"y": None}, opset=opset, functions=[body], domains=domains
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"op_type": "Unknown"}, "there is no operator Unknown"),
        ({"activation": "gelu"}, "there is no activation 'gelu'"),
        ({"activation": "clip"}, "activation 'clip' needs 2 parameters"),
        ({"y_layout": "NHWC"}, "unknown layout 'NHWC'"),
        ({"x_layout": "NCHW16c"}, "it reads 'x' as NCHW16c, but that is NCHW"),
        ({"output_channels": 40}, "weights [1, 1, 9, 8, 16] are no packing of [40, 8, 3, 3]"),
        ({"output_channels": -1}, "are no packing of [-1, 8, 3, 3]"),
        ({"kernel_shape": [5, 5]}, "are no packing of [16, 8, 5, 5]"),
        ({"group": 2}, "are no packing of [16, 8, 3, 3] in 2 groups"),
        ({"group": 0}, "are no packing of [16, 8, 3, 3] in 0 groups"),
        ({"activation": "relu", "opset": 6}, "it needs opset 7"),
        ({"weights": random_array(16, 8, 3, 3)}, "weights have 4 axes instead of 5"),
        ({"weights": pack_weights(random_array(16, 8, 3, 3)).astype(np.float64)}, "unsupported type"),
        ({"inputs": ("x", "x")}, "weights are not constant"),
        ({"y_layout": "NCHW16c", "after": node("Softmax", ["a"], ["y"])}, "y: unknown operator"),
        ({"y_layout": "NCHW16c", "after": node("Concat", ["a", "a"], ["y"], axis=-3)}, "y: it does not join channels"),
        ({"y_layout": "NCHW16c"}, "y: it writes a graph output in NCHW16c"),
        (
            {"outputs": ("a", "stats"), "after": node("Neg", ["stats"], ["y"])},
            "its statistics are read, which no ONNX operator gives",
        ),
    ],
)
def test_what_drpass_does_not_write_is_refused_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DrpassError) as caught:
        restore(reuse_model(**changes))
    assert message in str(caught.value)
    assert str(caught.value).startswith("the model can't be restored: function local::F/")
    assert "\n" not in str(caught.value)


def test_model_of_the_refusals_is_restored_without_them() -> None:
    restored = restore(reuse_model()).to_proto()
    assert [item.op_type for item in restored.functions[0].node] == ["Constant", "Conv", "Neg"]
    assert {item.domain for item in (*restored.opset_import, *restored.functions[0].opset_import)} == {"", "local"}


def test_model_that_the_schema_refuses_is_refused_in_one_line() -> None:
    proto = rewrite_exactly(conv_model()).to_proto()
    proto.graph.initializer[0].dims[0] = 2
    with pytest.raises(DrpassError, match=r"^the model is not a valid ONNX model: ") as caught:
        restore(proto)
    assert "\n" not in str(caught.value)


def test_pool_whose_channels_are_not_those_of_its_input_is_refused() -> None:
    proto = rewrite_exactly(all_layers().model("p", "q")).to_proto()
    (pool,) = [item for item in proto.graph.node if item.name == "c"]
    (channels,) = [item for item in pool.attribute if item.name == "channels"]
    channels.i = 20  # two blocks of 16 as well: no shape says that it is wrong
    with pytest.raises(DrpassError, match=r"restored: c: its channels are not those of its input"):
        restore(proto)


def test_constant_of_a_type_that_there_is_not_is_refused() -> None:
    proto = reuse_model()
    proto.functions[0].node[0].attribute[0].t.data_type = -1
    with pytest.raises(DrpassError, match=r"weights can't be read \(-1 is not a valid DataType\)"):
        restore(proto)
