"""How far one tensor is from another, gathered batch by batch so that no output has to be kept."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from drpass.errors import DrpassError
from drpass.tensors import Array

_Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ErrorFigures:
    """The difference d = y - r of a value y from its reference r, over all samples. None: not defined for this data.

    ``max_abs``, ``mean_abs``: of |d|, in the unit of the value. ``max_rel``: max |d| / max |r|. ``rms_rel``:
    sqrt(sum d² / sum r²). ``sqnr_db``: 10 log10(sum r² / sum d²). ``psnr_db``: 10 log10(peak² / mean d²) with the
    given peak or, without one, max r - min r. ``cosine``: of the two as vectors.
    ``elements``: compared; ``non_finite``: NaN or infinite in one and not the same in the other. If there are any,
    every error is infinite. Elements where both are the same NaN or infinity are left out.
    """

    elements: int
    non_finite: int
    max_abs: float
    mean_abs: float
    max_rel: float
    rms_rel: float
    sqnr_db: float
    psnr_db: float | None
    cosine: float | None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class ErrorMeter:
    """Gathers the sums that ErrorFigures needs, in double precision."""

    def __init__(self, name: str, peak: float | None = None) -> None:
        self._name = name
        self._peak = peak
        self._elements = self._non_finite = 0
        self._abs_sum = self._abs_max = self._square_sum = 0.0
        self._ref_square_sum = self._square_sum_new = self._dot = 0.0
        self._ref_min, self._ref_max = math.inf, -math.inf

    def add(self, reference: Array, value: Array) -> None:
        """Take in one batch. Raises DrpassError if the shapes differ or the values are not numbers."""
        if reference.shape != value.shape:
            raise DrpassError(
                f"{self._name!r} has shape {list(reference.shape)} in the original but {list(value.shape)} in the "
                f"rewritten model; they can't be compared"
            )
        if reference.dtype.kind not in "fiub" or value.dtype.kind not in "fiub":
            raise DrpassError(f"{self._name!r} holds {reference.dtype}, not numbers; it can't be compared")
        ref, new = self._finite(reference.astype(np.float64).ravel(), value.astype(np.float64).ravel())
        if not ref.size:
            return
        difference = np.abs(new - ref)
        self._elements += ref.size
        self._abs_sum += float(difference.sum())
        self._abs_max = max(self._abs_max, float(difference.max()))
        self._square_sum += float(difference @ difference)
        self._ref_square_sum += float(ref @ ref)
        self._square_sum_new += float(new @ new)
        self._dot += float(ref @ new)
        self._ref_min = min(self._ref_min, float(ref.min()))
        self._ref_max = max(self._ref_max, float(ref.max()))

    def _finite(self, ref: _Doubles, new: _Doubles) -> tuple[_Doubles, _Doubles]:
        both = np.isfinite(ref) & np.isfinite(new)
        if both.all():
            return ref, new
        same = (ref == new) | (np.isnan(ref) & np.isnan(new))
        self._non_finite += int((~both & ~same).sum())
        return ref[both], new[both]

    def figures(self) -> ErrorFigures:
        """The figures over everything that was taken in."""
        if self._non_finite:
            infinite = math.inf
            return ErrorFigures(
                self._elements, self._non_finite, infinite, infinite, infinite, infinite, -infinite, -infinite, None
            )
        elements = max(self._elements, 1)
        largest = max(abs(self._ref_min), abs(self._ref_max)) if self._elements else 0.0
        peak = self._peak if self._peak is not None else self._ref_max - self._ref_min
        norms = math.sqrt(self._ref_square_sum) * math.sqrt(self._square_sum_new)
        return ErrorFigures(
            elements=self._elements,
            non_finite=0,
            max_abs=self._abs_max,
            mean_abs=self._abs_sum / elements,
            max_rel=_ratio(self._abs_max, largest),
            rms_rel=math.sqrt(_ratio(self._square_sum, self._ref_square_sum)),
            sqnr_db=_decibel(self._ref_square_sum, self._square_sum),
            psnr_db=_decibel(peak * peak, self._square_sum / elements) if self._elements and peak > 0 else None,
            cosine=min(1.0, self._dot / norms) if norms > 0 else None,
        )


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0 if part == 0 else math.inf


def _decibel(signal: float, noise: float) -> float:
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf
