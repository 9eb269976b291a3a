"""The fastest model of exact operators: what tuning begins with, and what it falls back to."""

from __future__ import annotations

from dataclasses import dataclass

from drpass.benchmark import Ratio
from drpass.operator.spec import ReuseParameters
from drpass.passes import EXACT, Assignment, NodeKey
from drpass.tune.report import Speed
from drpass.tune.subject import Subject
from drpass.tune.sweep import Sweep, time_layers
from drpass.tune.workbench import Workbench

#: A node is tried as it was if ONNX Runtime takes less than this part of the exact operator's time for it.
_QUICKER_BEFORE = 0.95
_MOST_TRIALS = 6

#: Of the original against itself.
SAME = Speed(0.0, 0.0, Ratio(1.0, 1.0, 1.0), 1.0, 0)

#: One model is faster than another if the median of the pairs surely is, by this much.
FASTER = 1.005


def is_faster(speed: Speed) -> bool:
    """Beyond the noise of the pairs."""
    return speed.at_least > FASTER


@dataclass
class Exact:
    """``speed``: against the original; ``times``: of all layers in it, for the sweep to begin with."""

    assignment: dict[NodeKey, ReuseParameters | str]
    speed: Speed
    times: Sweep


def find_exact(bench: Workbench) -> Exact:
    """The fastest exact model found: by rule or wherever possible, with those nodes given back that were quicker."""
    subject = bench.subject
    ways = [way for way in (by_rule(subject), wherever_possible(subject)) if _replaces(way)]
    if not ways:
        found = Exact(by_rule(subject), SAME, Sweep({}, {}))
    else:
        chosen = ways[0]
        for way in ways[1:]:
            if way != chosen and bench.times.speed(way, chosen).ratio.median > 1.0:
                chosen = way
        found = Exact(chosen, bench.times.speed(chosen), Sweep({}, {}))
    found.times = time_layers(bench.times, found.assignment)
    return _with_some_given_back(bench, found)


def _replaces(assignment: Assignment) -> bool:
    return any(isinstance(choice, ReuseParameters) for choice in assignment.values())


def _with_some_given_back(bench: Workbench, start: Exact) -> Exact:
    """With nodes as they were where that makes the whole network faster; a profile alone does not show what a node in
    another layout costs its neighbours."""
    losses = {}
    for key, milliseconds in start.times.reference.items():
        dense = start.times.dense.get(key)
        if start.assignment[key] == EXACT and dense is not None and dense < _QUICKER_BEFORE * milliseconds:
            losses[key] = milliseconds - dense
    assignment = start.assignment
    for key in sorted(losses, key=lambda key: -losses[key])[:_MOST_TRIALS]:
        if not bench.clock.within(0.3):
            break
        without = {**assignment, key: f"ONNX Runtime's own is quicker here, by {losses[key]:.2f} ms a call"}
        if is_faster(bench.times.speed(without, assignment)):
            assignment = without
    # Of several trials one may win by luck: what is given back must win once more, all together.
    if assignment == start.assignment or not is_faster(bench.times.speed(assignment, start.assignment, again=True)):
        return start
    return Exact(assignment, bench.times.speed(assignment), time_layers(bench.times, assignment))


def by_rule(subject: Subject) -> dict[NodeKey, ReuseParameters | str]:
    """What `rewrite` would do without data."""
    kept = {verdict.key: verdict.reason for verdict in subject.verdicts if not verdict.replaced}
    return {**wherever_possible(subject), **kept}


def wherever_possible(subject: Subject) -> dict[NodeKey, ReuseParameters | str]:
    """Exact operators for all convolutions, whatever is expected."""
    # What is no layer is an LRN, or can't be replaced at all.
    others = {verdict.key: verdict.reason or EXACT for verdict in subject.verdicts if verdict.key not in subject.layers}
    return {**others, **{key: layer.against_exact or EXACT for key, layer in subject.layers.items()}}
