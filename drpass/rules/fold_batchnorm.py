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
from drpass.rules.anchor import attribute, float_constant, require


class FoldBatchNorm(AbsorbingRule):
    """Case 1: inference (training_mode 0, one output). Anything else is kept."""

    def pattern(self, op: Any, gamma: Any, beta: Any, mean: Any, variance: Any) -> Any:
        return op.BatchNormalization(reuse(op), gamma, beta, mean, variance, _outputs=["z"])

    def guard(self, y: ir.Value, z: ir.Value, **statistics: ir.Value) -> None:  # type: ignore[override]
        norm = node_of(z)
        check_open(y, addend_too=True)
        require(attribute(norm, "training_mode", 0) == 0 and len(norm.outputs) == 1, "it is in training mode")
        require(attribute(norm, "spatial", 1) == 1, "it has statistics per pixel")
        convolution = "kernel_shape" in node_of(y).attributes
        require(convolution or output_rank(y) == 2, "its channels are not the last axis")
        scale, shift = _affine(y, z, **statistics)
        check_foldable(y, scale=scale, shift=shift)

    def rewrite(self, op: Any, y: ir.Value, z: ir.Value, **statistics: ir.Value) -> ir.Value:  # type: ignore[override]
        scale, shift = _affine(y, z, **statistics)
        return rebuild(op, y, scale=scale, shift=shift)


def _affine(
    y: ir.Value, z: ir.Value, gamma: ir.Value, beta: ir.Value, mean: ir.Value, variance: ir.Value
) -> tuple[Channels, Channels]:
    channels = attribute(node_of(y), "output_channels", 0)
    arrays = [float_constant(value, "its statistics").astype(np.float64) for value in (gamma, beta, mean, variance)]
    require(all(array.shape == (channels,) for array in arrays), "its statistics do not fit the channels")
    radicand = arrays[3] + attribute(node_of(z), "epsilon", 1e-5)
    require(bool((radicand > 0).all()), "its variance is not positive")
    scale = arrays[0] / np.sqrt(radicand)
    return scale, arrays[1] - scale * arrays[2]
