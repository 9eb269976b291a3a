"""An addition or subtraction of one constant per channel goes into the bias: (W x + b + a) + c = W x + (b + c) + a."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from drpass.rules.absorbing import AbsorbingRule, check_foldable, check_open, per_channel, rebuild, reuse


class FoldAdd(AbsorbingRule):
    """y + c and c + y."""

    def pattern(self, op: Any, term: Any) -> Any:
        return op.Add(reuse(op), term)

    def guard(self, y: ir.Value, term: ir.Value) -> None:  # type: ignore[override]
        check_open(y)
        check_foldable(y, shift=per_channel(term, y))

    def rewrite(self, op: Any, y: ir.Value, term: ir.Value) -> ir.Value:  # type: ignore[override]
        return rebuild(op, y, shift=per_channel(term, y))


class FoldSub(AbsorbingRule):
    """y - c; c - y is kept."""

    def pattern(self, op: Any, term: Any) -> Any:
        return op.Sub(reuse(op), term)

    def guard(self, y: ir.Value, term: ir.Value) -> None:  # type: ignore[override]
        check_open(y)
        check_foldable(y, shift=per_channel(term, y))

    def rewrite(self, op: Any, y: ir.Value, term: ir.Value) -> ir.Value:  # type: ignore[override]
        return rebuild(op, y, shift=-per_channel(term, y))
