"""Operators of ONNX that work on a tensor in NCHW16c as they are, because they do not ask where a channel lies.

A value in NCHW16c is an ordinary tensor of one more axis. `match` says how many channels the outputs have, if all that
the operator reads is in NCHW16c too, or is a single number. Lanes without a channel must be left zero.

1. Functions of one number that keep zero.
2. Sums, products and extremes of tensors with the same number of channels; the other axes broadcast as before.
3. As 1 and 2 with single numbers, and functions that move zero: only where every lane has a channel.
4. Concat along the channels: only where every lane has a channel.
5. Split of the channels into equal parts: only where every lane of a part has a channel.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from drpass.operator.packing import PANEL
from drpass.rules.anchor import FIRST_NUMPY_OPSET, Kept, attribute, constant, input_of, require

#: Case 1.
KEEPS_ZERO = frozenset(
    ("Abs", "Dropout", "Elu", "HardSwish", "Identity", "LeakyRelu", "Neg", "Relu", "Selu", "Softsign", "Sqrt", "Tanh")
)
#: Case 2.
JOINS = frozenset(("Add", "Max", "Min", "Mul", "Sub"))
#: Case 3.
MOVES_ZERO = frozenset(("Clip", "Div", "Exp", "HardSigmoid", "Sigmoid", "Softplus"))


def match(node: ir.Node, opset: int, channels: Mapping[ir.Value, int]) -> list[int]:
    """The numbers of channels of the outputs; raises Kept where the operator can't work on blocks.

    ``channels`` has the values in NCHW16c with their numbers of channels.
    """
    require(node.domain == "" and opset >= FIRST_NUMPY_OPSET, "unknown operator")
    x = input_of(node, 0)
    if node.op_type == "Split" and x is not None and x in channels:
        return _split(node, channels[x])
    require(len(node.outputs) == 1, "it has more than one output")
    return [_of_several(node, channels)]


def _of_several(node: ir.Node, channels: Mapping[ir.Value, int]) -> int:
    """Cases 1 to 4."""
    data = [value for value in node.inputs if value is not None and value in channels]
    numbers = [value for value in node.inputs if value is not None and value not in channels]
    require(bool(data), "nothing that it reads is in blocks")
    if node.op_type == "Concat":
        require(not numbers and attribute(node, "axis", 0) in (1, -3), "it does not join channels")
        require(all(channels[value] % PANEL == 0 for value in data), "a block would hold channels of two tensors")
        return sum(channels[value] for value in data)
    require(node.op_type in KEEPS_ZERO | JOINS | MOVES_ZERO, "unknown operator")
    require(len({channels[value] for value in data}) == 1, "the numbers of channels differ")
    require(all(map(is_number, numbers)), "an operand is neither in blocks nor a number")
    # Dropout: what its inputs say besides the data is not computed with.
    zero_stays = node.op_type in KEEPS_ZERO or (node.op_type in JOINS and not numbers)
    require(zero_stays or channels[data[0]] % PANEL == 0, "lanes without a channel would not be zero")
    return channels[data[0]]


def _split(node: ir.Node, count: int) -> list[int]:
    """Case 5."""
    parts = len(node.outputs)
    require(attribute(node, "axis", 0) in (1, -3), "it does not split channels")
    require(count % parts == 0 and count // parts % PANEL == 0, "a block would hold channels of two parts")
    sizes = input_of(node, 1)
    given = attribute(node, "split", ()) if sizes is None else constant(sizes, "sizes").reshape(-1)
    require(all(int(size) == count // parts for size in given), "its parts are not equal")
    return [count // parts] * parts


def is_number(value: ir.Value) -> bool:
    """Whether a value is a constant of one element that adds no axis to a tensor [N, C, H, W]."""
    try:
        array = constant(value, "operands")
    except Kept:
        return False
    return array.size == 1 and array.ndim <= 4
