"""Clusters where that is faster than the best exact model, as far as the budget allows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from drpass.data import Data
from drpass.operator.spec import ReuseParameters
from drpass.passes import Assignment, NodeKey
from drpass.tune.allocate import Option, allocate
from drpass.tune.effect import with_effects
from drpass.tune.exact import Exact, is_faster
from drpass.tune.guard import with_guards
from drpass.tune.sweep import sweep
from drpass.tune.workbench import Workbench

Choice = ReuseParameters | str
Chosen = dict[NodeKey, Option[Choice]]
Options = Mapping[NodeKey, Sequence[Option[Choice]]]

#: What clustering is expected to save must be at least this part of the model's time: less is within the noise.
_WORTH_IT = 0.01
#: Limits on the error at the outputs for which allocations are made, from that of the least effect to all together.
_LIMITS = 60
#: Layers that are given back to find a faster model beyond the last limit that keeps the budget.
_REPAIRS = 4
#: Samples that effects are measured on.
_EFFECT_SAMPLES = 64


def cluster(bench: Workbench, exact: Exact) -> tuple[Assignment, str]:
    """The fastest assignment found that keeps the budget with a margin, and in words why it is that one."""
    bench.say("trying settings that cluster on all layers")
    sweep(bench, exact.assignment, exact.times)
    gaining = [key for key in exact.times.trials if exact.times.gaining(key)]
    if not gaining:
        return exact.assignment, "no setting that clusters is faster than the exact operator in any layer"
    bench.say(f"measuring what errors of {len(gaining)} layers do to the outputs")
    options = _options(bench, exact, gaining, bench.calibration.first(_EFFECT_SAMPLES))
    fastest = allocate(options, math.inf)
    saved, total = _saved(exact, fastest), exact.speed.rewritten_ms or bench.times.call_ms
    if saved < _WORTH_IT * total:
        return exact.assignment, f"clustering would save {saved:.2f} ms of {total:.2f}, less than can be measured"
    bench.say(f"clustering may save {saved:.2f} ms of {total:.2f}; looking for how much the budget allows")
    found = _largest_kept(bench, exact, options, math.hypot(*(option.effect for option in fastest.values())))
    if found is None:
        return exact.assignment, "no clustering that saves time keeps the budget"
    while not is_faster(bench.times.speed(_applied(exact, found), exact.assignment)):
        found = _better_half(exact, found)
        if not found or not bench.clock.within(0.9):
            return exact.assignment, "timed end to end, clustering within the budget is not faster than the exact model"
    names = [key[1] for key, option in found.items() if option.setting != exact.assignment[key]]
    words = f"within the budget cluster {', '.join(names)}, expected to save {_saved(exact, found):.2f} ms a call"
    return _applied(exact, found), words


def _options(bench: Workbench, exact: Exact, gaining: Sequence[NodeKey], data: Data) -> Options:
    """For each layer what it is, and its gaining trials, whose effects are now known."""
    options: dict[NodeKey, list[Option[Choice]]] = {}
    for key in gaining:
        if not bench.clock.within(0.75):
            break
        trials = exact.times.trials[key]
        exact.times.trials[key] = with_effects(bench, exact.assignment, key, trials, data)
        exact.times.trials[key] = with_guards(exact.times.trials[key], exact.times.reference[key])
        options[key] = [Option(exact.assignment[key], exact.times.reference[key], 0.0)]
        for trial in exact.times.gaining(key):
            options[key].append(Option(trial.parameters, trial.milliseconds or math.inf, trial.effect))
    return options


def _largest_kept(bench: Workbench, exact: Exact, options: Options, largest: float) -> Chosen | None:
    """The last of the allocations, in order of their limit, that keeps the budget; by bisection, then repaired."""
    ladder: list[Chosen] = []
    effects = [option.effect for choices in options.values() for option in choices if option.effect > 0]
    smallest = min(effects, default=largest)
    for index in range(_LIMITS):
        share = index / (_LIMITS - 1)
        chosen = allocate(options, 1.001 * smallest ** (1 - share) * largest**share)
        if _saved(exact, chosen) > 0 and (not ladder or chosen != ladder[-1]):
            ladder.append(chosen)
    low, high = -1, len(ladder)
    while high - low > 1 and bench.clock.within(0.85):
        middle = (low + high) // 2
        if bench.judge(_applied(exact, ladder[middle])):
            low = middle
        else:
            high = middle
    kept = ladder[low] if low >= 0 else None
    return _repaired(bench, exact, ladder[high], kept) if high < len(ladder) else kept


def _repaired(bench: Workbench, exact: Exact, broken: Chosen, kept: Chosen | None) -> Chosen | None:
    """What breaks the budget with its worst layers given back, if it keeps the budget then and saves more."""
    least = _saved(exact, kept) if kept else 0.0
    for _ in range(_REPAIRS):
        worst = max(broken, key=lambda key: broken[key].effect)
        broken = {key: option for key, option in broken.items() if key != worst}
        if not broken or _saved(exact, broken) <= least or not bench.clock.within(0.85):
            break
        if bench.judge(_applied(exact, broken)):
            return broken
    return kept


def _better_half(exact: Exact, chosen: Chosen) -> Chosen:
    """The layers that save most, half of those that are clustered; none if there is only one."""
    clustered = [key for key, option in chosen.items() if option.setting != exact.assignment[key]]
    clustered.sort(key=lambda key: chosen[key].milliseconds - exact.times.reference[key])
    return {key: chosen[key] for key in clustered[: len(clustered) // 2]}


def _applied(exact: Exact, chosen: Chosen) -> dict[NodeKey, Choice]:
    return {**exact.assignment, **{key: option.setting for key, option in chosen.items()}}


def _saved(exact: Exact, chosen: Chosen) -> float:
    """Milliseconds a call, by the profiles."""
    return sum(exact.times.reference[key] - option.milliseconds for key, option in chosen.items())
