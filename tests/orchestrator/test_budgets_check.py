"""Constraints: met, not met, undecided, and what it would take."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.run import Outcome
from orchestrator.budgets_check import Figure, check, check_budget, launches_for, meets_budget
from orchestrator.critical_values import student_95
from orchestrator.pareto import front
from orchestrator.verdict import Budget, Estimate, Interval, Limit


def latency(value: float, low: float, high: float, *, count: int = 5) -> Figure:
    return Figure(Estimate(value, Interval(low, high)), count=count)


def test_met_when_the_unfavourable_end_is_within() -> None:
    """──[═●═]──│── 4 to 5 ms against 5 ms: the end may be the bound itself."""
    result = check(Limit.LATENCY_P50_S, 5e-3, latency(4.5e-3, 4e-3, 5e-3))
    assert (result.met, result.value, result.worst) == (True, 4.5e-3, 5e-3)
    assert result.why == "at most 5.00 ms (95 %), within 5.00 ms"


def test_not_met_when_even_the_favourable_end_is_beyond() -> None:
    """──│──[═●═]── 5.1 to 6 ms against 5 ms."""
    result = check(Limit.LATENCY_P50_S, 5e-3, latency(5.5e-3, 5.1e-3, 6e-3))
    assert result.met is False
    assert result.why == "at least 5.10 ms (95 %), above 5.00 ms"


def test_undecided_between_and_it_says_how_many_launches() -> None:
    """──[═●══│]── 4.4 to 5.2 ms against 5 ms: 0.4 ms of half-width must become 0.2."""
    result = check(Limit.LATENCY_P50_S, 5e-3, latency(4.8e-3, 4.4e-3, 5.2e-3))
    assert result.met is None
    wanted = launches_for(0.4e-3, 0.2e-3, count=5)
    assert wanted is not None
    assert f"about {wanted - 5} more launches would decide" in result.why


def test_just_beyond_is_undecided_as_well() -> None:
    """──[═│●═]── the value is beyond the bound, the favourable end is not."""
    assert check(Limit.LATENCY_P50_S, 5e-3, latency(5.2e-3, 4.9e-3, 5.5e-3)).met is None


def test_a_value_on_the_bound_is_never_decided_by_more_measuring() -> None:
    assert "no more measuring decides" in check(Limit.LATENCY_P50_S, 5e-3, latency(5e-3, 4e-3, 6e-3)).why
    assert "more than 1,000 launches" in check(Limit.LATENCY_P50_S, 5e-3, latency(5e-3 - 1e-9, 4e-3, 6e-3)).why


@given(st.integers(2, 30), st.floats(0.05, 0.95))
@settings(max_examples=50, deadline=None)
def test_so_many_launches_are_the_fewest_that_do(count: int, share: float) -> None:
    wanted = launches_for(1.0, share, count=count)
    if wanted is not None:
        width = [student_95(n - 1) / math.sqrt(n) / (student_95(count - 1) / math.sqrt(count)) for n in (wanted, wanted - 1)]
        assert width[0] <= share + 1e-12
        assert wanted - 1 == count or width[1] > share


def test_accuracy_asks_for_samples() -> None:
    """Half-width 0.02 from 669 samples must become 0.01: four times as many in all."""
    figure = Figure(Estimate(0.01, Interval(-0.01, 0.03)), count=669, replicate="sample")
    assert "about 2,007 more samples" in check(Limit.ACCURACY_DROP, 0.02, figure).why


def test_an_exact_size_needs_no_interval() -> None:
    size = Figure(Estimate(300_000, None), replicate="none")
    assert check(Limit.SIZE_BYTES, 300e3, size).met is True
    assert check(Limit.SIZE_BYTES, 299e3, size).met is False


def test_one_latency_launch_decides_nothing() -> None:
    result = check(Limit.LATENCY_P50_S, 1.0, Figure(Estimate(1e-3, None, "one launch"), count=1))
    assert result.met is None
    assert "1 more launch would give one" in result.why


@pytest.mark.parametrize(("value", "met"), [(80e6, True), (120e6, False), (95e6, None), (105e6, None)])
def test_one_memory_launch_decides_beyond_a_tenth(value: float, met: bool | None) -> None:
    assert check(Limit.PEAK_MEMORY_BYTES, 100e6, Figure(Estimate(value, None), count=1)).met is met


def test_an_accuracy_without_an_interval_counts_by_its_value_and_says_so() -> None:
    figure = Figure(Estimate(0.001, None, "the metric gives one number"), count=10, replicate="sample")
    result = check(Limit.ACCURACY_DROP, 0.01, figure)
    assert result.met is True
    assert "the metric gives one number" in result.why


def test_what_was_not_measured_is_undecided_never_zero() -> None:
    result = check(Limit.ENERGY_PER_INFERENCE_J, 0.02, Figure(None, "no counter of energy"))
    assert (result.met, result.value, result.worst) == (None, None, None)
    assert result.why == "not measured: no counter of energy"
    assert check_budget(Budget(((Limit.SIZE_BYTES, 1.0),)), {})[0].met is None


def test_a_row_meets_its_budget_when_all_constraints_do_and_it_is_ok() -> None:
    met, broken, undecided = (check(Limit.SIZE_BYTES, bound, Figure(Estimate(2.0, None), replicate="none")) for bound in (3.0, 1.0, 3.0))
    undecided = check(Limit.LATENCY_P50_S, 1.0, Figure(None))
    assert meets_budget([], Outcome.OK) is True
    assert meets_budget([met], Outcome.OK) is True
    assert meets_budget([met, undecided], Outcome.OK) is None
    assert meets_budget([met, undecided, broken], Outcome.OK) is False
    assert meets_budget([met], Outcome.DEVICE_LOST) is None
    assert meets_budget([broken], Outcome.DEVICE_LOST) is False


def test_the_front_is_what_nothing_beats() -> None:
    """
    y │ a           d is beaten by b, f by a (equal in y); b and its equal e stay
      │   f  d
      │    b e
      │         c
    """
    a, b, c, d, e, f = (1, 9), (4, 4), (9, 1), (6, 6), (4, 4), (3, 9)
    assert front([a, b, c, d, e, f]) == (True, True, True, False, True, False)


def test_what_is_missing_counts_as_worst() -> None:
    assert front([(1.0, None), (1.0, 5.0)]) == (False, True)
    assert front([(0.5, None), (1.0, 5.0)]) == (True, True)
    assert front([(None, None)]) == (True,)
    assert front([]) == ()


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=20))
@settings(max_examples=50, deadline=None)
def test_each_point_is_on_the_front_or_beaten_by_one_that_is(points: list[tuple[int, int, int]]) -> None:
    on = front(points)
    array = np.array(points)
    best = array[np.array(on)]
    assert len(best)
    for point, is_on in zip(array, on, strict=True):
        beaten = ((best <= point).all(axis=1) & (best < point).any(axis=1)).any()
        assert beaten != is_on
