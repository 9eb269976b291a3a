"""Other runtimes to time a model under: one file each, all of them optional (the extra ``rivals``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from drpass.errors import DrpassError
from drpass.rivals import litert, ncnn, openvino
from drpass.rivals.rival import Call, Rival
from drpass.tensors import Array, Feeds

__all__ = ["RIVALS", "Call", "Rival", "open_rivals"]

RIVALS: tuple[Rival, ...] = (ncnn.RIVAL, openvino.RIVAL, litert.RIVAL)

#: Largest difference of an output, as a share of its largest value: rounding, and Winograd's more of it, stays below.
_TOLERANCE = 1e-3


def open_rivals(
    rivals: Sequence[Rival], model: Path, feeds: Feeds, reference: Sequence[Array], threads: int
) -> tuple[dict[str, Call], dict[str, str]]:
    """The rivals that run this model on inputs of these shapes and agree with ``reference``, its outputs for
    ``feeds``; and for each of the others why not."""
    calls: dict[str, Call] = {}
    reasons: dict[str, str] = {}
    for rival in rivals:
        try:
            call = rival.open_model(model, feeds, threads)
            _check(call(feeds), reference)
        except DrpassError as error:
            reasons[rival.name] = str(error)
        except Exception as error:  # code that is not ours, on any model: whatever it raises is the reason
            reasons[rival.name] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        else:
            calls[rival.name] = call
    return calls, reasons


def _check(results: Sequence[Array], reference: Sequence[Array]) -> None:
    if len(results) != len(reference):
        raise DrpassError(f"it gives {len(results)} outputs, not {len(reference)}")
    for result, expected in zip(results, reference):
        if result.size != expected.size:
            raise DrpassError(f"it gives an output of shape {list(result.shape)}, not {list(expected.shape)}")
        largest = float(np.abs(expected).max(initial=0.0))
        difference = float(np.abs(result.reshape(expected.shape) - expected).max(initial=0.0))
        if not difference <= _TOLERANCE * largest:
            raise DrpassError(f"it gives other results: differences up to {difference:.3g} of {largest:.3g}")
