"""What may be folded into constants of float16."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

_HALF = np.finfo(np.float16)


def keeps_precision(magnitudes: npt.NDArray[Any], dtype: ir.DataType) -> bool:
    """Whether rounding numbers as large as these to ``dtype`` costs no more than its precision.

    float16 has 11 bits from 2^-14 to 65504, fewer below, and nothing above.
    """
    if dtype != ir.DataType.FLOAT16:
        return True
    return bool(np.all((magnitudes == 0) | ((magnitudes >= _HALF.smallest_normal) & (magnitudes <= _HALF.max))))


def in_range(magnitudes: npt.NDArray[Any], dtype: ir.DataType) -> bool:
    """Whether numbers as large as these stay finite in ``dtype``."""
    return dtype != ir.DataType.FLOAT16 or bool(np.all(magnitudes <= _HALF.max))
