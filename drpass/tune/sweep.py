"""Measures the settings of all layers: their times inside the rewritten network, and their errors.

A setting is tried on all layers that may still gain by it at once: one session with ONNX Runtime's profile times every
node where it will stand, with the neighbours and layouts that it will have.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from drpass.operator.spec import ReuseParameters
from drpass.passes import EXACT, Assignment, NodeKey
from drpass.profile import kernel_times, time_of
from drpass.tune.journal import Journal
from drpass.tune.report import Speed, Trial
from drpass.tune.settings import ladders
from drpass.tune.shadow import LayerError, measure_errors
from drpass.tune.subject import Subject

#: A setting is worth a look at its error if it takes at most this part of the time of the exact operator. Profiles of
#: the same model differ by some percent.
WORTH_IT = 0.95

#: Calls that the errors of a setting are measured on.
_ERROR_CALLS = 4


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


def time_layers(subject: Subject, assignment: Assignment, journal: Journal) -> Sweep:
    """Times of all layers in the original and in the model of ``assignment``."""
    dense = _original_times(subject, journal)
    kept = {key: time for key, time in dense.items() if time is not None and isinstance(assignment[key], str)}
    return Sweep(dense, {**kept, **_times(subject, assignment, journal)})


def _original_times(subject: Subject, journal: Journal) -> dict[NodeKey, float | None]:
    if subject.predicted:
        return {key: subject.predicted.original.get(key) for key in subject.kernels}
    original = journal.once(
        "times of the original", lambda: kernel_times(subject.model, subject.calls, subject.threads)
    )
    return {key: time_of(original, kernels) for key, kernels in subject.kernels.items()}


def predicted_speed(subject: Subject, assignment: Assignment, against: Assignment | None, journal: Journal) -> Speed:
    """Of the model of an assignment, against that of another (None: the original), on the subject's device."""
    assert subject.predicted is not None
    rewritten, reference = (_times(subject, choices, journal) for choices in (assignment, against or {}))
    return subject.predicted.speed(rewritten, reference)


def sweep(subject: Subject, base: Assignment, found: Sweep, journal: Journal, goes_on: Callable[[], bool]) -> None:
    """Try all settings on all layers, until nothing gains or ``goes_on`` says to stop."""
    able = [key for key, layer in subject.layers.items() if key in found.reference and not layer.obstacle]
    for ladder in ladders(subject.batch):
        if not able or not goes_on():
            break
        active, now = able, _reference_now(subject, base, found, journal, ladder[0])
        for setting in ladder:
            if not active or not goes_on():
                break
            measured = _times(subject, {**base, **dict.fromkeys(active, setting)}, journal)
            times = {key: time * found.reference[key] / now[key] for key, time in measured.items() if key in now}
            errors = _errors(subject, dict.fromkeys(active, setting), journal)
            for key in active:
                found_error = errors[key]
                trial = Trial(
                    parameters=setting,
                    milliseconds=times.get(key),
                    error=found_error.error,
                    effect=0.0,
                    remaining_ratios=found_error.remaining_ratios,
                    largest_ratio=found_error.largest_ratio,
                )
                found.trials.setdefault(key, []).append(trial)
            active = [key for key in active if times.get(key, math.inf) <= WORTH_IT * found.reference[key]]


def _reference_now(
    subject: Subject, base: Assignment, found: Sweep, journal: Journal, first: ReuseParameters
) -> dict[NodeKey, float]:
    """The times of the model that tuning begins with, measured again before a ladder: a machine gets faster and slower
    as others use it, and only what was timed shortly after each other compares."""
    again = _times(subject, base, journal, f"before {first.describe()}: ")
    return {key: again.get(key, reference) for key, reference in found.reference.items()}


def _times(subject: Subject, assignment: Assignment, journal: Journal, when: str = "") -> dict[NodeKey, float]:
    if subject.predicted:
        clustered = {
            key: choice for key, choice in assignment.items() if isinstance(choice, ReuseParameters) and choice != EXACT
        }
        errors = _errors(subject, clustered, journal) if clustered else {}
        return subject.predicted.replaced(assignment, {key: errors[key].remaining_ratios for key in errors})

    def measure() -> dict[str, float]:
        return kernel_times(subject.rewritten(assignment), subject.calls, subject.threads)

    times = journal.once(f"{when}times {describe(assignment)}", measure)
    replaced = [key for key, choice in assignment.items() if isinstance(choice, ReuseParameters) and not key[0]]
    return {key: times[key[1]] for key in replaced if key[1] in times}


def _errors(
    subject: Subject, settings: Mapping[NodeKey, ReuseParameters], journal: Journal
) -> dict[NodeKey, LayerError]:
    def measure() -> list[list[float]]:
        errors = measure_errors(subject.model, settings, subject.feeds[:_ERROR_CALLS], subject.threads)
        return [[error.error, error.largest_ratio, *error.remaining_ratios] for error in errors.values()]

    figures = journal.once(f"errors {describe(settings)}", measure)
    return {key: LayerError(error, tuple(ratios), largest) for key, (error, largest, *ratios) in zip(settings, figures)}


def describe(assignment: Assignment) -> str:
    """A short name of an assignment: its clustered settings in words, and a digest of all of it."""
    settings = {choice for choice in assignment.values() if isinstance(choice, ReuseParameters) and choice != EXACT}
    words = ", ".join(sorted(setting.describe() for setting in settings)) or "exact"
    return f"{words} {_digest(f'{key}: {choice}' for key, choice in sorted(assignment.items()))}"


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
