"""The division of an error budget over layers."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drpass.tune.allocate import Option, allocate, lower_hull

option_lists = st.lists(
    st.builds(
        Option,
        st.integers(0, 9),
        st.floats(0.01, 10).map(lambda value: round(value, 2)),
        st.floats(0, 1).map(lambda value: round(value, 2)),
    ),
    min_size=1,
    max_size=5,
)
layers = st.lists(option_lists, min_size=1, max_size=4).map(lambda lists: dict(enumerate(lists)))


def total(chosen: dict[int, Option[int]]) -> float:
    return sum(option.milliseconds for option in chosen.values())


def effect(chosen: dict[int, Option[int]]) -> float:
    return math.hypot(*(option.effect for option in chosen.values()))


@given(layers, st.floats(0, 2))
def test_limit_is_kept_where_it_can_be(options: dict[int, list[Option[int]]], limit: float) -> None:
    least = math.hypot(*(min(option.effect for option in choices) for choices in options.values()))
    assert effect(allocate(options, limit)) <= max(limit, least) + 1e-9


@given(layers)
def test_without_a_limit_every_layer_gets_its_quickest_option(options: dict[int, list[Option[int]]]) -> None:
    quickest = sum(min(option.milliseconds for option in choices) for choices in options.values())
    assert total(allocate(options, math.inf)) == pytest.approx(quickest)


@given(layers, st.floats(0, 2))
def test_no_choice_of_options_is_quicker_by_more_than_one_step(
    options: dict[int, list[Option[int]]], limit: float
) -> None:
    found = total(allocate(options, limit))
    within = [
        choice for choice in itertools.product(*options.values()) if math.hypot(*(o.effect for o in choice)) <= limit
    ]
    best = min((sum(option.milliseconds for option in choice) for choice in within), default=math.inf)
    hulls = [lower_hull(choices) for choices in options.values()]
    step = max((a.milliseconds - b.milliseconds for hull in hulls for a, b in itertools.pairwise(hull)), default=0.0)
    assert found <= best + step + 1e-9


def test_error_goes_to_the_layer_that_saves_most_for_it() -> None:
    cheap = [Option("exact", 10.0, 0.0), Option("coarse", 5.0, 0.01)]
    dear = [Option("exact", 10.0, 0.0), Option("coarse", 5.0, 0.02)]
    chosen = allocate({"cheap": cheap, "dear": dear}, 0.02)
    assert (chosen["cheap"].setting, chosen["dear"].setting) == ("coarse", "exact")
    chosen = allocate({"cheap": cheap, "dear": dear}, 0.03)
    assert (chosen["cheap"].setting, chosen["dear"].setting) == ("coarse", "coarse")


def test_option_above_the_hull_is_never_chosen() -> None:
    options = [Option("exact", 10.0, 0.0), Option("poor", 9.5, 0.02), Option("good", 5.0, 0.03)]
    assert [option.setting for option in lower_hull(options)] == ["exact", "good"]
