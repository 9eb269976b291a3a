"""Below IR version 4 every initializer is listed as a graph input too, and is a constant nevertheless.

The list is hidden from the other passes, and made again from the initializers that are left.
"""

from __future__ import annotations

import onnx_ir as ir

#: From this IR version on an initializer that is a graph input is a default that the caller may override.
_FIRST_OVERRIDABLE = 4


def hide(model: ir.Model) -> None:
    """Take the initializers out of the inputs of a model below IR version 4."""
    if model.ir_version < _FIRST_OVERRIDABLE:
        inputs = [value for value in model.graph.inputs if not value.is_initializer()]
        model.graph.inputs.clear()
        model.graph.inputs.extend(inputs)


def restore(model: ir.Model) -> None:
    """List all initializers as inputs again, behind the real ones."""
    if model.ir_version < _FIRST_OVERRIDABLE:
        model.graph.inputs.extend(model.graph.initializers.values())
