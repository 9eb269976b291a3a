"""Pass 9: what nodes may round (docs/cuda.md, *Tensor cores*)."""

from __future__ import annotations

import onnx_ir as ir

from drpass.operator.spec import DOMAIN, OP_TYPE
from drpass.passes.places import places


def let_round_to_tf32(model: ir.Model) -> None:
    """Let every DeepReuseGemm round factors to TF32 where that is quicker: on CUDA. The CPU computes as before."""
    for place in places(model):
        for node in place.graph:
            if node.domain == DOMAIN and node.op_type == OP_TYPE:
                node.attributes["allow_tf32"] = ir.AttrInt64("allow_tf32", 1)
