"""Pass 9: give nodes what the user grants them: memory for a memo (docs/operator.md), and TF32 (docs/cuda.md)."""

from __future__ import annotations

import onnx_ir as ir

from drpass.operator.spec import A
from drpass.passes.gain import served_by_winograd
from drpass.passes.places import reuse_nodes
from drpass.rules.absorbing import SHAPE
from drpass.rules.anchor import attribute, input_of


def grant(model: ir.Model, memo_bytes: int, allow_tf32: bool) -> int:
    """Change all DeepReuseGemm nodes that can use it, in place; returns how many keep results from call to call.

    ``memo_bytes`` are shared by the size of outputs. With ``allow_tf32`` every node may round factors to TF32 where
    that is quicker: on CUDA. The CPU computes as before.
    """
    nodes = list(reuse_nodes(model))
    sizes = {node: _output_size(node) for node in nodes if memo_bytes and _can_keep(node)}
    total = sum(sizes.values())
    for node, size in sizes.items():
        node.attributes["memo_bytes"] = ir.AttrInt64("memo_bytes", memo_bytes * size // total)
    if allow_tf32:
        for node in nodes:
            node.attributes["allow_tf32"] = ir.AttrInt64("allow_tf32", 1)
    return len(sizes)


def _can_keep(node: ir.Node) -> bool:
    return bool(
        attribute(node, "method", "exact") == "exact"
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
