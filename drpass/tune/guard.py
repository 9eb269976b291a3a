"""The guard of each clustered node: the r_c from which on, by what was measured here, clustering takes longer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import median

from drpass.operator.spec import ReuseParameters
from drpass.tune.report import Trial

#: Other data of the same kind has groups with somewhat more clusters.
_MARGIN = 1.25


def with_guards(trials: Sequence[Trial], reference_ms: float) -> list[Trial]:
    """The trials of one layer with limits of r_c for other data than was tuned on.

    Along a ladder r_c and time grow together; where the time passes ``reference_ms`` is the r_c to stop at. The limit
    stays above the r_c of every group that was clustered while this was measured, so that what was measured holds.
    """
    guarded = []
    for trial in trials:
        points = [
            (median(other.remaining_ratios), other.milliseconds)
            for other in trials
            if _ladder(other) == _ladder(trial) and other.remaining_ratios and other.milliseconds is not None
        ]
        limit = trial.parameters.max_remaining_ratio
        wanted = min(limit, max(break_even(points, reference_ms), _MARGIN * trial.largest_ratio))
        # Rounded up to percent, for people; not by what is left of a sum of binary fractions.
        percent = max(1, math.ceil(round(100 * wanted, 6)))
        parameters = replace(trial.parameters, max_remaining_ratio=min(limit, percent / 100))
        guarded.append(replace(trial, parameters=parameters))
    return guarded


def break_even(points: Iterable[tuple[float, float]], reference_ms: float) -> float:
    """The r_c at which a line through (r_c, milliseconds) first passes the reference; infinite if it never does."""
    before: tuple[float, float] | None = None
    for ratio, milliseconds in sorted(points):
        if milliseconds > reference_ms:
            if before is None:
                return 0.0
            share = (reference_ms - before[1]) / (milliseconds - before[1])
            return before[0] + share * (ratio - before[0])
        before = ratio, milliseconds
    return math.inf


def _ladder(trial: Trial) -> ReuseParameters:
    """What all rungs of its ladder share."""
    return replace(trial.parameters, step=1.0, hash_bits=1)
