"""What changed in a node that both graphs have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest

import onnx_ir as ir

from drpass.difference.describe import attribute_key, attribute_text, is_graph, is_neutral, operator, shortened
from drpass.difference.report import FieldChange


def changed_fields(before: ir.Node, after: ir.Node, renamed: Mapping[str, str]) -> list[FieldChange]:
    """Name, inputs, outputs, attributes, description and metadata that differ.

    ``renamed``: values with a new name, left to right; that is said where a value is made, not at each use.
    """
    changes = [] if before.name == after.name else [FieldChange("name", before.name or None, after.name or None)]
    changes += _values("input", before.inputs, after.inputs, renamed)
    changes += _values("output", before.outputs, after.outputs, {})
    changes += _attributes(before, after)
    if (before.doc_string or "") != (after.doc_string or ""):
        changes.append(_texts("description", before.doc_string, after.doc_string))
    for key in sorted(before.metadata_props.keys() | after.metadata_props.keys()):
        one, other = before.metadata_props.get(key), after.metadata_props.get(key)
        if one != other:
            changes.append(_texts(f"metadata {key}", one, other))
    return changes


def _texts(field: str, before: str | None, after: str | None) -> FieldChange:
    return FieldChange(field, before and shortened(before), after and shortened(after))


def _values(
    what: str, before: Sequence[ir.Value | None], after: Sequence[ir.Value | None], renamed: Mapping[str, str]
) -> list[FieldChange]:
    pairs = zip_longest(map(_name, before), map(_name, after))
    return [
        FieldChange(f"{what} {index}", one, other)
        for index, (one, other) in enumerate(pairs)
        if (one and renamed.get(one, one)) != other
    ]


def _name(value: ir.Value | None) -> str | None:
    """None where an optional input or output is left out."""
    return (value.name or None) if value is not None else None


def _attributes(before: ir.Node, after: ir.Node) -> list[FieldChange]:
    changes = []
    new_operator = operator(before) != operator(after)
    for name in [*before.attributes, *(name for name in after.attributes if name not in before.attributes)]:
        one, other = before.attributes.get(name), after.attributes.get(name)
        present = one or other
        if one is not None and other is not None:
            if attribute_key(one) == attribute_key(other) or (is_graph(one) and is_graph(other)):
                continue
        elif new_operator and present is not None and is_neutral(present):
            continue  # another operator that leaves out what it need not say
        before_text = None if one is None else attribute_text(one)
        changes.append(FieldChange(name, before_text, None if other is None else attribute_text(other)))
    return changes
