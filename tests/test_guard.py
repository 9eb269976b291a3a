"""The limits of r_c that tuning gives to nodes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drpass.operator.spec import ReuseParameters
from drpass.tune.guard import break_even, with_guards
from drpass.tune.report import Trial


def trial(step: float, milliseconds: float, *ratios: float, length: int = 4) -> Trial:
    """The ratios of its groups, of which the guard lets 0.5 pass."""
    largest = max((ratio for ratio in ratios if ratio <= 0.5), default=0.0)
    return Trial(ReuseParameters("grid", "image", length, step), milliseconds, 0.1, 0.0, ratios, largest)


def test_limit_is_where_the_time_passes_that_of_the_exact_operator() -> None:
    trials = [trial(1.0, 2.0, 0.1), trial(0.5, 4.0, 0.2), trial(0.25, 8.0, 0.4)]
    assert [entry.parameters.max_remaining_ratio for entry in with_guards(trials, 6.0)] == [0.3, 0.3, 0.5]


def test_other_ladders_do_not_count() -> None:
    trials = [trial(1.0, 2.0, 0.1), trial(1.0, 9.0, 0.2, length=8)]
    assert with_guards(trials, 6.0)[0].parameters.max_remaining_ratio == 0.5


def test_group_that_was_clustered_stays_clustered() -> None:
    trials = [trial(1.0, 2.0, 0.01, 0.02, 0.36, 1.0), trial(0.5, 9.0, 0.04, 0.05, 0.45, 1.0)]
    assert with_guards(trials, 3.0)[0].parameters.max_remaining_ratio == 0.45  # with a margin of a quarter


@given(st.lists(st.tuples(st.floats(0.001, 1), st.floats(0.1, 10)), max_size=5), st.floats(0.1, 10))
def test_limits_are_legal_and_never_raised(points: list[tuple[float, float]], reference: float) -> None:
    trials = [trial(2.0**-index, milliseconds, ratio) for index, (ratio, milliseconds) in enumerate(points)]
    for entry in with_guards(trials, reference):
        assert 0 < entry.parameters.max_remaining_ratio <= 0.5


def test_break_even_of_what_is_always_quicker_is_infinite_and_of_what_never_is_zero() -> None:
    assert break_even([(0.1, 1.0), (0.2, 2.0)], 3.0) == math.inf
    assert break_even([(0.1, 4.0)], 3.0) == 0.0
    assert break_even([(0.2, 4.0), (0.1, 2.0)], 3.0) == pytest.approx(0.15)
