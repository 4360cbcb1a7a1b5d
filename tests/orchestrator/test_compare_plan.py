"""ABBA blocks: their order, when there are enough, and what is called."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from orchestrator.compare_plan import QUICK, STANDARD, Block, ComparePlan, aa_effects, block_order, judge_comparison, next_block
from orchestrator.statistics import launch
from orchestrator.verdict import Comparison


def block(a: tuple[float, float], b: tuple[float, float]) -> Block:
    """A block of launches with one iteration each."""
    return Block((launch([a[0]]), launch([a[1]])), (launch([b[0]]), launch([b[1]])))


def noisy_block(random: np.random.Generator, number: int, *, cv: float, slower: float, drift: float) -> Block:
    """A block of a device with heavy tails between launches that slows down by `drift` a launch."""
    times = np.exp(cv * random.standard_t(3, 4) / np.sqrt(3) + drift * (4 * number + np.arange(4)))
    sides: dict[str, list[float]] = {"A": [], "B": []}
    for side, time in zip(block_order("seed", number), times, strict=True):
        sides[side].append(float(time) * (slower if side == "B" else 1.0))
    return block((sides["A"][0], sides["A"][1]), (sides["B"][0], sides["B"][1]))


def compare(random: np.random.Generator, plan: ComparePlan, *, cv: float, slower: float) -> tuple[Comparison, int]:
    blocks: list[Block] = []
    while (number := next_block(blocks, plan)) is not None:
        blocks.append(noisy_block(random, number, cv=cv, slower=slower, drift=0.0002))
    return judge_comparison(blocks).verdict, len(blocks)


def test_of_each_two_blocks_one_is_abba_and_one_baab() -> None:
    orders = [block_order("a campaign", number) for number in range(40)]
    assert all({orders[i], orders[i + 1]} == {"ABBA", "BAAB"} for i in range(0, 40, 2))
    assert 3 <= Counter(orders[::2])["ABBA"] <= 17  # which is first is by lot


def test_the_order_follows_from_the_seed() -> None:
    assert [block_order("x", number) for number in range(20)] == [block_order("x", number) for number in range(20)]
    assert [block_order("x", number) for number in range(20)] != [block_order("y", number) for number in range(20)]


def test_a_steady_slow_down_of_the_device_cancels_within_a_block() -> None:
    """
    time      1    2    3    4
    launch    A    B    B    A
    p50      100  110  121  133.1     A and B take the same share of the drift
    """
    result = judge_comparison([block((100.0, 133.1), (110.0, 121.0))] * 6)
    assert result.ratio.value == pytest.approx(1.0, abs=1e-9)
    assert result.verdict is Comparison.NO_DIFFERENCE_SHOWN


@pytest.mark.parametrize(("b", "verdict"), [(1.10, Comparison.SLOWER), (0.90, Comparison.FASTER), (1.01, Comparison.NO_DIFFERENCE_SHOWN)])
def test_a_clear_change_is_called_and_one_below_two_percent_is_not(b: float, verdict: Comparison) -> None:
    blocks = [block((1.0, 1.001), (b, b * 1.001)), block((1.001, 1.0), (b * 1.001, b))] * 4
    result = judge_comparison(blocks)
    assert result.verdict is verdict
    assert result.ratio.value == pytest.approx(b, rel=0.002)
    assert result.floor == 0.02
    assert (f"{b:.3f} times as long as A" in result.why) and ("changes below 2%" in result.why)


def test_a_change_within_the_devices_floor_is_not_called() -> None:
    blocks = [block((1.0, 1.001), (1.1, 1.1011))] * 8
    assert judge_comparison(blocks, floor=0.05).verdict is Comparison.SLOWER
    refused = judge_comparison(blocks, floor=0.15)
    assert refused.verdict is Comparison.NO_DIFFERENCE_SHOWN
    assert refused.floor == 0.15
    assert "A compared with itself stays within 15" in refused.why


def test_launches_that_differ_by_themselves_raise_the_floor() -> None:
    """Launches of the same side 30 % apart: 10 % between the sides is not called."""
    blocks = [block((1.0, 1.3), (1.1, 1.43)), block((1.3, 1.0), (1.43, 1.1))] * 4
    result = judge_comparison(blocks)
    assert result.ratio.value == pytest.approx(1.1)
    assert result.floor > 0.1
    assert result.verdict is Comparison.NO_DIFFERENCE_SHOWN
    assert result.resolves > result.floor


def test_two_blocks_are_too_few_to_call_anything() -> None:
    result = judge_comparison([block((1.0, 1.0), (2.0, 2.0))] * 2)
    assert result.verdict is Comparison.NO_DIFFERENCE_SHOWN
    assert math.isinf(result.floor)
    assert "at least 3" in result.why
    with pytest.raises(ValueError, match="at least one block"):
        judge_comparison([])


def test_enough_is_judged_by_noise_alone_never_by_the_difference() -> None:
    random = np.random.default_rng(0)
    same = [noisy_block(random, number, cv=0.03, slower=1.0, drift=0) for number in range(12)]
    scaled = [Block(each.a, (launch(each.b[0].sorted * 1.5), launch(each.b[1].sorted * 1.5))) for each in same]
    assert aa_effects(same) == pytest.approx(aa_effects(scaled))
    for count in range(13):
        assert next_block(same[:count], QUICK) == next_block(scaled[:count], QUICK)


def test_a_quiet_device_needs_the_fewest_blocks_and_a_noisy_one_the_most() -> None:
    random = np.random.default_rng(1)
    assert compare(random, QUICK, cv=0.001, slower=1.0)[1] == QUICK.fewest
    assert compare(random, QUICK, cv=0.5, slower=1.0)[1] == QUICK.most


@pytest.mark.parametrize(("fewest", "most"), [(1, 5), (6, 5)])
def test_a_plan_makes_sense(fewest: int, most: int) -> None:
    with pytest.raises(ValueError, match="blocks"):
        ComparePlan(fewest, most)


@pytest.mark.parametrize("plan", [QUICK, STANDARD])
def test_comparisons_of_a_variant_with_itself_are_hardly_ever_called(plan: ComparePlan) -> None:
    """80 at a launch-to-launch noise of 3 %, heavy tails, drift: at most 1 % should be called; 4 or more would be one chance in 100."""
    random = np.random.default_rng(2)
    called = sum(compare(random, plan, cv=0.03, slower=1.0)[0] is not Comparison.NO_DIFFERENCE_SHOWN for _ in range(80))
    assert called <= 3


@pytest.mark.parametrize("plan", [QUICK, STANDARD])
def test_a_slow_down_of_five_percent_is_called(plan: ComparePlan) -> None:
    random = np.random.default_rng(3)
    called = [compare(random, plan, cv=0.03, slower=1.05)[0] for _ in range(40)]
    assert called.count(Comparison.SLOWER) >= 34
    assert Comparison.FASTER not in called
