"""What the rules for Conv, Gemm and MatMul say about a node: a `Match`, or `Kept` with a reason a person can read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

#: From this opset on, Gemm and the elementwise operators broadcast as numpy does.
FIRST_NUMPY_OPSET = 7

Array = npt.NDArray[np.float32]


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
    """The constant behind ``value`` (an initializer or a Constant node, through Identity nodes).

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
    """As `constant`, for float32 only, without reading it."""
    tensor = _tensor(value, what)
    require(tensor.dtype == ir.DataType.FLOAT, _wrong_type(str(tensor.dtype).lower()))
    return tensor


def _tensor(value: ir.Value, what: str) -> ir.TensorProtocol:
    source = _behind_identities(value)
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


def float_constant(value: ir.Value, what: str) -> Array:
    """As `constant`, for float32 only."""
    array = constant(value, what)
    require(array.dtype == np.float32, _wrong_type(str(array.dtype)))
    return array


def _wrong_type(name: str) -> str:
    return f"unsupported type ({name}; only float32 is supported)"


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
