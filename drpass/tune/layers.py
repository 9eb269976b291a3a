"""What is said of every layer at the end: all that was tried, what was chosen, and why."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator

from drpass.operator.spec import ReuseParameters
from drpass.passes import EXACT, Assignment, NodeKey
from drpass.tune.exact import Exact
from drpass.tune.report import LayerReport, Trial
from drpass.tune.subject import Subject
from drpass.tune.sweep import Sweep


def layer_reports(subject: Subject, chosen: Assignment, exact: Exact | None, why: str) -> Iterator[LayerReport]:
    """One for each candidate, in graph order. ``why``: what decided about clustering as a whole."""
    times = exact.times if exact else Sweep({}, {})
    for verdict in subject.verdicts:
        key = verdict.key
        choice = chosen.get(key, verdict.reason)
        trials = list(times.trials.get(key, []))
        if exact and exact.assignment.get(key) == EXACT and key in times.reference:
            trials.insert(0, Trial(EXACT, times.reference[key], 0.0, 0.0))
        parameters = choice if isinstance(choice, ReuseParameters) else None
        layer = subject.layers.get(key)
        obstacle = layer.obstacle if layer else ""
        reason = choice if isinstance(choice, str) else _reason(key, choice, times, obstacle, why)
        yield LayerReport(key, verdict.op_type, times.dense.get(key), tuple(trials), parameters, reason)


def figures(exact: Exact, key: NodeKey, choice: ReuseParameters | str, predicted: bool) -> dict[str, float]:
    """What is known of a layer at its choice, for the plan; times are called so where they are only ``predicted``."""
    times = exact.times
    known = {"dense_ms": times.dense.get(key)}
    trial = next((trial for trial in times.trials.get(key, []) if trial.parameters == choice), None)
    if trial is not None:
        known |= {"ms": trial.milliseconds, "error": trial.error, "effect": trial.effect}
        known["remaining_ratio"] = statistics.median(trial.remaining_ratios or (1.0,))
    elif choice == exact.assignment.get(key):
        known["ms"] = times.reference.get(key)
    return {
        f"predicted_{name}" if predicted and name.endswith("ms") else name: round(value, 9)
        for name, value in known.items()
        if value is not None
    }


def _reason(key: NodeKey, choice: ReuseParameters, times: Sweep, obstacle: str, why: str) -> str:
    trials, reference = times.trials.get(key, []), times.reference.get(key)
    if choice != EXACT:
        trial = next(trial for trial in trials if trial.parameters == choice)
        return f"saves {(reference or 0.0) - (trial.milliseconds or 0.0):.2f} ms against exact, within the budget"
    if obstacle:
        return f"no clustering tried: {obstacle}"
    if not trials:
        return f"no clustering tried: {why}" if why else ""
    if gaining := times.gaining(key):
        best = min(gaining, key=lambda trial: trial.milliseconds or math.inf)
        words = (
            f"{best.parameters.describe()} would take {best.milliseconds or 0.0:.2f} ms, exact {reference or 0.0:.2f}"
        )
        return f"{words}, but would cause {best.effect:.2g} of error at the outputs; {why}"
    quickest = min(trials, key=lambda trial: trial.milliseconds or math.inf)
    setting, milliseconds = quickest.parameters.describe(), quickest.milliseconds or 0.0
    return f"nothing that clusters is faster: {setting} takes {milliseconds:.2f} ms, exact {reference or 0.0:.2f}"
