"""Models whose nodes stand in an order that ONNX Runtime takes and ONNX does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from hypothesis import given
from hypothesis import strategies as st
from models_for_tests import function_model, if_model, model, node, random_array

from drpass.order import put_in_order
from drpass.rewriting import rewrite
from drpass.runtime import session


def network() -> onnx.ModelProto:
    nodes = [
        node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
        node("Relu", ["a"], ["b"]),
        node("Sigmoid", ["a"], ["c"]),
        node("Add", ["b", "c"], ["d"]),
        node("Conv", ["d", "w"], ["y"], pads=[1, 1, 1, 1]),
    ]
    return model(nodes, {"x": [1, 16, 8, 8]}, {"y": [1, 16, 8, 8]}, {"w": random_array(16, 16, 3, 3)})


def with_order(proto: onnx.ModelProto, order: list[int]) -> onnx.ModelProto:
    shuffled = onnx.ModelProto()
    shuffled.CopyFrom(proto)
    del shuffled.graph.node[:]
    shuffled.graph.node.extend(proto.graph.node[index] for index in order)
    return shuffled


@given(st.permutations(range(5)))
def test_any_order_becomes_one_that_the_checker_takes(order: list[int]) -> None:
    shuffled = with_order(network(), order)
    put_in_order(shuffled)
    onnx.checker.check_model(shuffled)
    names = [item.name for item in shuffled.graph.node]
    assert names in ([*"abcdy"], [*"acbdy"])


def test_models_in_order_keep_their_bytes() -> None:
    for proto in (network(), if_model(), function_model()):
        before = proto.SerializeToString(deterministic=True)
        put_in_order(proto)
        assert proto.SerializeToString(deterministic=True) == before


def test_what_a_subgraph_reads_comes_before_it() -> None:
    proto = if_model()
    next(value for value in proto.graph.input if value.name == "x").name = "first"
    proto.graph.node.append(node("Relu", ["first"], ["x"]))
    put_in_order(proto)
    assert [item.op_type for item in proto.graph.node] == ["Relu", "If"]


def test_nodes_that_read_each_other_stay_as_they_are() -> None:
    circle = [node("Relu", ["b"], ["a"]), node("Relu", ["a"], ["b"]), node("Relu", ["x"], ["y"])]
    proto = model(circle, {"x": [1]}, {"y": [1]})
    put_in_order(proto)
    assert [item.name for item in proto.graph.node] == ["a", "b", "y"]


def test_file_out_of_order_is_rewritten_and_gives_the_same(tmp_path: Path) -> None:
    path = tmp_path / "shuffled.onnx"
    path.write_bytes(with_order(network(), [4, 3, 2, 1, 0]).SerializeToString())
    result = rewrite(path, include=["a", "y"])
    assert result.report.replaced == 2
    x = random_array(1, 16, 8, 8)
    expected = session(path, threads=1).run(None, {"x": x})[0]
    found = session(result.to_proto().SerializeToString(), threads=1).run(None, {"x": x})[0]
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()
