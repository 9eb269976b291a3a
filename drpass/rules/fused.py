"""Products in the domains of ONNX Runtime, which a model has when ONNX Runtime optimised it and saved it.

1. FusedConv: Conv, then an addend Z of the shape of the result, then an activation.
2. FusedGemm: Gemm, then an activation.
3. FusedMatMul: alpha · A B, each transposed or not; only with a matrix B, and A transposed only as a matrix.
4. Conv in the layout NCHWc: kept, because its weights are in the order of the machine that optimised the model.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir

from drpass.operator.spec import ACTIVATIONS, Activation
from drpass.rules import conv, gemm, matmul
from drpass.rules.anchor import Kept, Match, attribute, input_of, require

DOMAIN, BLOCKED_DOMAIN = "com.microsoft", "com.microsoft.nchwc"

#: By the operator of ONNX that was fused.
_ACTIVATIONS: dict[str, Activation] = {"Relu": "relu", "LeakyRelu": "leaky_relu", "Clip": "clip", "Sigmoid": "sigmoid"}
_SLOPE = 0.01


def match_conv(node: ir.Node, opset: int) -> Match:
    """Case 1; raises Kept with the reason why it can't be replaced."""
    found = conv.match(node, opset)
    parameters = [float(number) for number in attribute(node, "activation_params", ())]
    return _with_activation(node, replace(found, addend=input_of(node, 3)), parameters)


def match_gemm(node: ir.Node, opset: int) -> Match:
    """Case 2; raises Kept as `match_conv` does."""
    slope = attribute(node, "activation_alpha", _SLOPE)
    leaky = attribute(node, "activation", "") == "LeakyRelu"
    return _with_activation(node, gemm.match(node, opset), [float(slope)] if leaky else [])


def match_matmul(node: ir.Node, opset: int, rank: int | None) -> Match:
    """Case 3, where A has ``rank`` axes (None: unknown); raises Kept as `match_conv` does."""
    batch = attribute(node, "transBatchA", 0) or attribute(node, "transBatchB", 0)
    require(not batch, "a batch axis is transposed")
    alpha, transposed = attribute(node, "alpha", 1.0), bool(attribute(node, "transB", 0))
    found = matmul.match(node, opset, rank)  # its weights are those of B as it is: [N, K], or [K, N] with transB
    weights = found.weights.T if transposed else found.weights
    if alpha != 1.0:
        weights = gemm.times(weights, alpha, "weights times alpha")
    attributes: dict[str, Any] = {}
    if attribute(node, "transA", 0):
        require(rank == 2, f"its left side of {rank} axes is transposed")
        attributes["trans_a"] = 1
    return replace(found, weights=weights, recipe=("matrix", transposed, alpha), attributes=attributes)


def match_blocked(node: ir.Node, opset: int) -> Match:
    """Case 4."""
    raise Kept("in ONNX Runtime's own layout NCHWc; rewrite the model as it was before ONNX Runtime optimised it")


def _with_activation(node: ir.Node, found: Match, parameters: list[float]) -> Match:
    fused = attribute(node, "activation", "")
    if not fused:
        return found
    require(fused in _ACTIVATIONS, f"fused with {fused} (supported are {', '.join(_ACTIVATIONS)})")
    kind = _ACTIVATIONS[fused]
    if kind == "leaky_relu" and not parameters:
        parameters = [_SLOPE]
    fits = len(parameters) == ACTIVATIONS[kind] and bool(np.isfinite(parameters).all())
    require(fits and parameters == sorted(parameters), f"invalid activation_params for {fused}")
    attributes = {**found.attributes, "activation": kind}
    if parameters:
        attributes["activation_params"] = parameters
    return replace(found, attributes=attributes)
