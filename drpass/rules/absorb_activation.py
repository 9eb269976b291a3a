"""The activation that follows becomes an attribute of the DeepReuseGemm. One rule an operator."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from drpass.rules.absorbing import AbsorbingRule, activate, check_open, node_of, reuse
from drpass.rules.anchor import attribute, float_constant, input_of, require

#: What Clip uses for a limit that is left out.
_FLOAT = np.finfo(np.float32)


class AbsorbRelu(AbsorbingRule):
    """max(y, 0)."""

    def pattern(self, op: Any) -> Any:
        return op.Relu(reuse(op))

    def guard(self, y: ir.Value) -> None:  # type: ignore[override]
        check_open(y)

    def rewrite(self, op: Any, y: ir.Value) -> ir.Value:  # type: ignore[override]
        return activate(op, y, "relu")


class AbsorbSigmoid(AbsorbingRule):
    """1 / (1 + exp(-y))."""

    def pattern(self, op: Any) -> Any:
        return op.Sigmoid(reuse(op))

    def guard(self, y: ir.Value) -> None:  # type: ignore[override]
        check_open(y)

    def rewrite(self, op: Any, y: ir.Value) -> ir.Value:  # type: ignore[override]
        return activate(op, y, "sigmoid")


class AbsorbHardSigmoid(AbsorbingRule):
    """max(0, min(1, alpha · y + beta))."""

    def pattern(self, op: Any) -> Any:
        return op.HardSigmoid(reuse(op), _outputs=["z"])

    def guard(self, y: ir.Value, z: ir.Value) -> None:  # type: ignore[override]
        check_open(y)
        require(bool(np.isfinite(_line(z)).all()), "its slope is not finite")

    def rewrite(self, op: Any, y: ir.Value, z: ir.Value) -> ir.Value:  # type: ignore[override]
        return activate(op, y, "hard_sigmoid", _line(z))


class AbsorbHardSwish(AbsorbingRule):
    """y · max(0, min(1, y / 6 + 1/2)), as one operator."""

    def pattern(self, op: Any) -> Any:
        return op.HardSwish(reuse(op))

    def guard(self, y: ir.Value) -> None:  # type: ignore[override]
        check_open(y)

    def rewrite(self, op: Any, y: ir.Value) -> ir.Value:  # type: ignore[override]
        return activate(op, y, "hard_swish")


class AbsorbHardSwishInTwo(AbsorbingRule):
    """The same as y · HardSigmoid(y) with that slope."""

    def pattern(self, op: Any) -> Any:
        y = reuse(op)
        return op.Mul(y, op.HardSigmoid(y, _outputs=["z"]))

    def guard(self, y: ir.Value, z: ir.Value) -> None:  # type: ignore[override]
        check_open(y)
        require(_line(z) == [np.float32(1 / 6), 0.5], "it has another slope")

    def rewrite(self, op: Any, y: ir.Value, z: ir.Value) -> ir.Value:  # type: ignore[override]
        return activate(op, y, "hard_swish")


class AbsorbSilu(AbsorbingRule):
    """y · Sigmoid(y)."""

    def pattern(self, op: Any) -> Any:
        y = reuse(op)
        return op.Mul(y, op.Sigmoid(y))

    def guard(self, y: ir.Value) -> None:  # type: ignore[override]
        check_open(y)

    def rewrite(self, op: Any, y: ir.Value) -> ir.Value:  # type: ignore[override]
        return activate(op, y, "silu")


class AbsorbLeakyRelu(AbsorbingRule):
    """y where it is positive, else alpha · y; alpha is an attribute."""

    def pattern(self, op: Any) -> Any:
        return op.LeakyRelu(reuse(op), _outputs=["z"])

    def guard(self, y: ir.Value, z: ir.Value) -> None:  # type: ignore[override]
        check_open(y)
        require(bool(np.isfinite(_alpha(z))), "its slope is not finite")

    def rewrite(self, op: Any, y: ir.Value, z: ir.Value) -> ir.Value:  # type: ignore[override]
        return activate(op, y, "leaky_relu", [_alpha(z)])


class AbsorbPRelu(AbsorbingRule):
    """LeakyRelu whose slope is a constant input of one element; one slope per channel is kept."""

    def pattern(self, op: Any, slope: Any) -> Any:
        return op.PRelu(reuse(op), slope)

    def guard(self, y: ir.Value, slope: ir.Value) -> None:  # type: ignore[override]
        check_open(y)
        array = float_constant(slope, "its slopes")
        require(array.size == 1 and bool(np.isfinite(array).all()), "it has more than one slope")

    def rewrite(self, op: Any, y: ir.Value, slope: ir.Value) -> ir.Value:  # type: ignore[override]
        return activate(op, y, "leaky_relu", [float(float_constant(slope, "its slopes").item())])


class AbsorbClip(AbsorbingRule):
    """min(max(y, low), high); the limits are attributes below opset 11, then constant inputs, and may be missing."""

    def pattern(self, op: Any) -> Any:
        return op.Clip(reuse(op), _allow_other_inputs=True, _outputs=["z"])

    def guard(self, y: ir.Value, z: ir.Value) -> None:  # type: ignore[override]
        check_open(y)
        low, high = _limits(z)
        require(low <= high, "its limits cross")

    def rewrite(self, op: Any, y: ir.Value, z: ir.Value) -> ir.Value:  # type: ignore[override]
        return activate(op, y, "clip", _limits(z))


def _alpha(z: ir.Value) -> float:
    return float(attribute(node_of(z), "alpha", 0.01))


def _line(z: ir.Value) -> list[float]:
    node = node_of(z)
    return [float(attribute(node, "alpha", 0.2)), float(attribute(node, "beta", 0.5))]


def _limits(z: ir.Value) -> list[float]:
    node = node_of(z)
    limits = [attribute(node, "min", float(_FLOAT.min)), attribute(node, "max", float(_FLOAT.max))]
    for index in (0, 1):
        value = input_of(node, index + 1)
        if value is not None:
            array = float_constant(value, "its limits")
            require(array.size == 1, "its limits are not scalars")
            limits[index] = float(array.item())
    return [float(limit) for limit in limits]
