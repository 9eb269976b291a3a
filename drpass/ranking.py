"""Class scores: which outputs are some, and which classes they rank first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from drpass.tensors import Array

Classes = npt.NDArray[np.int64]


def are_scores(array: Array, samples: int) -> bool:
    """Whether an output has a row of floating-point scores a sample: [samples, classes], perhaps with trailing ones."""
    return array.dtype.kind == "f" and array.shape[:1] == (samples,) and _is_matrix(array.shape)


def _is_matrix(shape: Sequence[int]) -> bool:
    return len(shape) >= 2 and shape[1] >= 2 and all(dim == 1 for dim in shape[2:])


def top_classes(scores: Array, count: int) -> Classes:
    """The classes with the highest scores, best first: int64 [N, min(count, classes)]; ties to the lower class.

    A row with NaN gives -1: it has no order.
    """
    scores = scores.reshape(scores.shape[:2]).astype(np.float64)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :count].astype(np.int64)
    order[np.isnan(scores).any(axis=1)] = -1
    return order
