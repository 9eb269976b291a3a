"""Fully connected layers: few rows meet so many weights that reading these takes the time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from drpass.deferred import deferred
from drpass.external_data import forget
from drpass.operator.packing import PANEL, WIDE_PANEL
from drpass.operator.spec import FULLY_CONNECTED, W
from drpass.passes.depthwise import is_plain, packed_shape_of
from drpass.rules.anchor import attribute, float_tensor

OPERATOR = FULLY_CONNECTED

#: Fewer weights (16 MB) may stay in the caches from call to call.
MIN_WEIGHTS = 4_000_000
#: With more rows ONNX Runtime is as fast.
MAX_ROWS = 64
#: Of weights that are stored for outputs which are not there.
_MAX_WASTE = 1.25


def is_large(inputs: int, outputs: int) -> bool:
    """Whether a product with so many weights is one, if it has few rows."""
    wide = -(-outputs // WIDE_PANEL) * WIDE_PANEL
    return inputs * outputs >= MIN_WEIGHTS and wide <= _MAX_WASTE * outputs


def has_few_rows(shape: Sequence[Any] | None) -> bool:
    """Whether X of this shape surely has few rows, but for the batch."""
    if shape is None or not 1 <= len(shape) <= 2:
        return False
    return all(not isinstance(dim, int) or dim <= MAX_ROWS for dim in shape[:-1])


def takes(node: ir.Node) -> bool:
    """Whether a DeepReuseGemm is one. That it has few rows is not looked at: it was chosen for that, or by hand."""
    if "kernel_shape" in node.attributes or attribute(node, "trans_a", 0) or not is_plain(node):
        return False
    inputs, outputs = packed_shape_of(node)[3], attribute(node, "output_channels", 0)
    return is_large(inputs, outputs)


def attributes(node: ir.Node) -> dict[str, Any]:
    """Of the new operator."""
    names = ("output_channels", "activation", "activation_params")
    return {name: node.attributes[name].value for name in names if name in node.attributes}


def weights(node: ir.Node) -> ir.LazyTensor:
    """[1, P, 1, K, 16] as [ceil(M / 256), K, 256]."""
    value = node.inputs[W]
    assert value is not None
    tensor = float_tensor(value, "weights")
    _, panels, _, inputs, _ = tensor.shape.numpy()
    each = WIDE_PANEL // PANEL
    wide = -(-panels // each)

    def repack() -> npt.NDArray[Any]:
        packed = np.asarray(tensor.numpy())
        result = np.zeros((wide, inputs, each, PANEL), packed.dtype)
        for panel in range(panels):
            result[panel // each, :, panel % each] = packed[0, panel, 0]
        forget(packed)
        return result.reshape(wide, inputs, WIDE_PANEL)

    return deferred(repack, (wide, inputs, WIDE_PANEL), ir.DataType(tensor.dtype))
