"""Models whose image sizes are open: nothing may be taken to be as large as something else."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from models_for_tests import model, node, random_array
from rewriting import rewrite_exactly

from drpass.execution import open_session, run


def layers_of_different_sizes() -> onnx.ModelProto:
    """Each of three convolutions gives a sum only, so that its memory is free before the next, smaller result."""
    nodes, constants, value = [], {}, "x"
    for index in range(3):
        constants[f"w{index}"] = random_array(32, 16, 3, 3, seed=index)
        constants[f"u{index}"] = random_array(16, 16, 3, 3, seed=10 + index) / 12
        nodes.append(node("Conv", [value, f"w{index}"], [f"c{index}"]))
        nodes.append(node("ReduceSumSquare", [f"c{index}"], [f"s{index}"], keepdims=0))
        nodes.append(node("Conv", [value, f"u{index}"], [f"v{index}"]))
        value = f"v{index}"
    outputs = {"v2": None, **{f"s{index}": [] for index in range(3)}}
    return model(nodes, {"x": ["N", 16, "H", "W"]}, outputs, constants)


@pytest.mark.parametrize("side", [20, 33])
def test_results_of_open_size_are_not_put_into_memory_of_another_size(side: int) -> None:
    original = layers_of_different_sizes()
    rewritten = rewrite_exactly(original, include=["c*"]).to_proto()
    del rewritten.graph.value_info[:]  # as other tools leave a model
    feeds = {"x": random_array(2, 16, side, side)}
    for expected, found in zip(run(open_session(original), feeds), run(open_session(rewritten), feeds)):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
