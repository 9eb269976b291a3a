"""How much float rounding alone moves the outputs of a model: what a budget of no error leaves."""

from __future__ import annotations

from drpass.data import Batch
from drpass.execution import Model, open_session, run
from drpass.tensors import Feeds, output_specs
from drpass.validation import ErrorMeter

#: Bounds as max |d| / max |r|. One exact layer stays below the first (docs/operator.md). A network rounds as often as
#: it has layers, and by more where its own values cancel: it may differ by this many times what its original does from
#: itself, since Winograd's filtering rounds a few times as coarsely as a plain sum.
_ONE_LAYER, _TIMES = 5e-6, 4.0


class Rounding:
    """Watches a validation. The measure is the original itself: ONNX Runtime with its optimisations, as it was
    validated, against the same without them, which sums in another order. Raises DrpassError if the model can't run.
    """

    def __init__(self, original: Model, threads: int | None = None) -> None:
        self._session = open_session(original, threads=threads, optimized=False)
        self._meters = {spec.name: ErrorMeter(spec.name) for spec in output_specs(self._session)}

    def add(self, batch: Batch, original: Feeds, rewritten: Feeds) -> None:
        """Take in one batch, with the outputs that the original had."""
        names = list(self._meters)
        for name, other in zip(names, run(self._session, batch.feeds, names)):
            self._meters[name].add(original[name], other)

    @property
    def limit(self) -> float:
        """The largest max |d| / max |r| of an output that may be called rounding, for this model on this data."""
        figures = [meter.figures() for meter in self._meters.values()]
        # Where NaN or infinity depends on the order of a sum, nothing is known of the rest.
        known = [figure.max_rel for figure in figures if not figure.non_finite]
        return max(_ONE_LAYER, _TIMES * max(known, default=0.0))
