"""Windows of convolutions and pools at the edge of what ONNX says."""

from __future__ import annotations

from typing import Any

import onnx
import pytest
from models_for_tests import conv_model, model, node, random_array
from rewriting import assert_same_outputs, ops, reason, rewrite_exactly


def pooled(op_type: str, opset: int = 17, **attributes: Any) -> onnx.ModelProto:
    """x [1, 16, 9, 9] → Conv "conv" → ``op_type`` "pool" → Conv "last" → y."""
    nodes = [
        node("Conv", ["x", "w"], ["c"], name="conv", pads=[1] * 4),
        node(op_type, ["c"], ["p"], name="pool", **attributes),
        node("Conv", ["p", "w"], ["y"], name="last", pads=[1] * 4),
    ]
    return model(nodes, {"x": [1, 16, 9, 9]}, {"y": None}, {"w": random_array(16, 16, 3, 3)}, opset=opset)


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("strides", [[7, 1], [1, 5]])
def test_convolution_whose_same_padding_can_be_below_minus_one_is_kept(auto_pad: str, strides: list[int]) -> None:
    proto = conv_model(size=21, auto_pad=auto_pad, strides=strides)
    assert reason(proto) == f"auto_pad {auto_pad} with strides far beyond the kernel"


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER"])
def test_one_pixel_of_two_with_same_padding_is_replaced(auto_pad: str) -> None:
    proto = conv_model(size=8, kernel=1, auto_pad=auto_pad, strides=[2, 2])
    rewritten = rewrite_exactly(proto).to_proto()
    assert ops(rewritten) == ["DeepReuseGemm"]
    assert_same_outputs(proto, rewritten, {"x": random_array(2, 3, 8, 8)})


@pytest.mark.parametrize("op_type", ["MaxPool", "AveragePool"])
def test_pool_whose_same_padding_can_be_below_minus_one_is_kept(op_type: str) -> None:
    proto = pooled(op_type, kernel_shape=[1, 2], strides=[3, 2], auto_pad="SAME_UPPER")
    assert op_type in ops(rewrite_exactly(proto).to_proto())


@pytest.mark.parametrize("opset", [17, 22])
@pytest.mark.parametrize("pads", [[0, 0, 2, 0], [1, 0, 1, 0]])
def test_pool_whose_last_window_could_begin_behind_the_image_is_kept(opset: int, pads: list[int]) -> None:
    proto = pooled("MaxPool", opset, kernel_shape=[3, 3], strides=[8, 1], pads=pads, ceil_mode=1)
    assert "MaxPool" in ops(rewrite_exactly(proto).to_proto())


@pytest.mark.parametrize("window", [{"pads": [2**63 - 1] * 4}, {"strides": [2**31, 1]}, {"dilations": [1, 2**62]}])
def test_numbers_that_the_operator_has_no_room_for_are_kept(window: dict[str, Any]) -> None:
    (name,) = window
    assert f"{name} must be in" in reason(conv_model(**window))


def test_pool_with_numbers_that_the_operator_has_no_room_for_is_kept() -> None:
    proto = pooled("MaxPool", kernel_shape=[2**31, 2**31], strides=[1, 1], auto_pad="SAME_UPPER")
    assert "MaxPool" in ops(rewrite_exactly(proto).to_proto())
