"""Measures the settings of all layers: their times inside the rewritten network, and their errors.

A setting is tried on all layers that may still gain by it at once: one session with ONNX Runtime's profile times every
node where it will stand, with the neighbours and layouts that it will have.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from drpass.operator.spec import ReuseParameters
from drpass.passes import Assignment, NodeKey
from drpass.tune.report import Trial
from drpass.tune.settings import ladders
from drpass.tune.shadow import LayerError, layer_errors
from drpass.tune.times import Times
from drpass.tune.workbench import Workbench

#: A setting is worth a look at its error if it takes at most this part of the time of the exact operator. Profiles of
#: the same model differ by some percent.
WORTH_IT = 0.95

#: Part of the time given that all of it may take.
_SHARE = 0.6


@dataclass
class Sweep:
    """``dense``: milliseconds of each node in the original (None: the profile does not name it); ``reference``: in the
    model that tuning begins with, replaced or not; ``trials``: of what clusters, from coarse to fine."""

    dense: dict[NodeKey, float | None]
    reference: dict[NodeKey, float]
    trials: dict[NodeKey, list[Trial]] = field(default_factory=dict)

    def gaining(self, key: NodeKey) -> list[Trial]:
        """The trials of a layer that beat what it is in the model that tuning begins with."""
        limit = WORTH_IT * self.reference.get(key, 0.0)
        return [
            trial
            for trial in self.trials.get(key, [])
            # What the guard computes densely throughout is no gain, whatever the clock said.
            if trial.milliseconds and trial.milliseconds <= limit and trial.clustered
        ]


def time_layers(times: Times, assignment: Assignment) -> Sweep:
    """Times of all layers in the original and in the model of ``assignment``."""
    dense = times.of_original()
    kept = {key: time for key, time in dense.items() if time is not None and isinstance(assignment[key], str)}
    return Sweep(dense, {**kept, **times.of_replaced(assignment)})


def sweep(bench: Workbench, base: Assignment, found: Sweep) -> None:
    """Try all settings on all layers, until nothing gains or too much of the time given is spent."""
    subject, times = bench.subject, bench.times
    able = [key for key, layer in subject.layers.items() if key in found.reference and not layer.obstacle]
    for ladder in ladders(subject.batch):
        if not able or not bench.clock.within(_SHARE):
            break
        # The model that tuning begins with is measured again before a ladder: a machine gets faster and slower as
        # others use it, and only what was timed shortly after each other compares.
        now = {**found.reference, **times.of_replaced(base, f"before {ladder[0].describe()}: ")}
        active = able
        for setting in ladder:
            if not active or not bench.clock.within(_SHARE):
                break
            chosen = dict.fromkeys(active, setting)
            measured = times.of_replaced({**base, **chosen})
            by_now = {key: time * found.reference[key] / now[key] for key, time in measured.items() if key in now}
            errors = layer_errors(subject, chosen, bench.journal)
            for key in active:
                found.trials.setdefault(key, []).append(_trial(setting, by_now.get(key), errors[key]))
            active = [key for key in active if by_now.get(key, math.inf) <= WORTH_IT * found.reference[key]]


def _trial(setting: ReuseParameters, milliseconds: float | None, found: LayerError) -> Trial:
    return Trial(
        parameters=setting,
        milliseconds=milliseconds,
        error=found.error,
        effect=0.0,
        remaining_ratios=found.remaining_ratios,
        largest_ratio=found.largest_ratio,
    )
