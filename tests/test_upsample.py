"""Repeating pixels: the operator, and which resizings become one."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from chain_nets import EXACT, Net, blocked, check, types
from models_for_tests import random_array
from onnx import helper, numpy_helper
from operator_models import block, forced_kernels, inferred, runnable_kernel_sets, session, targets

from drpass import restore
from drpass.errors import DrpassError
from drpass.explanation import explain
from drpass.operator.packing import PANEL, unblock
from drpass.operator.spec import DOMAIN, UPSAMPLE
from drpass.rewriting import rewrite

#: The ways of finding the nearest that all repeat pixels.
REPEATING = (
    {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
    {},
    {"coordinate_transformation_mode": "half_pixel", "nearest_mode": "round_prefer_ceil"},
    {"coordinate_transformation_mode": "pytorch_half_pixel"},
)


def upsample_model(scales: list[int] | None) -> bytes:
    """One Upsample; without ``scales`` the attribute is absent."""
    attributes = {} if scales is None else {"scales": scales}
    made = helper.make_node(UPSAMPLE, ["X"], ["Y"], name="up", domain=DOMAIN, **attributes)
    x, y = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None] * 5) for name in "XY")
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)]
    graph = helper.make_graph([made], "g", [x], [y])
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


@pytest.mark.parametrize("scales", [[1, 1], [2, 2], [3, 1], [1, 4], [7, 9]], ids=str)
@pytest.mark.parametrize("shape", [(2, 23, 7, 5), (1, 16, 1, 1), (0, 16, 3, 3), (2, 16, 0, 3), (1, 8, 90, 61)], ids=str)
def test_repeats_rows_and_pixels_on_all_targets(shape: tuple[int, ...], scales: list[int]) -> None:
    x, made = block(random_array(*shape)), upsample_model(scales)
    expected = x.repeat(scales[0], axis=2).repeat(scales[1], axis=3)
    assert inferred(made, x.shape) == expected.shape
    for kernels in (*targets(), *runnable_kernel_sets()):
        if kernels == "cuda" and expected.size > 1e6:
            continue  # the same, and minutes where the device is emulated
        with forced_kernels(kernels):
            for threads in (1, 3):
                actual = session(made, threads).run(None, {"X": x})[0]
                np.testing.assert_array_equal(actual, expected, err_msg=kernels)


@pytest.mark.parametrize(
    ("scales", "message"),
    [
        (None, "scales"),
        ([2], "scales needs 2 values, not 1"),
        ([2, 0], r"scales must be in \[1, 1024\], not 0"),
        ([2000, 1], r"scales must be in \[1, 1024\], not 2000"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(scales: list[int] | None, message: str) -> None:
    made, x = upsample_model(scales), block(random_array(1, 16, 3, 3))
    with pytest.raises(Exception, match=message):
        session(made).run(None, {"X": x})
    with pytest.raises((onnx.shape_inference.InferenceError, onnx.checker.ValidationError), match=message):
        inferred(made, x.shape)


def test_other_layouts_and_sizes_past_all_memory_are_refused() -> None:
    with pytest.raises(Exception, match=r"Upsample needs \[N, blocks, H, W, 16\]"):
        session(upsample_model([2, 2])).run(None, {"X": np.zeros((1, 1, 2, 2, 8), np.float32)})
    with pytest.raises(onnx.shape_inference.InferenceError, match=r"Upsample needs \[N, blocks, H, W, 16\]"):
        inferred(upsample_model([2, 2]), (1, 1, 2, 2, 8))


def resize(net: Net, x: str, y: str, scales: list[float], **attributes: Any) -> str:
    net.constants.append(numpy_helper.from_array(np.array(scales, np.float32), f"{y}_scales"))
    return net.node("Resize", [x, "", f"{y}_scales"], y, **attributes)


def resized(channels: int, scales: list[float], outputs: int = 16, **attributes: Any) -> Net:
    """Convolution, Resize, convolution."""
    net = Net()
    net.conv("x", "a", 8, channels)
    resize(net, "a", "b", scales, **attributes)
    net.conv("b", "c", int(channels * scales[1]), outputs)
    return net


@pytest.mark.parametrize("attributes", REPEATING, ids=str)
@pytest.mark.parametrize("scales", [[1, 1, 2, 2], [1, 1, 3, 1], [1, 1, 1, 5]], ids=str)
@pytest.mark.parametrize("channels", [32, 24])
def test_resize_between_convolutions_is_one_operator_in_blocks(
    attributes: dict[str, Any], scales: list[float], channels: int
) -> None:
    result = check(resized(channels, scales, **attributes).model("c"))
    assert types(result) == ["DeepReuseGemm", UPSAMPLE, "DeepReuseGemm"]
    verdict = next(verdict for verdict in result.report.verdicts if verdict.node == "b")
    assert verdict.describe() == "exact, NCHW16c"
    assert not [tensor.name for tensor in result.to_proto().graph.initializer if "scales" in tensor.name]


@pytest.mark.parametrize(
    ("scales", "attributes"),
    [
        ([1, 1, 2, 2], {"mode": "linear"}),
        ([1, 1, 2, 1.5], {}),
        ([1, 1, 0.5, 0.5], REPEATING[0]),
        ([1, 2, 1, 1], {}),
        ([2, 1, 1, 1], {}),
        ([1, 1, 2, 2], {"coordinate_transformation_mode": "asymmetric"}),
        ([1, 1, 2, 2], {"coordinate_transformation_mode": "align_corners"}),
        ([1, 1, 2, 2], {"nearest_mode": "ceil"}),
    ],
    ids=str,
)
def test_other_resizing_ends_the_chain(scales: list[float], attributes: dict[str, Any]) -> None:
    result = check(resized(16, scales, **attributes).model("c"))
    assert "Resize" in types(result)
    assert not blocked(result) & {"a", "b"}


def test_sizes_end_the_chain_and_an_output_stays_in_planes() -> None:
    net = Net(batch=2)
    net.conv("x", "a", 8, 16)
    net.constants.append(numpy_helper.from_array(np.array([2, 16, 24, 24], np.int64), "sizes"))
    net.node("Resize", ["a", "", "", "sizes"], "b")
    net.conv("b", "c", 16, 16)
    assert "Resize" in types(check(net.model("c")))
    net = Net()
    net.conv("x", "a", 8, 16)
    resize(net, "a", "b", [1, 1, 2, 2])
    assert types(check(net.model("b"))) == ["DeepReuseGemm", "Resize"]


def test_comes_back_from_restore() -> None:
    original = resized(32, [1, 1, 2, 3]).model("c")
    rewritten = check(original).to_proto()
    restored = restore(rewritten).to_proto()
    assert [one.op_type for one in restored.graph.node] == ["Conv", "Resize", "Conv"]
    x = random_array(2, 8, 12, 12)
    expected, actual = (session(one.SerializeToString()).run(None, {"x": x})[0] for one in (original, restored))
    np.testing.assert_array_equal(actual, expected)
    assert rewrite(restored, parameters=EXACT).to_proto().graph.node == rewritten.graph.node
    assert rewrite(rewritten, parameters=EXACT).to_proto() == rewritten


def test_damaged_node_is_refused_by_restore() -> None:
    proto = check(resized(32, [1, 1, 2, 3]).model("c")).to_proto()
    (made,) = [one for one in proto.graph.node if one.op_type == UPSAMPLE]
    made.input[0] = "x"
    with pytest.raises(DrpassError, match=r"X has shape \[N, 8, 12, 12\], but Upsample needs"):
        restore(proto)


def test_explained() -> None:
    found = explain(check(resized(32, [1, 1, 2, 2]).model("c")).model, "b")
    assert found.facts[0].startswith("Repeats pixels, by the library's own kernel")
    assert "--no-chains" in found.changes[0]


def test_lanes_without_a_channel_stay_zero() -> None:
    y = session(upsample_model([2, 2])).run(None, {"X": block(random_array(1, 20, 3, 3))})[0]
    assert not unblock(y, y.shape[1] * PANEL)[:, 20:].any()
