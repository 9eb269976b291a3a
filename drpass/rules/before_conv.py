"""What comes before a convolution and goes into it. Both nodes stay where something else reads them too.

1. Pad with zeros along spatial axes, and a Conv with pads of its own or VALID: its pads are added. SAME is kept,
   because it follows from the padded size; so are other modes and values, negative pads, and pads that are not
   constant.
2. BatchNormalization for inference, s x + t for each channel, where no tap meets the padding:
   W (s x + t) = (W s) x + W t. With pads it is kept: a padded zero stands for (0 - t) / s before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir

from drpass.operator.spec import OP_TYPE
from drpass.rules.anchor import Array, Kept, Match, attribute, constant, float_constant, input_of, origin, require

#: From these opsets on Pad takes pads as an input, and may name its axes; before the first it has another attribute.
_PADS_ATTRIBUTE, _PADS_INPUT = 2, 11
#: What takes a BatchNormalization that follows.
_ABSORBS = (OP_TYPE, "Conv", "ConvTranspose", "FusedConv", "Gemm", "MatMul")


def fold(match: Match, opset: int) -> Match:
    """The match with what comes before its input, as far as that is legal; ``before`` names those nodes."""
    for step in (_fold_pad, _fold_batchnorm):
        try:
            match = step(match, opset)
        except Kept:
            continue
    return match


def _fold_pad(match: Match, opset: int) -> Match:
    """Case 1."""
    node = _producer(match.x, "Pad")
    auto_pad = match.attributes.get("auto_pad", "VALID")
    require(auto_pad == "VALID", "its pads follow from the padded size")
    begins, ends = zero_pads(node, opset, match.rank)
    own = match.attributes.get("pads", [0] * (2 * (match.rank - 2)))
    pads = [one + other for one, other in zip(own, (*begins[2:], *ends[2:]), strict=True)]
    attributes = {name: value for name, value in match.attributes.items() if name not in ("auto_pad", "pads")}
    return _with_input(match, node, attributes={**attributes, **({"pads": pads} if any(pads) else {})})


def zero_pads(node: ir.Node, opset: int, rank: int) -> tuple[Sequence[int], Sequence[int]]:
    """What a Pad adds before and after each axis; raises Kept unless it adds zeros along spatial axes only."""
    require(opset >= _PADS_ATTRIBUTE, "unknown form of Pad")
    require(attribute(node, "mode", "constant") == "constant", "it does not pad with a constant")
    if opset < _PADS_INPUT:
        require(attribute(node, "value", 0.0) == 0.0, "it does not pad with zero")
        given, axes = list(attribute(node, "pads", ())), list(range(rank))
    else:
        pads, value, named = (input_of(node, index) for index in (1, 2, 3))
        if pads is None:
            raise Kept("an input is missing")
        require(value is None or not np.any(constant(value, "pads")), "it does not pad with zero")
        given = [int(pad) for pad in constant(pads, "pads").reshape(-1)]
        axes = list(range(rank)) if named is None else [int(axis) for axis in constant(named, "axes").reshape(-1)]
    require(len(given) == 2 * len(axes) and all(-rank <= axis < rank for axis in axes), "invalid pads")
    sides = np.zeros((2, rank), np.int64)
    sides[:, axes] = np.reshape(given, (2, -1))
    require(not sides[:, :2].any() and sides.min() >= 0, "it pads more than spatial axes")
    return sides[0].tolist(), sides[1].tolist()


def _fold_batchnorm(match: Match, opset: int) -> Match:
    """Case 2."""
    node = _producer(match.x, "BatchNormalization")
    require(not match.attributes.get("pads") and match.attributes.get("auto_pad", "VALID") == "VALID", "it is padded")
    require(attribute(node, "training_mode", 0) == 0 and len(node.outputs) == 1, "it is in training mode")
    require(attribute(node, "spatial", 1) == 1, "it has statistics per pixel")
    require(len(list(match.x.uses())) == 1 and not match.x.is_graph_output(), "something else reads it")
    source = node.inputs[0].producer() if node.inputs[0] is not None else None
    require(source is None or source.op_type not in _ABSORBS, "what comes before absorbs it")
    bias, weights = match.bias, match.weights
    if isinstance(bias, ir.Value):
        bias = float_constant(bias, "the bias")
    scale, shift = _affine(node, match.group * weights.shape[1])
    require(weights.dtype == np.float32, "its weights have another type")
    # Of the input channels of the group that each output channel belongs to: [M, Cg].
    scales, shifts = (
        np.repeat(per_channel.reshape(match.group, -1), weights.shape[0] // match.group, axis=0)
        for per_channel in (scale, shift)
    )
    per_input = weights.reshape(*weights.shape[:2], -1)
    moved = np.einsum("mct,mc->m", per_input, shifts) + (0.0 if bias is None else bias.astype(np.float64))
    scaled: Array = (per_input * scales[:, :, None]).astype(np.float32).reshape(weights.shape)
    statistics = tuple(origin(value) for value in node.inputs[1:] if value is not None)
    recipe = (*match.recipe, statistics, attribute(node, "epsilon", 1e-5))
    return _with_input(match, node, weights=scaled, bias=moved.astype(np.float32), recipe=recipe)


def _affine(node: ir.Node, channels: int) -> tuple[Any, Any]:
    """Its factor and term for each channel, as double."""
    values = [input_of(node, index) for index in range(1, 5)]
    arrays = [float_constant(value, "statistics").astype(np.float64) for value in values if value is not None]
    require(len(arrays) == 4 and all(array.shape == (channels,) for array in arrays), "they do not fit the channels")
    radicand = arrays[3] + attribute(node, "epsilon", 1e-5)
    require(bool((radicand > 0).all()), "its variance is not positive")
    scale = arrays[0] / np.sqrt(radicand)
    return scale, arrays[1] - scale * arrays[2]


def _producer(x: ir.Value, op_type: str) -> ir.Node:
    node = x.producer()
    if node is None or node.op_type != op_type or node.domain or input_of(node, 0) is None:
        raise Kept(f"it is not computed by {op_type}")
    return node


def _with_input(match: Match, node: ir.Node, **changes: Any) -> Match:
    """The match that reads what ``node`` reads."""
    x = node.inputs[0]
    assert x is not None  # as _producer has seen
    return replace(match, x=x, before=(*match.before, node), **changes)
