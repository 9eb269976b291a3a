"""Pass 6: give LRN nodes to the library's own kernel: the same formula, without a call of pow for every value.

In the networks that have LRN (AlexNet, CifarNet) ONNX Runtime's own kernel takes longer than their convolutions.
"""

from __future__ import annotations

import onnx_ir as ir

from drpass.operator.spec import DOMAIN, LRN, VERSION
from drpass.passes.places import Place, label, places
from drpass.passes.plan import EXACT, NOT_ASSIGNED, Assignment, Selection, Verdict
from drpass.passes.replace import substitute
from drpass.rules.anchor import FLOATS, input_of, wrong_type
from drpass.shape_inference import Shapes


def find_normalizations(model: ir.Model) -> list[tuple[Place, ir.Node]]:
    """All LRN nodes of ONNX, in graph order."""
    return [
        (place, node) for place in places(model) for node in place.graph if node.op_type == LRN and node.domain == ""
    ]


def decide_normalizations(
    model: ir.Model, shapes: Shapes, selection: Selection, assignment: Assignment | None = None
) -> list[Verdict]:
    """A verdict for every LRN node, in the order of `find_normalizations`; ``assignment`` may keep some."""
    return [_verdict(place, node, shapes, selection, assignment) for place, node in find_normalizations(model)]


def normalize(model: ir.Model, verdicts: list[Verdict]) -> list[ir.Node | None]:
    """Replace the LRN nodes whose verdict says so; returns the new node of each, None for those that are kept."""
    new_nodes: list[ir.Node | None] = []
    for (place, node), verdict in zip(find_normalizations(model), verdicts, strict=True):
        if not verdict.replaced:
            new_nodes.append(None)
            continue
        attributes = {name: attribute.value for name, attribute in node.attributes.items()}
        new = ir.node(LRN, list(node.inputs), attributes, domain=DOMAIN, name=node.name)
        substitute(place, [node], node, new)
        model.graph.opset_imports.setdefault(DOMAIN, VERSION)
        new_nodes.append(new)
    return new_nodes


def _verdict(
    place: Place, node: ir.Node, shapes: Shapes, selection: Selection, assignment: Assignment | None
) -> Verdict:
    choice = EXACT if assignment is None else assignment.get((place.path, label(node)), NOT_ASSIGNED)
    reason = _illegal(place, node, shapes) or selection.reason(label(node), LRN)
    if isinstance(choice, str):
        reason = reason or choice
    return Verdict(label(node), LRN, place.path, not reason, None, reason)


def _illegal(place: Place, node: ir.Node, shapes: Shapes) -> str:
    x = input_of(node, 0)
    if place.in_function or x is None:
        return "the type of its input is not known"
    dtype = shapes.get(x, x).dtype
    return "" if dtype in FLOATS else wrong_type(dtype.name.lower() if dtype else "not known")
