"""What the rules for Conv, Gemm and MatMul say about a node: a `Match`, or `Kept` with a reason a person can read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from drpass.rules import folding

#: From this opset on, Gemm and the elementwise operators broadcast as numpy does.
FIRST_NUMPY_OPSET = 7

#: Of one of `FLOATS`.
Array = npt.NDArray[Any]
#: The types that the operator has.
FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16)


class Kept(Exception):  # noqa: N818 - an answer, not an error
    """A guard failed: the node stays as it is. The message is the reason that the report shows."""


@dataclass(frozen=True)
class Match:
    """A node that can become a DeepReuseGemm, and what that node is made of."""

    #: The running input.
    x: ir.Value
    #: [M, Cg, \*kernel]; [M, K] in the matrix form.
    weights: Array
    #: The number of axes of the output.
    rank: int
    #: The value that held the weights: the packed initializer is named after it.
    weights_source: ir.Value
    #: What was done to the weights besides packing; nodes with the same source and recipe share one initializer.
    recipe: tuple[Any, ...] = ()
    #: [M], or None.
    bias: ir.Value | Array | None = None
    #: Added before the activation, after multiplying with ``addend_scale``.
    addend: ir.Value | None = None
    addend_scale: float = 1.0
    #: The attributes of the convolution or matrix form, without those that have their default.
    attributes: Mapping[str, Any] = field(default_factory=dict)
    #: The operator on integers that ONNX Runtime makes of the node (`drpass.rules.quantised`); empty: it makes none.
    integers: str = ""
    #: Nodes that computed ``x`` before and are part of the match now, the nearest first (`drpass.rules.before_conv`).
    before: tuple[ir.Node, ...] = ()

    @property
    def group(self) -> int:
        return int(self.attributes.get("group", 1))

    @property
    def is_convolution(self) -> bool:
        return "kernel_shape" in self.attributes


#: A rule: takes the node and its opset version (domain ``ai.onnx``), returns the match or raises Kept.
Anchor = Callable[[ir.Node, int], Match]


def require(condition: bool, reason: str) -> None:
    """A guard: raise Kept with ``reason`` unless ``condition`` holds."""
    if not condition:
        raise Kept(reason)


def attribute(node: ir.Node, name: str, default: Any) -> Any:
    """The value of an attribute; raises Kept where it is a parameter of the enclosing function."""
    found = node.attributes.get(name)
    if found is None:
        return default
    require(not found.is_ref(), f"attribute {name} is a parameter of the function")
    require(isinstance(found.value, _TYPES[type(default)]), f"attribute {name} has the wrong type")
    return tuple(found.value) if isinstance(default, tuple) else found.value


_TYPES: dict[type, tuple[type, ...]] = {
    int: (int,),
    float: (float, int),
    str: (str,),
    tuple: (tuple, list),
}


def input_of(node: ir.Node, index: int) -> ir.Value | None:
    """Input ``index`` of the node, or None where it is left out."""
    return node.inputs[index] if index < len(node.inputs) else None


def constant(value: ir.Value, what: str) -> npt.NDArray[Any]:
    """The constant behind ``value``: an initializer or a Constant node, through Identity and `drpass.rules.folding`.

    ``what`` names it in the reason (plural: "weights"). Raises Kept where it is not constant or can't be read.
    """
    tensor = _tensor(value, what)
    try:
        return np.asarray(tensor.numpy())
    except Exception as error:  # Whatever an untrusted tensor makes the reader raise: it is the model's fault.
        raise _unreadable(what, error) from error


def _unreadable(what: str, error: Exception) -> Kept:
    return Kept(f"{what} can't be read ({' '.join(str(error).split())[:120]})")


def float_tensor(value: ir.Value, what: str) -> ir.TensorProtocol:
    """As `constant`, for `FLOATS` only, without reading it."""
    tensor = _tensor(value, what)
    require(tensor.dtype in FLOATS, wrong_type(str(tensor.dtype).lower()))
    return tensor


def _tensor(value: ir.Value, what: str) -> ir.TensorProtocol:
    stored, nodes = _behind_foldable(value)
    tensor = _stored_tensor(stored, what)
    return _folded(tensor, nodes, what) if nodes else tensor


def _stored_tensor(source: ir.Value, what: str) -> ir.TensorProtocol:
    if source.is_initializer():
        require(not source.is_graph_input(), f"{what} are an initializer that is also a graph input")
        tensor = source.const_value
    else:
        try:
            tensor = _constant_node_tensor(source)
        except ValueError as error:  # a type that there is not
            raise _unreadable(what, error) from error
    if tensor is None:
        raise Kept(f"{what} are not constant")
    return tensor


def _folded(tensor: ir.TensorProtocol, nodes: Sequence[ir.Node], what: str) -> ir.TensorProtocol:
    """What the operators make of the stored tensor."""
    others = [[None if x is None else _stored_tensor(_behind_identities(x), what) for x in n.inputs[1:]] for n in nodes]
    try:
        array = np.asarray(tensor.numpy())
        for node, operands in zip(nodes, others, strict=True):
            attributes = {name: found.value for name, found in node.attributes.items()}
            arrays = [None if operand is None else np.asarray(operand.numpy()) for operand in operands]
            array = folding.fold(node.op_type, [array, *arrays], attributes)
        return ir.tensor(array)
    except Exception as error:  # Whatever an untrusted model makes NumPy raise.
        raise _unreadable(what, error) from error


def float_constant(value: ir.Value, what: str) -> Array:
    """As `constant`, for `FLOATS` only."""
    array = constant(value, what)
    require(array.dtype in (np.float32, np.float16), wrong_type(str(array.dtype)))
    return array


def wrong_type(name: str) -> str:
    """Why a node with a tensor that is not of `FLOATS` is kept."""
    return f"unsupported type ({name}; only float32 and float16 are supported)"


def is_constant(value: ir.Value) -> bool:
    """Whether `constant` would find a readable tensor."""
    try:
        constant(value, "")
    except Kept:
        return False
    return True


def _behind_identities(value: ir.Value) -> ir.Value:
    seen = {value}
    while (node := value.producer()) is not None and node.op_type == "Identity" and node.domain == "":
        source = input_of(node, 0)
        if source is None or source in seen:
            break
        value = source
        seen.add(value)
    return value


def _behind_foldable(value: ir.Value) -> tuple[ir.Value, list[ir.Node]]:
    """The value that is stored, and the nodes that are computed from it, in order."""
    nodes: dict[ir.Node, None] = {}
    value = _behind_identities(value)
    while (node := value.producer()) is not None and folding.is_foldable(node) and node not in nodes:
        source = node.inputs[0]
        if source is None or any(found.is_ref() for found in node.attributes.values()):
            break
        nodes[node] = None
        value = _behind_identities(source)
    return value, list(reversed(nodes))


def is_computed(value: ir.Value) -> bool:
    """Whether operators of `drpass.rules.folding` make the value from another."""
    return bool(_behind_foldable(value)[1])


def origin(value: ir.Value) -> tuple[Any, ...]:
    """What a constant is made of: equal for values that hold the same numbers for that reason."""
    stored, nodes = _behind_foldable(value)
    steps = [
        (
            node.op_type,
            *(None if operand is None else _behind_identities(operand) for operand in node.inputs[1:]),
            *sorted((name, str(found.value)) for name, found in node.attributes.items()),
        )
        for node in nodes
    ]
    return (stored, *steps)


def _constant_node_tensor(value: ir.Value) -> ir.TensorProtocol | None:
    node = value.producer()
    if node is None or node.op_type != "Constant" or node.domain != "" or len(node.attributes) != 1:
        return None
    found = next(iter(node.attributes.values()))
    if found.is_ref():
        return None
    if found.name == "value" and found.type == ir.AttributeType.TENSOR:
        return found.as_tensor()
    if found.name in ("value_float", "value_floats"):
        return ir.tensor(np.asarray(found.value, dtype=np.float32))
    return None
