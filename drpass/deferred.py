"""Constants that are computed when they are written, so that those of a large model are never in memory together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy.typing as npt
import onnx_ir as ir


def deferred(compute: Callable[[], npt.NDArray[Any]], shape: Sequence[int], dtype: ir.DataType) -> ir.LazyTensor:
    """A tensor of ``shape`` whose content is what ``compute`` returns, anew whenever it is read."""
    return ir.LazyTensor(lambda: ir.tensor(compute()), dtype, ir.Shape(shape))
