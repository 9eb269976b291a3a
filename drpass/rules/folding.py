"""Operators between a stored constant and the node that reads it, such as the DequantizeLinear of quantised weights.

`fold` computes what ONNX Runtime would, to the bit. The first input is the data; all others are stored constants.

1. Cast to a floating-point type, Transpose, Reshape, Flatten, Squeeze and Unsqueeze.
2. DequantizeLinear: a scale for all values, one a channel (``axis``), or one a block of the axis (``block_size``).
3. QuantizeLinear to 8 and 16 bits, as quantisation-aware training leaves it in front of a DequantizeLinear.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

Array = npt.NDArray[Any]
Operands = Sequence[Array | None]
Attributes = Mapping[str, Any]

#: ONNX Runtime's own domain has types that older opsets lack.
_QUANTISATION_DOMAINS = ("", "com.microsoft")
_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE)
_QUANTISED = (ir.DataType.INT8, ir.DataType.UINT8, ir.DataType.INT16, ir.DataType.UINT16)


def is_foldable(node: ir.Node) -> bool:
    """Whether `fold` knows the operator."""
    if node.op_type not in _RULES or len(node.outputs) != 1 or not node.inputs:
        return False
    quantisation = node.op_type in ("DequantizeLinear", "QuantizeLinear")
    return node.domain in (_QUANTISATION_DOMAINS if quantisation else ("",))


def fold(op_type: str, operands: Operands, attributes: Attributes) -> Array:
    """The output of an operator for constant ``operands`` (None: left out).

    Raises ValueError, or what NumPy raises, where they contradict each other or the case is not one of the above.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return _RULES[op_type](operands, attributes)


def _cast(operands: Operands, attributes: Attributes) -> Array:
    kind = ir.DataType(attributes["to"])
    if kind not in _FLOATS:
        raise ValueError(f"cast to {kind.name.lower()}")
    return _data(operands).astype(kind.numpy())


def _transpose(operands: Operands, attributes: Attributes) -> Array:
    return np.transpose(_data(operands), attributes.get("perm"))


def _reshape(operands: Operands, attributes: Attributes) -> Array:
    data, shape = _data(operands), _axes(operands, attributes, "shape")
    if shape is None:
        raise ValueError("reshaped without a shape")
    if not attributes.get("allowzero", 0):
        shape = [data.shape[index] if size == 0 else size for index, size in enumerate(shape)]
    return data.reshape(shape)


def _flatten(operands: Operands, attributes: Attributes) -> Array:
    data = _data(operands)
    axis = int(attributes.get("axis", 1))
    if not -data.ndim <= axis <= data.ndim:
        raise ValueError(f"flattened at axis {axis} of {data.ndim}")
    rows = int(np.prod(data.shape[: axis if axis >= 0 else data.ndim + axis], dtype=np.int64))
    return data.reshape(rows, data.size // rows if rows else 0)


def _squeeze(operands: Operands, attributes: Attributes) -> Array:
    axes = _axes(operands, attributes, "axes")
    return np.squeeze(_data(operands), None if axes is None else tuple(axes))


def _unsqueeze(operands: Operands, attributes: Attributes) -> Array:
    return np.expand_dims(_data(operands), tuple(_axes(operands, attributes, "axes") or ()))


def _dequantize(operands: Operands, attributes: Attributes) -> Array:
    """(x - zero point) · scale; the difference is an integer, the product is rounded once."""
    data, scale, zero = _quantisation(operands, attributes)
    output = ir.DataType(attributes.get("output_dtype", 0)) or ir.DataType.from_numpy(scale.dtype)
    if np.issubdtype(data.dtype, np.integer) or ir.DataType.from_numpy(data.dtype).is_integer():
        values = data.astype(np.int32) if zero is None else data.astype(np.int32) - zero.astype(np.int32)
    else:
        values = data
    return (values.astype(np.float32) * scale.astype(np.float32)).astype(output.numpy())


def _quantize(operands: Operands, attributes: Attributes) -> Array:
    """round(x / scale) + zero point, ties to even, as near as the type allows."""
    data, scale, zero = _quantisation(operands, attributes)
    output = ir.DataType(attributes.get("output_dtype", 0)) or ir.DataType.UINT8
    if zero is not None:
        output = ir.DataType.from_numpy(zero.dtype)
    if output not in _QUANTISED or data.dtype != np.float32 or not np.isfinite(data).all():
        raise ValueError(f"quantised from {data.dtype} to {output.name.lower()}")
    limits = np.iinfo(output.numpy())
    values = np.rint(data / scale) + (0 if zero is None else zero.astype(np.float32))
    return np.clip(values, limits.min, limits.max).astype(output.numpy())


def _quantisation(operands: Operands, attributes: Attributes) -> tuple[Array, Array, Array | None]:
    """Data, scale and zero point; the latter two broadcast to the data."""
    data, scale, zero = (*operands, None, None)[:3]
    if data is None or scale is None:
        raise ValueError("an input is missing")
    if zero is not None and zero.shape != scale.shape:
        raise ValueError("scale and zero point have different shapes")
    place = _placing(data, scale, attributes)
    return data, place(scale), None if zero is None else place(zero)


def _placing(data: Array, scale: Array, attributes: Attributes) -> Callable[[Array], Array]:
    """How scales and zero points come to lie where the data is that they are for."""
    if scale.size == 1 and scale.ndim <= 1:
        return lambda array: array.reshape(())
    axis, block = int(attributes.get("axis", 1)), int(attributes.get("block_size", 0))
    if not -data.ndim <= axis < data.ndim:
        raise ValueError(f"quantised along axis {axis} of {data.ndim}")
    length = data.shape[axis]
    if block:
        others = [size for index, size in enumerate(data.shape) if index != axis % data.ndim]
        scales = [size for index, size in enumerate(scale.shape) if index != axis % data.ndim]
        if scale.ndim != data.ndim or scales != others or scale.shape[axis] != -(-length // block):
            raise ValueError("the scales do not fit the blocks")
        return lambda array: array.take(np.arange(length) // block, axis)
    if scale.shape != (length,):
        raise ValueError("the scales do not fit the channels")
    shape = [length if index == axis % data.ndim else 1 for index in range(data.ndim)]
    return lambda array: array.reshape(shape)


def _data(operands: Operands) -> Array:
    if operands[0] is None:
        raise ValueError("an input is missing")
    return operands[0]


def _axes(operands: Operands, attributes: Attributes, name: str) -> list[int] | None:
    """A list of integers that is an attribute in old opsets, then an input."""
    found = attributes.get(name, operands[1] if len(operands) > 1 else None)
    return None if found is None else [int(item) for item in found]


_RULES: dict[str, Callable[[Operands, Attributes], Array]] = {
    "Cast": _cast,
    "DequantizeLinear": _dequantize,
    "Flatten": _flatten,
    "QuantizeLinear": _quantize,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
