"""Intervals cover what they should, also from few launches, and pairing by round cancels drift."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.critical_values import block_ranks_95, signed_rank_95, student_95
from orchestrator.statistics import Launch, _drawn_quantiles, block_ratio, hodges_lehmann, independent_ratio, launch, over_launches, ratio


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_students_t_is_that_of_the_tables() -> None:
    assert student_95(1) == 12.706
    assert student_95(4.9) == student_95(4) == 2.776  # fewer degrees of freedom: the wider interval
    for degrees, value in ((31, 2.0395), (40, 2.0211), (60, 2.0003), (120, 1.9799), (100_000, 1.95996)):
        assert student_95(degrees) == pytest.approx(value, abs=5e-4)
    with pytest.raises(ValueError, match="at least one degree"):
        student_95(0.5)


@pytest.mark.parametrize(("n", "outside"), [(6, 0), (7, 2), (8, 3), (9, 5), (10, 8), (15, 25), (20, 52), (25, 89)])
def test_signed_ranks_are_those_of_the_tables(n: int, outside: int) -> None:
    """Wilcoxon's two-sided 5 % values as every table has them (n = 6: 0, 10: 8, 20: 52, 25: 89)."""
    assert signed_rank_95(n) == outside


def test_signed_ranks_cannot_give_95_percent_below_six() -> None:
    assert signed_rank_95(5) is None


def test_hodges_lehmann_is_the_median_of_pair_averages() -> None:
    """1 2 12: pairs 1, 1.5, 6.5, 2, 7, 12; an outlier moves it less than the mean (5)."""
    assert hodges_lehmann(np.array([1.0, 2.0, 12.0])) == pytest.approx((2.0 + 6.5) / 2)
    assert hodges_lehmann(np.array([[1.0, 1.0], [3.0, 5.0]])).tolist() == [1.0, 4.0]


def test_a_beta_variate_places_the_median_of_a_resample() -> None:
    """The distribution of the median of 21 iterations drawn anew, against really drawing them."""
    values = np.sort(rng(1).lognormal(size=21))
    ours = _drawn_quantiles([Launch(values)], np.zeros((40_000, 1), np.int64), q=0.5, rng=rng(2))[:, 0]
    drawn = np.median(rng(3).choice(values, size=(40_000, 21)), axis=1)
    for q in (0.025, 0.25, 0.5, 0.75, 0.975):
        shares = [(each <= np.quantile(drawn, q)).mean() for each in (ours, drawn)]
        assert shares[0] == pytest.approx(shares[1], abs=0.01)


@given(st.lists(st.floats(1e-6, 10), min_size=1, max_size=30), st.floats(0, 1))
@settings(max_examples=50, deadline=None)
def test_a_launchs_quantile_is_numpys(iterations: list[float], q: float) -> None:
    assert launch(iterations).quantile(q) == pytest.approx(float(np.quantile(iterations, q)))


@pytest.mark.parametrize("n", [10_001, 10_002, 200_001])
def test_a_launch_of_very_many_iterations_keeps_its_quantiles(n: int) -> None:
    values = rng(n).lognormal(sigma=0.1, size=n)
    kept = launch(values)
    assert len(kept.sorted) == 10_001
    for q in (0.0, 0.5, 0.9, 0.99, 1.0):
        ranks = np.sort(values).searchsorted(kept.quantile(q), side="right") / n
        assert ranks == pytest.approx(q, abs=2e-4)


@pytest.mark.parametrize("iterations", [[], [1.0, np.nan], [np.inf]])
def test_a_launch_needs_finite_iterations(iterations: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        launch(iterations)


def test_one_launch_has_no_interval_and_says_so() -> None:
    estimate = over_launches([launch([1.0, 2.0, 3.0])], q=0.5, rng=rng())
    assert (estimate.value, estimate.interval) == (2.0, None)
    assert estimate.why == "one launch says nothing of how launches differ"
    assert ratio([launch([2.0])], [launch([1.0])], rng=rng()).interval is None


def test_the_value_is_the_median_over_launches() -> None:
    launches = [launch([value] * 3, round=index) for index, value in enumerate((5.0, 1.0, 2.0))]
    estimate = over_launches(launches, q=0.5, rng=rng())
    assert estimate.value == 2.0
    assert estimate.interval is not None
    assert estimate.interval.low <= 1.0
    assert estimate.interval.high >= 5.0


def test_pairing_by_round_cancels_drift() -> None:
    """
    p50   A 100 120 150 190      the device gets slower from round to round,
          B  90 108 135 171      B stays at 0.9 of A in each
    """
    a = [launch([100.0 * drift], round=index) for index, drift in enumerate((1.0, 1.2, 1.5, 1.9))]
    b = [launch([90.0 * drift], round=index) for index, drift in enumerate((1.0, 1.2, 1.5, 1.9))]
    paired = ratio(b, a, rng=rng())
    assert paired.value == pytest.approx(0.9)
    assert paired.interval is not None
    assert paired.interval.low == pytest.approx(0.9)
    assert paired.interval.high == pytest.approx(0.9)
    apart = independent_ratio(b, a, rng=rng())
    assert apart.interval is not None
    assert apart.interval.high > 1  # without pairing, the drift hides the difference


def test_rounds_that_only_one_side_has_are_left_out() -> None:
    """A in rounds 0 1 2 3, B in 1 2 3 4: three in common; the fourth launch of each does not count."""
    a = [launch([value], round=index) for index, value in enumerate((7000.0, 100.0, 110.0, 120.0))]
    b = [launch([value], round=index + 1) for index, value in enumerate((50.0, 55.0, 60.0, 9000.0))]
    assert ratio(b, a, rng=rng()).value == pytest.approx(0.5)


def test_too_few_rounds_in_common_are_compared_as_independent() -> None:
    a = [launch([value], round=index) for index, value in enumerate((100.0, 101.0, 99.0))]
    b = [launch([value], round=index + 2) for index, value in enumerate((50.0, 50.5, 49.5))]
    assert ratio(b, a, rng=rng()) == independent_ratio(b, a, rng=rng())


def test_the_same_seed_gives_the_same_interval() -> None:
    launches = [launch(rng(seed).lognormal(size=50), round=seed) for seed in range(4)]
    assert over_launches(launches, q=0.9, rng=rng(5)) == over_launches(launches, q=0.9, rng=rng(5))


def test_identical_launches_have_an_interval_of_no_width() -> None:
    same = [launch([1.0, 1.0, 1.0], round=index) for index in range(7)]
    for estimate in (ratio(same, same, rng=rng()), independent_ratio(same, same, rng=rng())):
        assert estimate.interval is not None
        assert (estimate.interval.low, estimate.value, estimate.interval.high) == (1.0, 1.0, 1.0)


def measured(rounds: int, random: np.random.Generator, *, drift: np.ndarray, scale: float) -> list[Launch]:
    """Launches of a noisy device: 3 % between launches, one in ten up to three times that and only slower, 5 % within, and drift."""
    found = []
    for index in range(rounds):
        noise = random.normal(0, 0.03) if random.random() > 0.1 else abs(random.normal(0, 0.09))
        found.append(launch(scale * np.exp(drift[index] + noise + 0.05 * random.standard_exponential(101)), round=index))
    return found


@pytest.mark.parametrize("rounds", [3, 5, 10])
@pytest.mark.parametrize("drifts", [False, True])
def test_the_interval_of_a_ratio_covers_the_truth(rounds: int, drifts: bool) -> None:
    """300 times: 95 % should be covered. Fewer than 91.5 % would come from a right method once in 200 times."""
    random = rng(rounds)
    covered = 0
    for _ in range(300):
        drift = np.cumsum(random.normal(0, 0.03, rounds)) if drifts else np.zeros(rounds)
        ours = measured(rounds, random, drift=drift, scale=0.9)
        theirs = measured(rounds, random, drift=drift, scale=1.0)
        interval = ratio(ours, theirs, rng=random).interval
        assert interval is not None
        covered += interval.low <= 0.9 <= interval.high
    assert covered / 300 >= 0.915


@pytest.mark.parametrize("rounds", [3, 5, 10])
def test_the_interval_of_a_p50_covers_the_truth(rounds: int) -> None:
    random = rng(rounds + 100)
    everything = measured(10_000, random, drift=np.zeros(10_000), scale=1.0)
    truth = float(np.median([each.quantile(0.5) for each in everything]))
    covered = 0
    for _ in range(300):
        interval = over_launches(measured(rounds, random, drift=np.zeros(rounds), scale=1.0), q=0.5, rng=random).interval
        assert interval is not None
        covered += interval.low <= truth <= interval.high
    assert covered / 300 >= 0.915


def test_a_percentile_bootstrap_alone_would_not_do() -> None:
    """Why the second interval is there: of three rounds the bootstrap alone covers about 75 %."""
    random = rng(9)
    covered = 0
    for _ in range(300):
        logs = random.normal(0, 0.03, 3)
        resampled = hodges_lehmann(random.choice(logs, size=(2000, 3)))
        low, high = np.percentile(resampled, (2.5, 97.5))
        covered += low <= 0 <= high
    assert covered / 300 < 0.85


def test_a_launch_that_went_wrong_hardly_moves_the_ratio_of_blocks() -> None:
    """Of eight blocks, three have one launch that met a busy moment: two of four differences each are spoilt."""
    quiet = ((launch([1.10]), launch([1.101])), (launch([1.0]), launch([1.001])))
    spoilt = ((launch([1.10]), launch([9.0])), (launch([1.0]), launch([1.001])))
    estimate = block_ratio([quiet, spoilt, quiet, quiet, spoilt, quiet, spoilt, quiet], rng=rng())
    assert estimate.value == pytest.approx(1.1, rel=2e-3)
    assert estimate.interval is not None
    assert estimate.interval.high < 1.103


@pytest.mark.parametrize(("blocks", "outside"), [(1, None), (2, None), (3, 1), (4, 2)])
def test_ranks_in_blocks(blocks: int, outside: int | None) -> None:
    """Three blocks: at most one positive difference has a chance of 4 in 216, at most two of 13: above 2.5 %."""
    assert block_ranks_95(blocks) == outside
    counts = [1]
    for _ in range(blocks):
        counts = [sum(w * counts[u - k] for k, w in enumerate((1, 1, 2, 1, 1)) if 0 <= u - k < len(counts)) for u in range(len(counts) + 4)]
    allowed = [u for u in range(len(counts)) if sum(counts[: u + 1]) / 6**blocks <= 0.025]
    assert (allowed[-1] if allowed else None) == outside


def test_the_interval_of_blocks_covers_the_truth() -> None:
    random = rng(11)
    covered = 0
    for _ in range(300):
        values = 0.03 * random.standard_t(3, (6, 4)) + np.log([0.9, 0.9, 1.0, 1.0]) + np.cumsum(random.normal(0, 0.02, 6))[:, None]
        blocks = [((launch([np.exp(b1)]), launch([np.exp(b2)])), (launch([np.exp(a1)]), launch([np.exp(a2)]))) for b1, b2, a1, a2 in values]
        interval = block_ratio(blocks, rng=random).interval
        assert interval is not None
        covered += interval.low <= 0.9 <= interval.high
    assert covered / 300 >= 0.915
