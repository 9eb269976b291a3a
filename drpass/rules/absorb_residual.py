"""The addition of another tensor of the same shape, as in a residual connection, becomes the addend A.

(W x + b) + a with nothing in between: an addend of its own or an activation comes before this addition.
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from drpass.rules.absorbing import AbsorbingRule, add_addend, check_open, reuse, same_shape
from drpass.rules.anchor import is_constant, require


class AbsorbResidual(AbsorbingRule):
    """y + a and a + y. A constant goes into the bias or stays; a of another shape might broadcast y."""

    def pattern(self, op: Any, a: Any) -> Any:
        return op.Add(reuse(op), a)

    def guard(self, y: ir.Value, a: ir.Value) -> None:  # type: ignore[override]
        check_open(y, addend_too=True)
        require(a is not y, "it is added to itself")
        require(not is_constant(a), "its operand is constant")
        require(same_shape(y, a), "its operands are not known to have the same shape")

    def rewrite(self, op: Any, y: ir.Value, a: ir.Value) -> ir.Value:  # type: ignore[override]
        return add_addend(op, y, a)
