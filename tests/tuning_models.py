"""A small network and pictures that tests of the tuner share."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
from models_for_tests import model, node, random_array


def classifier(channels: int = 32) -> onnx.ModelProto:
    """Two convolutions, ``channels`` between them, the mean of all pixels, and a matrix product."""
    return model(
        [
            node("Conv", ["x", "w1"], ["a"], "first", pads=[1, 1, 1, 1]),
            node("Relu", ["a"], ["b"]),
            node("Conv", ["b", "w2"], ["c"], "second", pads=[1, 1, 1, 1]),
            node("Relu", ["c"], ["d"]),
            node("GlobalAveragePool", ["d"], ["e"]),
            node("Flatten", ["e"], ["f"]),
            node("MatMul", ["f", "w3"], ["y"], "last"),
        ],
        {"x": ["N", 8, 16, 16]},
        {"y": ["N", 10]},
        {
            "w1": random_array(channels, 8, 3, 3),
            "w2": random_array(48, channels, 3, 3, seed=1),
            "w3": random_array(48, 10),
        },
    )


def pictures(count: int, seed: int) -> npt.NDArray[np.float32]:
    """Of twelve colours and a little noise: their pixels are alike, but clustering them is not free of error."""
    colours = random_array(12, 8)
    chosen = np.random.default_rng(seed).integers(0, len(colours), (count, 16, 16))
    noise = 0.05 * random_array(count, 8, 16, 16, seed=seed)
    return np.ascontiguousarray(colours[chosen].transpose(0, 3, 1, 2) + noise)
