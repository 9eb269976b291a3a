"""What the absorbing rules share: the pattern of a DeepReuseGemm, guards, constants per channel, and its rebuilding.

In every rule ``y`` is the output of the DeepReuseGemm. That it has no other consumer and is no graph output is checked
by the matcher; that domain ai.onnx has an opset with numpy broadcasting, by the pass.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnxscript.rewriter import MatchResult, RewriteRuleClassBase

from drpass.deferred import deferred
from drpass.operator.packing import scale_packed
from drpass.operator.spec import DOMAIN, OP_TYPE, VERSION, A, Activation, B, W, X
from drpass.rules.anchor import Kept, attribute, float_constant, float_tensor, input_of, require
from drpass.rules.half import in_range, keeps_precision

Channels = npt.NDArray[np.float64]

#: Key of the number of axes of the output in ``meta`` of a node; it is never written to a file.
RANK = "drpass.rank"
#: Key of the shape in ``meta`` of a value, as far as the model itself says it: one size, symbol or None an axis.
SHAPE = "drpass.shape"


class AbsorbingRule(RewriteRuleClassBase):
    """Base of the rules. A rule is ``pattern``, ``guard`` (raises Kept to refuse) and ``rewrite``."""

    def check(self, context: Any, y: ir.Value, **operands: ir.Value) -> MatchResult:  # type: ignore[override]
        result = MatchResult()
        try:
            self.guard(y, **operands)
        except Kept as kept:
            result.fail(str(kept))
        return result

    def guard(self, y: ir.Value, **operands: ir.Value) -> None:
        """Raise Kept where the algebra does not allow the rule."""
        raise NotImplementedError


def reuse(op: Any) -> Any:
    """The pattern of a DeepReuseGemm whose output is ``y``."""
    return getattr(op, OP_TYPE)(_domain=DOMAIN, _allow_other_inputs=True, _outputs=["y"])


def node_of(value: ir.Value) -> ir.Node:
    """The node that computes a matched value."""
    node = value.producer()
    if node is None:
        raise Kept("it is not computed by a node")
    return node


def check_open(y: ir.Value, *, addend_too: bool = False) -> None:
    """Raise Kept if nothing more may follow: there is an activation, or statistics, or (for scales) an addend."""
    node = node_of(y)
    require(attribute(node, "activation", "none") == "none", "there is an activation in between")
    require(len(node.outputs) == 1, "the node has statistics")
    require(not addend_too or input_of(node, A) is None, "there is an addend in between")


def per_channel(value: ir.Value, y: ir.Value) -> Channels:
    """A constant that is the same for all pixels, as double [M]; raises Kept for any other."""
    node, array = node_of(y), float_constant(value, "its operands")
    channels = attribute(node, "output_channels", 0)
    convolution = "kernel_shape" in node.attributes
    # Where the rank is not known, the two axes that every matrix product has are certain.
    rank = output_rank(y) or 2
    require(array.ndim <= rank, "its operand has more axes than the output")
    shape = (1,) * (rank - array.ndim) + array.shape
    axis = 1 if convolution else rank - 1
    constant_elsewhere = all(size == 1 for index, size in enumerate(shape) if index != axis)
    require(constant_elsewhere and shape[axis] in (1, channels), "its operand is not one number per channel")
    return np.broadcast_to(array.astype(np.float64).reshape(-1), (channels,))


def output_rank(y: ir.Value) -> int | None:
    """The number of axes of ``y``: from the pass that made the node, else from the shape in the file."""
    found = node_of(y).meta.get(RANK)
    return found if found is not None or y.shape is None else len(y.shape)


def same_shape(left: ir.Value, right: ir.Value) -> bool:
    """Whether two values are known to have the same shape, whatever the model is run on."""
    shape = left.meta.get(SHAPE)
    return shape is not None and None not in shape and shape == right.meta.get(SHAPE)


def rebuild(op: Any, y: ir.Value, *, scale: Channels | None = None, shift: Channels | None = None) -> ir.Value:
    """The DeepReuseGemm that computes ``scale · y + shift``, with the name and attributes of the old one."""
    node = node_of(y)
    inputs = [input_of(node, index) for index in range(4)]
    weights, bias = _required(inputs[W]), _bias(node)
    if scale is not None:
        inputs[W] = op.initializer(_scaled(float_tensor(weights, "weights"), scale), name=weights.name)
        bias = bias * scale
    if shift is not None:
        bias = bias + shift
    old_bias = inputs[B]
    if shift is not None or old_bias is not None:
        name = old_bias.name if old_bias is not None else f"{_stem(weights)}_bias"
        inputs[B] = op.initializer(ir.tensor(bias.astype(_dtype(node).numpy())), name=name)
    return _emit(op, node, inputs, dict(node.attributes))


def activate(op: Any, y: ir.Value, activation: Activation, parameters: list[float] | None = None) -> ir.Value:
    """The DeepReuseGemm that computes the activation of ``y``."""
    node = node_of(y)
    attributes: dict[str, Any] = {**node.attributes, "activation": activation}
    if parameters:
        attributes["activation_params"] = parameters
    return _emit(op, node, [input_of(node, index) for index in range(4)], attributes)


def add_addend(op: Any, y: ir.Value, addend: ir.Value) -> ir.Value:
    """The DeepReuseGemm that computes ``y + addend``."""
    node = node_of(y)
    inputs = [*(input_of(node, index) for index in (X, W, B)), addend]
    if inputs[B] is None:
        # ONNX Runtime 1.23 crashes in shape inference on an absent input of a custom operator.
        zeros = np.zeros(attribute(node, "output_channels", 0), _dtype(node).numpy())
        inputs[B] = op.initializer(ir.tensor(zeros), name=f"{_stem(_required(inputs[W]))}_bias")
    return _emit(op, node, inputs, dict(node.attributes))


def check_foldable(y: ir.Value, *, scale: Channels | None = None, shift: Channels | None = None) -> None:
    """Raise Kept unless weights and bias are constants whose type can hold ``scale · y + shift``."""
    node = node_of(y)
    weights, bias = float_tensor(_required(input_of(node, W)), "weights"), _bias(node)
    if weights.dtype != ir.DataType.FLOAT16:
        return
    if scale is not None:
        fits = keeps_precision(_largest(weights, scale.shape[0]) * np.abs(scale), weights.dtype)
        require(fits, "its weights would leave the range of float16")
        bias = bias * scale
    bias = bias if shift is None else bias + shift
    require(in_range(np.abs(bias), weights.dtype), "its bias would leave the range of float16")


def _largest(packed: ir.TensorProtocol, channels: int) -> Channels:
    """The largest magnitude among the weights of every output channel."""
    array = packed.numpy()
    require(array.ndim == 5 and array.size > 0, "its weights are not packed weights")
    largest: Channels = np.abs(array).max(axis=(2, 3), initial=0).astype(np.float64)
    return largest.reshape(array.shape[0], -1)[:, : channels // array.shape[0]].reshape(-1)


def _scaled(packed: ir.TensorProtocol, scale: Channels) -> ir.LazyTensor:
    return deferred(lambda: scale_packed(packed.numpy(), scale), packed.shape.numpy(), ir.DataType(packed.dtype))


def _dtype(node: ir.Node) -> ir.DataType:
    return ir.DataType(float_tensor(_required(input_of(node, W)), "weights").dtype)


def _emit(op: Any, node: ir.Node, inputs: list[ir.Value | None], attributes: dict[str, Any]) -> ir.Value:
    while inputs[-1] is None:
        inputs.pop()
    value: ir.Value = op.op(OP_TYPE, *inputs, _domain=DOMAIN, _version=VERSION, _name=node.name, **attributes)
    return value


def _bias(node: ir.Node) -> Channels:
    bias = input_of(node, B)
    if bias is None:
        return np.zeros(attribute(node, "output_channels", 0))
    return float_constant(bias, "the bias").astype(np.float64)


def _required(value: ir.Value | None) -> ir.Value:
    if value is None:
        raise Kept("an input is missing")
    return value


def _stem(weights: ir.Value) -> str:
    return (weights.name or "weights").removesuffix("_packed")
