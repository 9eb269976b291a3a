"""Keep zeros that pad the input of a MaxPool zeros in ONNX Runtime (`drpass.rules.pool_padding`)."""

from __future__ import annotations

import onnx_ir as ir

from drpass.passes.places import label, places
from drpass.rules.anchor import Kept
from drpass.rules.pool_padding import require_pad


def keep_padding(model: ir.Model) -> list[str]:
    """Change every MaxPool that needs it, in place; returns their names."""
    changed = []
    for place in places(model):
        for node in place.graph:
            try:
                require_pad(node, place.opset)
            except Kept:
                continue
            node.attributes.pop("pads", None)
            node.attributes["auto_pad"] = ir.AttrString("auto_pad", "VALID")
            changed.append(label(node))
    return changed
