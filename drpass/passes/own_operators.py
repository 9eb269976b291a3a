"""Pass 8: give what is special an operator of its own, with weights packed for it.

Until here it is a DeepReuseGemm, so that all rules hold for it. Only the exact method, without an addend.

1. Depthwise convolutions over two spatial axes (`drpass.passes.depthwise`).
2. Products with so many weights that reading them takes the time (`drpass.passes.fully_connected`).
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from drpass.operator.spec import DOMAIN, B, W, X
from drpass.passes import depthwise, fully_connected
from drpass.passes.places import Names, Place, add_constant, drop_unused, is_reuse, places
from drpass.passes.replace import substitute
from drpass.rules.anchor import input_of


def separate(model: ir.Model, names: Names) -> None:
    """Replace all such nodes, in place."""
    for place in places(model):
        for node in list(place.graph):
            if not is_reuse(node):
                continue
            for kind in (depthwise, fully_connected):
                if kind.takes(node):
                    _replace(node, place, names, kind.OPERATOR, kind.weights(node), kind.attributes(node))
                    break


def _replace(
    node: ir.Node, place: Place, names: Names, op_type: str, weights: ir.LazyTensor, attributes: dict[str, Any]
) -> None:
    packed = node.inputs[W]
    assert packed is not None
    inputs = [input_of(node, X), add_constant(place, weights, names.unique(f"{packed.name}_own"), node)]
    if (bias := input_of(node, B)) is not None:
        inputs.append(bias)
    new = ir.node(op_type, inputs, attributes, domain=DOMAIN, name=node.name)
    old = {value for value in node.inputs if value is not None}
    substitute(place, [node], node, new)
    drop_unused(old, names)
