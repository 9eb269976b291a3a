"""How much float rounding alone moves the outputs of a model: what a budget of no error leaves."""

from __future__ import annotations

from drpass.data import Data
from drpass.execution import Model, open_session, run
from drpass.tensors import output_specs
from drpass.validation import ErrorMeter

#: Bounds as max |d| / max |r|. One exact layer stays below the first (docs/operator.md). A network rounds as often as
#: it has layers, and by more where its own values cancel: it may differ by this many times what its original does from
#: itself, since Winograd's filtering rounds a few times as coarsely as a plain sum.
_ONE_LAYER, _TIMES = 5e-6, 4.0


def rounding_limit(original: Model, data: Data, threads: int | None = None) -> float:
    """The largest max |d| / max |r| of an output that may be called rounding, for this model on this data.

    The measure is the original itself: ONNX Runtime with its optimisations against the same without them, which sums
    in another order. Raises DrpassError if the model can't run.
    """
    sessions = [open_session(original, threads=threads, optimized=optimized) for optimized in (True, False)]
    names = [spec.name for spec in output_specs(sessions[0])]
    meters = [ErrorMeter(name) for name in names]
    for batch in data.batches():
        reference, other = (run(session, batch.feeds, names) for session in sessions)
        for meter, left, right in zip(meters, reference, other):
            meter.add(left, right)
    figures = [meter.figures() for meter in meters]
    # Where NaN or infinity depends on the order of a sum, nothing is known of the rest.
    known = [figure.max_rel for figure in figures if not figure.non_finite]
    return max(_ONE_LAYER, _TIMES * max(known, default=0.0))
