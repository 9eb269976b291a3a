"""A small network, pictures and a clock that tests of the tuner share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from models_for_tests import model, node, random_array

from drpass.benchmark import Timing
from drpass.data import Data
from drpass.data.dataset import Batch
from drpass.data.split import Split
from drpass.operator.spec import DOMAIN
from drpass.tensors import Feeds
from drpass.tune import measured


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


#: Milliseconds of a node by what it is; grid gets slower as its step gets smaller.
Price = Callable[[onnx.NodeProto], float]


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    found = next((item for item in node.attribute if item.name == name), None)
    return default if found is None else onnx.helper.get_attribute_value(found)


def clusters_are_quick(node: onnx.NodeProto) -> float:
    if node.domain != DOMAIN:
        return 10.0 if node.op_type == "Conv" else 0.1
    method = attribute(node, "method", b"exact").decode()
    return {"exact": 5.0, "lsh": 6.0, "grid": 1.0 + 0.25 / attribute(node, "step", 1.0)}[method]


def exact_is_quickest(node: onnx.NodeProto) -> float:
    return 20.0 if attribute(node, "method", b"").decode() in ("grid", "lsh") else clusters_are_quick(node)


def original_is_quickest(node: onnx.NodeProto) -> float:
    return 30.0 if node.domain == DOMAIN else clusters_are_quick(node)


class FakeClock:
    """Stands in for the profile and the benchmark; ``calls`` counts the measurements."""

    def __init__(self, price: Price, monkeypatch: pytest.MonkeyPatch) -> None:
        self.price, self.calls, self.interrupt_at = price, 0, -1
        monkeypatch.setattr(measured, "kernel_times", self.kernel_times)
        monkeypatch.setattr(measured, "bench", self.bench)

    def count(self) -> None:
        self.calls += 1
        if self.calls == self.interrupt_at:
            raise KeyboardInterrupt

    def kernel_times(self, proto: onnx.ModelProto, feeds: Sequence[Feeds], threads: int) -> dict[str, float]:
        self.count()
        return {node.name: self.price(node) for node in proto.graph.node}

    def bench(self, left: onnx.ModelProto, right: onnx.ModelProto, data: Data, **options: Any) -> Any:
        self.count()
        before, after = (sum(self.price(node) for node in proto.graph.node) for proto in (left, right))
        return type("Report", (), {"timings": [Timing(1, [before] * 5, [after] * 5)]})


def data_of(images: npt.NDArray[np.float32], batch: int = 4) -> Data:
    def batches() -> Any:
        for start in range(0, len(images), batch):
            part = images[start : start + batch]
            yield Batch({"x": part}, None, [f"{start + index}" for index in range(len(part))])

    return Data(len(images), f"{len(images)} images", False, batches)


def split(calibration: npt.NDArray[np.float32] | None = None, held_out: npt.NDArray[np.float32] | None = None) -> Split:
    first = pictures(32, 1) if calibration is None else calibration
    second = pictures(32, 2) if held_out is None else held_out
    return Split(data_of(first), data_of(second), "f" * 64, 0)
