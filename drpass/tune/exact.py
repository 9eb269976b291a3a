"""The fastest model of exact operators: what tuning begins with, and what it falls back to."""

from __future__ import annotations

from dataclasses import dataclass

from drpass.benchmark import Ratio
from drpass.operator.spec import LRN, ReuseParameters
from drpass.passes import EXACT, NodeKey
from drpass.tune.report import Speed
from drpass.tune.subject import Subject
from drpass.tune.sweep import Sweep, time_layers
from drpass.tune.workbench import Workbench

#: A node is tried as it was if ONNX Runtime takes less than this part of the exact operator's time for it.
_QUICKER_BEFORE = 0.95
_MOST_TRIALS = 6

#: Of the original against itself.
SAME = Speed(0.0, 0.0, Ratio(1.0, 1.0, 1.0), 1.0, 0)

#: One model is faster than another if the median of the pairs is, by this much, and surely so.
FASTER = 1.005


def is_faster(speed: Speed) -> bool:
    """Beyond the noise of the pairs."""
    return speed.ratio.median > FASTER and speed.at_least > 1.0


@dataclass
class Exact:
    """``speed``: against the original; ``times``: of all layers in it, for the sweep to begin with."""

    assignment: dict[NodeKey, ReuseParameters | str]
    speed: Speed
    times: Sweep


def find_exact(bench: Workbench) -> Exact:
    """The fastest exact model found: by rule or wherever possible, with those nodes given back that were quicker."""
    subject = bench.subject
    found: Exact | None = None
    for assignment in (by_rule(subject), wherever_possible(subject)):
        if found and assignment == found.assignment:
            continue
        if all(isinstance(choice, str) for choice in assignment.values()):
            continue
        speed = bench.speed(assignment)
        if found is None or speed.ratio.median > found.speed.ratio.median:
            found = Exact(assignment, speed, Sweep({}, {}))
    if found is None:
        found = Exact(by_rule(subject), SAME, Sweep({}, {}))
    found.times = time_layers(subject, found.assignment, bench.journal)
    _give_back(bench, found)
    return found


def _give_back(bench: Workbench, found: Exact) -> None:
    """Keep nodes as they were where that makes the whole network faster; a profile alone does not show what a node in
    another layout costs its neighbours."""
    losses = {}
    for key, milliseconds in found.times.reference.items():
        dense = found.times.dense.get(key)
        if found.assignment[key] == EXACT and dense is not None and dense < _QUICKER_BEFORE * milliseconds:
            losses[key] = milliseconds - dense
    for key in sorted(losses, key=lambda key: -losses[key])[:_MOST_TRIALS]:
        if not bench.clock.within(0.3):
            break
        without = {**found.assignment, key: f"ONNX Runtime's own is quicker here, by {losses[key]:.2f} ms a call"}
        if is_faster(bench.speed(without, found.assignment)):
            found.assignment = without
            found.speed = bench.speed(without)
            found.times = time_layers(bench.subject, without, bench.journal)


def by_rule(subject: Subject) -> dict[NodeKey, ReuseParameters | str]:
    """What `rewrite` would do without data."""
    kept = {verdict.key: verdict.reason for verdict in subject.verdicts if not verdict.replaced}
    return {**wherever_possible(subject), **kept}


def wherever_possible(subject: Subject) -> dict[NodeKey, ReuseParameters | str]:
    """Exact operators for all convolutions, whatever is expected."""
    choices = {key: layer.against_exact or EXACT for key, layer in subject.layers.items()}
    normalizations = {verdict.key: verdict.reason or EXACT for verdict in subject.verdicts if verdict.op_type == LRN}
    return {**choices, **normalizations}
