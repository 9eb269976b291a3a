"""Pass 8: keep results from call to call, within a limit of memory (docs/operator.md, *The memo*)."""

from __future__ import annotations

import onnx_ir as ir

from drpass.operator.spec import DOMAIN, OP_TYPE, A
from drpass.passes.gain import served_by_winograd
from drpass.passes.places import places
from drpass.rules.absorbing import SHAPE
from drpass.rules.anchor import attribute, input_of


def keep_results(model: ir.Model, limit: int) -> int:
    """Share ``limit`` bytes among the nodes that can use them, by the size of their outputs; returns their number."""
    nodes = [node for place in places(model) for node in place.graph if _can_keep(node)]
    sizes = [_output_size(node) for node in nodes]
    for node, size in zip(nodes, sizes, strict=True):
        share = limit * size // sum(sizes)
        node.attributes["memo_bytes"] = ir.AttrInt64("memo_bytes", share)
    return len(nodes)


def _can_keep(node: ir.Node) -> bool:
    return bool(
        node.domain == DOMAIN
        and node.op_type == OP_TYPE
        and attribute(node, "method", "exact") == "exact"
        and served_by_winograd(*(attribute(node, name, ()) for name in ("kernel_shape", "strides", "dilations")))
        and attribute(node, "group", 1) == 1
        and input_of(node, A) is None
    )


def _output_size(node: ir.Node) -> int:
    """Outputs of one image; without the pixels where those are not known."""
    size: int = attribute(node, "output_channels", 1)
    dims = node.outputs[0].meta.get(SHAPE) or []
    for dim in dims[2:]:
        size *= dim if isinstance(dim, int) else 1
    return size
