"""What an error of one layer does to the outputs of the model."""

from __future__ import annotations

from dataclasses import replace

from drpass.data import Data
from drpass.passes import Assignment, NodeKey
from drpass.tune.budget import Budget
from drpass.tune.journal import describe
from drpass.tune.report import Trial
from drpass.tune.workbench import Workbench, judgement

#: Error of a layer at which its effect is measured, where there is a choice: small enough that the effect is in
#: proportion to the error, large against rounding.
_TYPICAL_ERROR = 0.03


def with_effects(bench: Workbench, base: Assignment, key: NodeKey, trials: list[Trial], data: Data) -> list[Trial]:
    """The trials of one layer with their expected effects, from one run with only that layer clustered: the effect of
    each is taken to be in proportion to its error. At least one of the trials has clustered something."""
    clustered = [trial for trial in trials if trial.clustered]
    probe = min(clustered, key=lambda trial: abs(trial.error - _TYPICAL_ERROR))
    assignment: Assignment = {**base, key: probe.parameters}

    def measure() -> float:
        return judgement(bench, Budget(), assignment, data).output_error

    effect = bench.journal.once(f"effect of {describe(assignment)}", measure)
    gain = effect / probe.error if probe.error > 0 else 0.0
    return [replace(trial, effect=gain * trial.error) for trial in trials]
