"""BatchNormalization that no convolution absorbs: in a chain it becomes a depthwise convolution of one tap."""

from __future__ import annotations

import numpy as np
import pytest
from chain_nets import EXACT, Net, batchnorm, blocked, check, types
from onnx import numpy_helper

from drpass import restore
from drpass.operator.spec import DEPTHWISE
from drpass.rewriting import rewrite


def dense_layers() -> Net:
    """What each layer makes is read by all that follow, as in DenseNet: "a" and "e"."""
    net = Net()
    net.conv("x", "a", 8, 32)
    net.node("Relu", [batchnorm(net, "a", "b", 32)], "c")
    net.conv("c", "d", 32, 16)
    net.node("Concat", ["a", "d"], "e", axis=1)
    return net


def test_works_on_blocks_with_the_relu_that_alone_reads_it() -> None:
    net = dense_layers()
    net.node("Relu", [batchnorm(net, "e", "f", 48)], "g")
    net.conv("g", "h", 48, 16)
    result = check(net.model("h"))
    assert types(result) == ["DeepReuseGemm", DEPTHWISE, "DeepReuseGemm", "Concat", DEPTHWISE, "DeepReuseGemm"]
    assert blocked(result) == set("acdeg")
    verdict = next(verdict for verdict in result.report.verdicts if verdict.node == "f")
    assert (verdict.op_type, verdict.absorbed, verdict.layouts) == ("BatchNormalization", ("g",), ("NCHW16c",) * 2)
    assert not [tensor for tensor in result.to_proto().graph.initializer if tensor.name.endswith("_variance")]


@pytest.mark.parametrize("channels", [16, 24])
def test_other_readers_of_what_it_writes_and_the_end_of_a_chain(channels: int) -> None:
    net = Net()
    net.conv("x", "a", 8, channels)
    net.conv("a", "b", channels, 16)
    batchnorm(net, "a", "c", channels)
    net.node("Relu", ["c"], "d")
    net.node("Softmax", ["c"], "e", axis=1)
    result = check(net.model("b", "d", "e"))
    assert sorted(types(result)) == ["DeepReuseGemm", "DeepReuseGemm", DEPTHWISE, "Relu", "Softmax"]
    assert blocked(result) == {"a"}


@pytest.mark.parametrize("wrong", ["training", "statistics", "variance", "opset"])
def test_what_is_no_function_of_one_number_ends_the_chain(wrong: str) -> None:
    net = Net()
    net.conv("x", "a", 8, 16)
    net.conv("a", "d", 16, 16)
    batchnorm(net, "a", "b", 16, **({"training_mode": 1} if wrong == "training" else {}))
    net.conv("b", "c", 16, 16)
    if wrong == "statistics":
        net.node("GlobalMaxPool", ["d"], "maxima")
        net.node("Reshape", ["maxima", "all"], "flat")
        net.constants.append(numpy_helper.from_array(np.array([-1], np.int64), "all"))
        net.nodes.append(net.nodes.pop(2))
        net.nodes.append(net.nodes.pop(2))
        net.nodes[-2].input[1] = "flat"
    if wrong == "variance":
        net.constants = [tensor for tensor in net.constants if tensor.name != "b_variance"]
        net.constants.append(numpy_helper.from_array(np.full(16, -1, np.float32), "b_variance"))
    model = net.bare_model("c", "d", opset=6 if wrong == "opset" else 17)
    result = rewrite(model, parameters=EXACT)
    assert "BatchNormalization" in types(result)
    assert not blocked(result) & {"a", "b"}


def test_comes_back_from_restore() -> None:
    net = dense_layers()
    original = net.model(net.conv("e", "f", 48, 16))
    rewritten = check(original).to_proto()
    restored = restore(rewritten).to_proto()
    assert [node.op_type for node in restored.graph.node] == [
        "Conv",
        "BatchNormalization",
        "Relu",
        "Conv",
        "Concat",
        "Conv",
    ]
    assert rewrite(restored, parameters=EXACT).to_proto().graph.node == rewritten.graph.node
    assert rewrite(rewritten, parameters=EXACT).to_proto() == rewritten
