"""Models with their weights in files beside them, and what tests ask of such files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from models_for_tests import conv_model, node, random_array

#: Bytes in place of 2 GB; more than a branch of `if_model` has.
LOW = 6000


def deep_model() -> onnx.ModelProto:
    """Conv, BatchNormalization, Relu, Conv, Add, Flatten, Gemm: folds into weights, and kinds of constants."""
    rng = np.random.default_rng(1)
    statistics = {name: rng.uniform(0.5, 2, 32).astype(np.float32) for name in ("g", "b", "m", "v")}
    nodes = [
        node("BatchNormalization", ["conv_out", "g", "b", "m", "v"], ["n"]),
        node("Relu", ["n"], ["r"]),
        node("Conv", ["r", "w2"], ["c2"], name="second", pads=[1, 1, 1, 1]),
        node("Add", ["c2", "shift"], ["s"]),
        node("GlobalAveragePool", ["s"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "fc"], ["y"], name="gemm"),
    ]
    constants = {
        **statistics,
        "w2": random_array(64, 32, 3, 3),
        "shift": random_array(64, 1, 1),
        "fc": random_array(64, 100),
    }
    return conv_model(nodes, constants)


def saved(proto: onnx.ModelProto, folder: Path, location: str = "weights.bin") -> Path:
    """``proto`` as in.onnx with its weights in another file."""
    path = folder / "in.onnx"
    onnx.save(proto, path, save_as_external_data=True, location=location, size_threshold=0)
    return path


def edit(path: Path, tensor: str, **entries: object) -> None:
    """Change where a tensor says its data is."""
    proto = onnx.load(path, load_external_data=False)
    (found,) = [one for one in proto.graph.initializer if one.name == tensor]
    for entry in found.external_data:
        entry.value = str(entries.get(entry.key, entry.value))
    path.write_bytes(proto.SerializeToString())


def with_data(path: Path) -> onnx.ModelProto:
    """The message with all data in it, as if it were one file."""
    proto = onnx.load(path)
    for tensor in proto.graph.initializer:
        tensor.ClearField("data_location")
        del tensor.external_data[:]
    return proto


def names(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir())
