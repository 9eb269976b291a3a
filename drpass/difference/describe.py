"""Attributes, constants and types in words, and as keys that are equal only where the things are."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Hashable

import onnx_ir as ir

from drpass.console import size_text
from drpass.difference.report import Tensor
from drpass.errors import DrpassError
from drpass.external_data import forget
from drpass.operator.spec import DOMAIN, OP_TYPE, ReuseParameters

_MAX_TEXT = 80

#: Values of attributes that mean the same as leaving them out, for all operators with these attributes.
_NEUTRAL: dict[str, set[int | str]] = {
    "strides": {1},
    "dilations": {1},
    "pads": {0},
    "group": {1},
    "auto_pad": {"NOTSET"},
}


def operator(node: ir.Node) -> str:
    """``Conv``, ``com.microsoft::FusedConv``; the domain of DeepReuseGemm, which no other has, goes without saying."""
    name = f"{node.op_type}:{node.overload}" if node.overload else node.op_type
    plain = node.domain in ("", "ai.onnx") or (node.domain, node.op_type) == (DOMAIN, OP_TYPE)
    return name if plain else f"{node.domain}::{name}"


def title(node: ir.Node) -> str:
    """The node's name, or what it gives in angle brackets if it has none."""
    return node.name or f"<{', '.join(value.name or '' for value in node.outputs)}>"


def parameters(node: ir.Node) -> str | None:
    """The method and its parameters if the node is a DeepReuseGemm: ``grid L=4 step=0.1σ image r_c≤0.5``."""
    if (node.domain, node.op_type) != (DOMAIN, OP_TYPE):
        return None
    known = ReuseParameters.__dataclass_fields__
    given = {name: attr.value for name, attr in node.attributes.items() if name in known}
    try:
        return ReuseParameters(**given).describe()
    except (TypeError, ValueError):  # a damaged node; its attributes are listed as they are
        return None


def tensor(value: ir.TensorProtocol, name: str, used_by: list[str] | None = None) -> Tensor:
    """Type, shape, size and hash. Raises DrpassError if the content can't be read."""
    try:
        if value.dtype == ir.DataType.STRING:
            texts = [bytes(text) for text in value.string_data()]  # type: ignore[attr-defined]
            content = b"".join(len(text).to_bytes(8, "little") + text for text in texts)
        else:
            content = value.tobytes()
        shape = [int(dim) for dim in value.shape.numpy()]
    except Exception as error:  # Whatever a damaged tensor makes its reader stumble over.
        raise DrpassError(f"the constant {name!r} can't be read: {error}") from error
    if value.dtype != ir.DataType.STRING and len(content) != value.nbytes:
        raise DrpassError(f"the constant {name!r} has {len(content)} bytes, but its shape {shape} needs {value.nbytes}")
    digest = hashlib.sha256(content).hexdigest()[:12]
    forget(getattr(value, "raw", None))
    return Tensor(str(value.dtype).lower(), shape, len(content), digest, used_by or [])


def tensor_text(value: Tensor) -> str:
    """``float [64, 3, 3, 3]  6.8 KiB  #1f3a5c7e9b2d``."""
    return f"{value.dtype} {value.shape}  {size_text(value.bytes)}  #{value.sha256}"


def value_type(value: ir.Value) -> str:
    """The type of a graph input or output: ``FLOAT [N, 3, 227, 227]``; ``?`` for what is not known."""
    kind = "?" if value.type is None else str(value.dtype or value.type).lower()
    if value.shape is None:
        return kind
    dims = [str(dim) if isinstance(dim, int) else str(dim.value or "?") for dim in value.shape.dims]
    return f"{kind} [{', '.join(dims)}]"


def is_graph(attribute: ir.Attr) -> bool:
    """Whether the attribute holds a body: these are compared node by node."""
    return not attribute.is_ref() and attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)


def attribute_key(attribute: ir.Attr) -> Hashable:
    """Equal for two attributes exactly if they are (bodies aside)."""
    if attribute.is_ref():
        return "ref", attribute.ref_attr_name
    if is_graph(attribute):
        return (attribute.type.name,)
    if attribute.type in (ir.AttributeType.TENSOR, ir.AttributeType.TENSORS):
        tensors = [attribute.value] if attribute.type == ir.AttributeType.TENSOR else attribute.value
        found = [tensor(item, attribute.name) for item in tensors]
        return (attribute.type.name, *((item.dtype, tuple(item.shape), item.sha256) for item in found))
    return attribute.type.name, repr(attribute.value)


def attribute_text(attribute: ir.Attr) -> str:
    """The value, shortened; what is cut off is told apart by a hash."""
    if attribute.is_ref():
        return f"attribute {attribute.ref_attr_name} of the function"
    if attribute.type == ir.AttributeType.GRAPH:
        return f"a graph of {len(attribute.value)} nodes"
    if attribute.type == ir.AttributeType.TENSOR:
        found = tensor(attribute.value, attribute.name)
        small = found.dtype != "string" and math.prod(found.shape) <= 8
        return f"{tensor_text(found)} = {attribute.value.numpy().tolist()}" if small else tensor_text(found)
    if attribute.type == ir.AttributeType.FLOAT:
        return f"{attribute.value:.9g}"
    return shortened(str(list(attribute.value)) if isinstance(attribute.value, tuple) else str(attribute.value))


def shortened(text: str) -> str:
    """At most 80 characters; a hash stands for the rest."""
    text = " ".join(text.split()) if "\n" in text else text
    if len(text) <= _MAX_TEXT:
        return text
    return f"{text[:_MAX_TEXT]}... #{hashlib.sha256(text.encode(errors='replace')).hexdigest()[:12]}"


def is_neutral(attribute: ir.Attr) -> bool:
    """Whether the attribute says what its absence would say."""
    if attribute.is_ref() or attribute.name not in _NEUTRAL:
        return False
    values = attribute.value if isinstance(attribute.value, (tuple, list)) else [attribute.value]
    return all(value in _NEUTRAL[attribute.name] for value in values)
