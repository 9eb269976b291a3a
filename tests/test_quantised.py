"""Weights behind DequantizeLinear, and products that ONNX Runtime computes on integers."""

from __future__ import annotations

import numpy as np
from models_for_tests import model, node, random_array
from rewriting import assert_same_outputs, ops, reason, rewrite_exactly


def test_weights_behind_dequantizelinear_are_folded_and_the_result_is_the_same() -> None:
    rng = np.random.default_rng(0)
    held = {
        "w": rng.integers(-128, 128, (16, 8, 3, 3), dtype=np.int8),
        "s": rng.uniform(0.001, 0.01, 16).astype(np.float32),
        "z": np.zeros(16, np.int8),
    }
    nodes = [node("DequantizeLinear", ["w", "s", "z"], ["wd"], axis=0), node("Conv", ["x", "wd"], ["y"])]
    original = model(nodes, {"x": [1, 8, 9, 9]}, {"y": None}, held)
    rewritten = rewrite_exactly(original).to_proto()
    assert ops(rewritten) == ["DeepReuseGemm"]
    assert_same_outputs(original, rewritten, {"x": random_array(1, 8, 9, 9)})


def test_scale_that_is_not_constant_keeps_the_node() -> None:
    held = {"w": np.ones((16, 8, 3, 3), np.int8)}
    nodes = [node("DequantizeLinear", ["w", "s"], ["wd"]), node("Conv", ["x", "wd"], ["y"])]
    found = model(nodes, {"x": [1, 8, 9, 9], "s": []}, {"y": None}, held)
    assert reason(found, "y") == "weights are not constant"
