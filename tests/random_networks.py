"""Random convolutional networks: chains with residuals, gates, concatenations and pools, the same for the same seed."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from models_for_tests import Dims, model, node

#: Channels, height and width of a value.
Shape = tuple[int, int, int]

#: What leaves the shape alone, with attributes.
_ELEMENTWISE: tuple[tuple[str, dict[str, Any]], ...] = (
    ("Relu", {}),
    ("Relu", {}),
    ("LeakyRelu", {"alpha": 0.2}),
    ("Sigmoid", {}),
    ("Tanh", {}),
    ("Elu", {}),
    ("HardSigmoid", {}),
    ("HardSwish", {}),
    ("Softplus", {}),
    ("Neg", {}),
    ("Identity", {}),
    ("Dropout", {}),
    ("LRN", {"size": 3, "alpha": 0.01}),
)


class RandomNetwork:
    """``proto`` has the input x [N, C, H, W], sizes of H and W fixed or symbolic; ``feeds`` are two batches for it."""

    def __init__(self, seed: int, layers: int = 20) -> None:
        self._pick, self._numbers = random.Random(seed), np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, npt.NDArray[Any]] = {}
        first = (self._pick.choice([1, 3, 16]), self._pick.choice([1, 7, 16, 20]), self._pick.choice([1, 9, 16, 18]))
        self._shapes: dict[str, Shape] = {"x": first}
        steps: list[Callable[[], object]] = [self._convolve] * 6
        steps += (
            [self._elementwise] * 4 + [self._swish] + [self._per_channel] * 2 + [self._normalize] * 2 + [self._join] * 3
        )
        steps += [self._concatenate, self._pool, self._pool, self._gate]
        while len(self._nodes) < layers:
            self._pick.choice(steps)()
        self.proto = self._finished(first, symbolic=self._pick.random() < 0.4)
        self.feeds = [{"x": self._numbers.standard_normal((batch, *first)).astype(np.float32)} for batch in (1, 3)]

    def _finished(self, first: Shape, symbolic: bool) -> onnx.ModelProto:
        """All that nothing reads is an output, and one value that something reads."""
        read = {name for entry in self._nodes for name in entry.input}
        outputs = [name for name in self._shapes if name not in read]
        outputs.append(self._pick.choice([name for name in self._shapes if name in read and name != "x"]))
        dims: Dims = ["N", first[0], "H", "W"] if symbolic else ["N", *first]
        return model(self._nodes, {"x": dims}, {name: [None] * 4 for name in outputs}, self._constants)

    def _add(self, op_type: str, inputs: list[str], shape: Shape, **attributes: Any) -> str:
        output = f"{op_type.lower()}_{len(self._nodes)}"
        self._nodes.append(node(op_type, inputs, [output], **attributes))
        self._shapes[output] = shape
        return output

    def _constant(self, array: npt.NDArray[Any]) -> str:
        name = f"c{len(self._constants)}"
        self._constants[name] = array.astype(np.float32)
        return name

    def _value(self) -> str:
        """Mostly one of the last."""
        names = list(self._shapes)
        return self._pick.choice(names[-3:] if self._pick.random() < 0.8 else names)

    def _convolve(self) -> str | None:
        x = self._value()
        group = self._pick.choice([1, 1, 1, 1, 2, self._shapes[x][0]])
        channels = group * -(-self._pick.choice([3, 8, 16, 16, 32, 48]) // group)
        window = self._window(self._shapes[x], self._pick.choice([1, 3, 3, 3, 5, 7]), most_pad=8, dilate=True)
        if window is None or self._shapes[x][0] % group:
            return None
        return self._convolution(x, channels, group, *window)

    def _convolution(self, x: str, channels: int, group: int, size: tuple[int, int], window: dict[str, Any]) -> str:
        shape = (channels, self._shapes[x][0] // group, *window["kernel_shape"])
        weights = self._numbers.standard_normal(shape) * math.sqrt(1.5 / math.prod(shape[1:]))
        inputs = [x, self._constant(weights)]
        if self._pick.random() < 0.6:
            inputs.append(self._constant(self._numbers.standard_normal(channels) / 10))
        return self._add("Conv", inputs, (channels, *size), group=group, **window)

    def _same_size(self, x: str, channels: int) -> str:
        """A convolution that leaves height and width alone."""
        edge = self._pick.choice([1, 3])
        window = {"kernel_shape": [edge, edge], "pads": [edge // 2] * 4}
        return self._convolution(x, channels, 1, self._shapes[x][1:], window)

    def _window(
        self, shape: Shape, kernel: int, most_pad: int, dilate: bool
    ) -> tuple[tuple[int, int], dict[str, Any]] | None:
        """Height and width of the output, and the attributes; None where nothing would be left."""
        kernels = (kernel, self._pick.choice([kernel, kernel, 1]))
        strides = (self._pick.choice([1, 1, 2, 9]), self._pick.choice([1, 1, 1, 2, 3]))
        window: dict[str, Any] = {"kernel_shape": kernels, "strides": strides}
        # ONNX Runtime refuses SAME for pools that stride beyond their window.
        overlap = all(stride <= edge for stride, edge in zip(strides, kernels, strict=True))
        if self._pick.random() < 0.2 and (dilate or overlap):
            window["auto_pad"] = self._pick.choice(["SAME_UPPER", "SAME_LOWER"])
            height, width = (-(-size // stride) for size, stride in zip(shape[1:], strides, strict=True))
            return (height, width), window
        dilations = (self._pick.choice([1, 1, 1, 2, 8]), 1) if dilate else (1, 1)
        pads = [self._pick.randint(0, min(most_pad, edge - 1 + dilate)) for edge in (*kernels, *kernels)]
        reach = [dilation * (edge - 1) + 1 for dilation, edge in zip(dilations, kernels, strict=True)]
        space = [shape[axis + 1] + pads[axis] + pads[axis + 2] - reach[axis] for axis in (0, 1)]
        if min(space) < 0:
            return None
        window |= {"pads": pads} | ({"dilations": dilations} if dilate else {})
        return (space[0] // strides[0] + 1, space[1] // strides[1] + 1), window

    def _pool(self) -> None:
        x = self._value()
        window = self._window(self._shapes[x], self._pick.choice([2, 3, 5]), most_pad=2, dilate=False)
        if window is not None:
            kind = self._pick.choice(["MaxPool", "AveragePool"])
            counts = {"count_include_pad": 1} if kind == "AveragePool" and self._pick.random() < 0.3 else {}
            self._add(kind, [x], (self._shapes[x][0], *window[0]), **window[1], **counts)

    def _elementwise(self) -> None:
        x = self._value()
        op_type, attributes = self._pick.choice(_ELEMENTWISE)
        self._add(op_type, [x], self._shapes[x], **attributes)

    def _swish(self) -> None:
        x = self._value()
        op_type, attributes = self._pick.choice([("Sigmoid", {}), ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5})])
        self._add("Mul", [x, self._add(op_type, [x], self._shapes[x], **attributes)], self._shapes[x])

    def _per_channel(self) -> None:
        x = self._value()
        shape = self._pick.choice([(self._shapes[x][0], 1, 1), (1, self._shapes[x][0], 1, 1), (1,), ()])
        operands = [x, self._constant(self._numbers.uniform(0.5, 1.5, shape))]
        if self._pick.random() < 0.3:
            operands.reverse()
        self._add(self._pick.choice(["Mul", "Add", "Sub", "Max"]), operands, self._shapes[x])

    def _normalize(self) -> None:
        x = self._value()
        channels = self._shapes[x][0]
        ranges = ((0.5, 1.5), (-0.1, 0.1), (-0.1, 0.1), (0.5, 2.0))
        statistics = [self._constant(self._numbers.uniform(low, high, channels)) for low, high in ranges]
        self._add("BatchNormalization", [x, *statistics], self._shapes[x])

    def _join(self) -> None:
        """A residual connection, from near or far."""
        x = self._value()
        other = self._pick.choice([name for name, shape in self._shapes.items() if shape == self._shapes[x]])
        if self._pick.random() < 0.6:
            x = self._same_size(x, self._shapes[x][0])
        operands = [x, other]
        self._pick.shuffle(operands)
        self._add(self._pick.choice(["Add", "Add", "Add", "Sub", "Max"]), operands, self._shapes[x])

    def _gate(self) -> None:
        """Squeeze and excitation."""
        x = self._value()
        channels = self._shapes[x][0]
        pooled = self._add(self._pick.choice(["GlobalAveragePool", "GlobalMaxPool"]), [x], (channels, 1, 1))
        gate = self._add("Sigmoid", [self._same_size(pooled, channels)], (channels, 1, 1))
        self._add("Mul", [x, gate], self._shapes[x])

    def _concatenate(self) -> None:
        x = self._value()
        alike = [name for name, shape in self._shapes.items() if shape[1:] == self._shapes[x][1:]]
        joined = [x, *(self._pick.choice(alike) for _ in range(self._pick.randint(1, 2)))]
        channels = sum(self._shapes[name][0] for name in joined)
        if channels <= 128:
            self._add("Concat", joined, (channels, *self._shapes[x][1:]), axis=self._pick.choice([1, -3]))
