"""Divides an error budget over the layers: which setting each gets.

The errors of layers are taken as independent noise at the output, so that their squares add. Minimising the sum of
times under a limit on that sum is a knapsack; walking the lower convex hulls of (square of the effect, time) of all
layers together, steepest step first, is optimal but for the last step (Everett's Lagrange multipliers, 1963).
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Setting = TypeVar("Setting")


@dataclass(frozen=True)
class Option(Generic[Setting]):
    """A setting of one layer: its time, and the relative rms error expected of it at the model's outputs."""

    setting: Setting
    milliseconds: float
    effect: float


def allocate(options: Mapping[Key, Sequence[Option[Setting]]], limit: float) -> dict[Key, Option[Setting]]:
    """One option a layer: the least time found with sqrt(sum of effect²) <= ``limit``.

    Every layer begins at its option of the least effect, so that a limit below their sum gives just those.
    """
    hulls = {key: lower_hull(choices) for key, choices in options.items()}
    place = dict.fromkeys(hulls, 0)
    left = limit * limit - sum(hull[0].effect ** 2 for hull in hulls.values())
    steps = [
        (-_slope(hull[0], hull[1]), index, key) for index, (key, hull) in enumerate(hulls.items()) if len(hull) > 1
    ]
    heapq.heapify(steps)
    while steps:
        _, index, key = heapq.heappop(steps)
        hull, at = hulls[key], place[key]
        cost = hull[at + 1].effect ** 2 - hull[at].effect ** 2
        if cost > left:
            continue  # a cheaper step of another layer may still fit
        left -= cost
        place[key] = at + 1
        if at + 2 < len(hull):
            heapq.heappush(steps, (-_slope(hull[at + 1], hull[at + 2]), index, key))
    return {key: hulls[key][at] for key, at in place.items()}


def lower_hull(choices: Sequence[Option[Setting]]) -> list[Option[Setting]]:
    """The options on the lower convex hull, from the least effect to the least time: each quicker than those before,
    and each step saving less time for an effect² than the one before."""
    hull: list[Option[Setting]] = []
    for option in sorted(choices, key=lambda choice: (choice.effect, choice.milliseconds)):
        if hull and option.milliseconds >= hull[-1].milliseconds:
            continue
        while len(hull) > 1 and _slope(hull[-2], hull[-1]) <= _slope(hull[-1], option):
            hull.pop()
        hull.append(option)
    return hull


def _slope(before: Option[Setting], after: Option[Setting]) -> float:
    """Milliseconds saved for a unit of effect²."""
    cost = after.effect**2 - before.effect**2
    saved = before.milliseconds - after.milliseconds
    return saved / cost if cost > 0 else float("inf")
