"""A multiplication or division by one constant per channel goes into the weights and the bias.

(W x + b) · f = (f W) x + f b;  with an addend in between it would have to scale that too, so it is kept.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from drpass.rules.absorbing import AbsorbingRule, check_foldable, check_open, per_channel, rebuild, reuse
from drpass.rules.anchor import require


class FoldMul(AbsorbingRule):
    """y · f and f · y."""

    def pattern(self, op: Any, factor: Any) -> Any:
        return op.Mul(reuse(op), factor)

    def guard(self, y: ir.Value, factor: ir.Value) -> None:  # type: ignore[override]
        check_open(y, addend_too=True)
        check_foldable(y, scale=per_channel(factor, y))

    def rewrite(self, op: Any, y: ir.Value, factor: ir.Value) -> ir.Value:  # type: ignore[override]
        return rebuild(op, y, scale=per_channel(factor, y))


class FoldDiv(AbsorbingRule):
    """y / f where no f is zero (0 / 0 is not 0 · inf); f / y is kept."""

    def pattern(self, op: Any, divisor: Any) -> Any:
        return op.Div(reuse(op), divisor)

    def guard(self, y: ir.Value, divisor: ir.Value) -> None:  # type: ignore[override]
        check_open(y, addend_too=True)
        require(bool(np.all(per_channel(divisor, y))), "a divisor is zero")
        check_foldable(y, scale=1.0 / per_channel(divisor, y))

    def rewrite(self, op: Any, y: ir.Value, divisor: ir.Value) -> ir.Value:  # type: ignore[override]
        return rebuild(op, y, scale=1.0 / per_channel(divisor, y))
