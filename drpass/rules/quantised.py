"""Quantised products: those that ONNX Runtime computes on integers, and what stays as it is.

QDQ form: a product whose operands come from DequantizeLinear, and whose result goes to a QuantizeLinear. ONNX Runtime
makes one operator on integers of the three. `integer_operator` says of which nodes:

1. Conv, with 8-bit operands, whose result is quantised to 8 bits, with nothing but a Relu in between: QLinearConv. The
   Relu must not cut anything that the quantisation keeps.
2. Gemm and MatMul, with 8-bit operands: QGemm, QLinearMatMul, MatMulIntegerToFloat.
3. MatMul with weights of 4 or 8 bits in blocks, and an operand in float: MatMulNBits.

`reason_to_keep` has the operators that are on integers in the file already.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from drpass.rules.anchor import Kept, attribute, constant, input_of

_DEQUANTIZE, _QUANTIZE = "DequantizeLinear", "QuantizeLinear"

_BYTES = (ir.DataType.INT8, ir.DataType.UINT8)
_NIBBLES = (ir.DataType.INT4, ir.DataType.UINT4)

_AS_INTEGERS = "ONNX Runtime computes it on 8-bit integers, which is faster where the CPU has VNNI (docs/quantised.md)"
_INT32 = "its result is in 32-bit integers, which float32 can't hold exactly"

#: By domain and operator: products on integers, and why they stay as they are.
_KEPT = {
    ("", "ConvInteger"): _INT32,
    ("", "MatMulInteger"): _INT32,
    ("", "QLinearConv"): _AS_INTEGERS,
    ("", "QLinearMatMul"): _AS_INTEGERS,
    ("com.microsoft", "QLinearConv"): _AS_INTEGERS,
    ("com.microsoft", "QGemm"): _AS_INTEGERS,
    ("com.microsoft", "DynamicQuantizeMatMul"): _AS_INTEGERS,
    ("com.microsoft", "MatMulIntegerToFloat"): _AS_INTEGERS,
    ("com.microsoft", "MatMulNBits"): "ONNX Runtime multiplies with weights of few bits as they are stored",
}
#: Names of these operators.
OP_TYPES = tuple(dict.fromkeys(op_type for _, op_type in _KEPT))


def reason_to_keep(node: ir.Node) -> str:
    """Why a product on integers stays as it is; empty for any other node."""
    return _KEPT.get((node.domain, node.op_type), "")


def reason_against(operator: str) -> str:
    """Why a node of which ONNX Runtime makes ``operator`` is not replaced where only speed counts."""
    return f"{_AS_INTEGERS}: {operator}" if operator else ""


def integer_operator(node: ir.Node) -> str:
    """The operator on integers that ONNX Runtime makes of a product in QDQ form; empty if it makes none."""
    try:
        return _integer_operator(node)
    except Kept:  # an attribute that is a parameter of a function, or has the wrong type
        return ""


def _integer_operator(node: ir.Node) -> str:
    data, weights = (_writer(input_of(node, index), _DEQUANTIZE) for index in (0, 1))
    if weights is None:
        return ""
    if data is None or not _is_in_bytes(data):
        in_blocks = node.op_type == "MatMul" and attribute(weights, "block_size", 0) > 0
        return "MatMulNBits" if in_blocks and _type(weights) in (*_NIBBLES, *_BYTES) else ""
    if not _is_in_bytes(weights):
        return ""
    quantize, to_float = _quantize(node), not _is_quantised_elsewhere(node)
    if node.op_type == "Conv":
        return "QLinearConv" if quantize is not None else ""
    if node.op_type == "MatMul":
        return "QLinearMatMul" if quantize is not None else "MatMulIntegerToFloat" if to_float else ""
    bias = input_of(node, 2)
    if bias is not None and not attribute(node, "alpha", 1.0) == attribute(node, "beta", 1.0) == 1.0:
        return ""
    takes_bias = bias is None or _writer(bias, _DEQUANTIZE) is not None
    return "QGemm" if quantize is not None or (to_float and takes_bias) else ""


def _quantize(node: ir.Node) -> ir.Node | None:
    """The QuantizeLinear to 8 bits to which the result goes, and nowhere else."""
    reader = _only_reader(node.outputs[0])
    if reader is not None and reader.op_type == "Relu" and reader.domain == "":
        reader = _only_reader(reader.outputs[0])
        if reader is not None and not _starts_at_zero(reader):
            return None
    if reader is None or reader.op_type != _QUANTIZE:
        return None
    return reader if _is_in_bytes(reader) else None


def _is_quantised_elsewhere(node: ir.Node) -> bool:
    """Whether a QuantizeLinear reads the result, or what a Relu or Clip alone makes of it."""
    readers = [use.node for use in node.outputs[0].uses()]
    if len(readers) == 1 and readers[0].op_type in ("Relu", "Clip"):
        readers = [use.node for use in readers[0].outputs[0].uses()]
    return any(reader.op_type == _QUANTIZE for reader in readers)


def _starts_at_zero(quantize: ir.Node) -> bool:
    """Whether the least number of the type stands for 0, so that a Relu in front does nothing."""
    zero = input_of(quantize, 2)
    if zero is None:
        return True
    array = constant(zero, "the zero point")
    return array.dtype in (np.uint8, np.int8) and bool(np.all(array == np.iinfo(array.dtype).min))


def _writer(value: ir.Value | None, op_type: str) -> ir.Node | None:
    """The node of that type that computes the value."""
    node = None if value is None else value.producer()
    return node if node is not None and node.op_type == op_type and node.inputs and node.inputs[0] else None


def _only_reader(value: ir.Value) -> ir.Node | None:
    uses = list(value.uses())
    return uses[0].node if len(uses) == 1 and not value.is_graph_output() else None


def _is_in_bytes(node: ir.Node) -> bool:
    """Whether the integers that a node dequantises, or quantises to, have 8 bits."""
    return _type(node) in _BYTES


def _type(node: ir.Node) -> ir.DataType | None:
    """The type of these integers, as far as the model itself says it."""
    value = node.inputs[0] if node.op_type == _DEQUANTIZE else node.outputs[0]
    zero = input_of(node, 2)
    for known in (value, zero):
        if known is not None and known.const_value is not None:
            return known.const_value.dtype
        if known is not None and known.dtype is not None:
            return known.dtype
    if node.op_type == _QUANTIZE:
        return ir.DataType.UINT8 if zero is None else None
    writer = _writer(value, _QUANTIZE)
    return None if writer is None else _type(writer)
