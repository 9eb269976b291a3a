"""Constants that are computed when they are written, so that those of a large model are never in memory together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir


def deferred(compute: Callable[[], npt.NDArray[np.float32]], shape: Sequence[int]) -> ir.LazyTensor:
    """A float32 tensor of ``shape`` whose content is what ``compute`` returns, anew whenever it is read."""
    return ir.LazyTensor(lambda: ir.tensor(compute()), ir.DataType.FLOAT, ir.Shape(shape))
