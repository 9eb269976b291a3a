"""BatchNormalization after a convolution, or after a matrix product of rank 2.

scale · (y - mean) / sqrt(var + epsilon) + bias  =  f · y + (bias - f · mean)  with  f = scale / sqrt(var + epsilon).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from drpass.rules.absorbing import (
    AbsorbingRule,
    Channels,
    check_foldable,
    check_open,
    node_of,
    output_rank,
    rebuild,
    reuse,
)
from drpass.rules.anchor import attribute, float_constant, input_of, require


class FoldBatchNorm(AbsorbingRule):
    """Case 1: inference (training_mode 0, one output). Anything else is kept."""

    def pattern(self, op: Any, gamma: Any, beta: Any, mean: Any, variance: Any) -> Any:
        return op.BatchNormalization(reuse(op), gamma, beta, mean, variance, _outputs=["z"])

    def guard(self, y: ir.Value, z: ir.Value, **statistics: ir.Value) -> None:  # type: ignore[override]
        check_open(y, addend_too=True)
        convolution = "kernel_shape" in node_of(y).attributes
        require(convolution or output_rank(y) == 2, "its channels are not the last axis")
        scale, shift = affine(node_of(z), attribute(node_of(y), "output_channels", 0))
        check_foldable(y, scale=scale, shift=shift)

    def rewrite(self, op: Any, y: ir.Value, z: ir.Value, **statistics: ir.Value) -> ir.Value:  # type: ignore[override]
        scale, shift = affine(node_of(z), attribute(node_of(y), "output_channels", 0))
        return rebuild(op, y, scale=scale, shift=shift)


def affine(norm: ir.Node, channels: int) -> tuple[Channels, Channels]:
    """Scale and shift [C] of a BatchNormalization; raises Kept where it is no function of one number a channel."""
    require(attribute(norm, "training_mode", 0) == 0 and len(norm.outputs) == 1, "it is in training mode")
    require(attribute(norm, "spatial", 1) == 1, "it has statistics per pixel")
    constants = [input_of(norm, index) for index in range(1, 5)]
    arrays = [float_constant(value, "its statistics").astype(np.float64) for value in constants if value is not None]
    require([array.shape for array in arrays] == [(channels,)] * 4, "its statistics do not fit the channels")
    gamma, beta, mean, variance = arrays
    radicand = variance + attribute(norm, "epsilon", 1e-5)
    require(bool((radicand > 0).all()), "its variance is not positive")
    scale = gamma / np.sqrt(radicand)
    return scale, beta - scale * mean
