"""A network of several layers and choices for them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import onnx
from models_for_tests import model, node, random_array

from drpass import ReuseParameters
from drpass.plan_file import NodePlan

GRID = ReuseParameters(step=0.1)
LSH = ReuseParameters(method="lsh", sub_vector_length=3, hash_bits=7, seed=-5, table_type="float")


def chain_model() -> onnx.ModelProto:
    """x → Conv "first" → Relu → LRN "norm" → MaxPool → Conv "second" (no name) → Relu → y."""
    nodes = [
        node("Conv", ["x", "a"], ["c"], name="first", pads=[1, 1, 1, 1]),
        node("Relu", ["c"], ["r"]),
        node("LRN", ["r"], ["n"], name="norm", size=5),
        node("MaxPool", ["n"], ["p"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["p", "b"], ["second"], pads=[1, 1, 1, 1]),
        node("Relu", ["second"], ["y"]),
    ]
    for entry in nodes[4:]:
        entry.name = ""
    constants = {"a": random_array(32, 3, 3, 3), "b": random_array(48, 32, 3, 3)}
    return model(nodes, {"x": ["N", 3, 40, 40]}, {"y": None}, constants)


def a_node(**changes: Any) -> NodePlan:
    return replace(NodePlan("conv", "", "Conv", (32, 3, 3, 3), GRID), **changes)


def data_of(result: Any) -> bytes:
    return result.to_proto().SerializeToString()
