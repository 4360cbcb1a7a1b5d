"""From records to rows and choices, on small literal campaigns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from agents.run import (
    DeviceRef,
    Latency,
    LaunchKind,
    MemoryStage,
    Outcome,
    ProtocolRef,
    Role,
    RunConfig,
    RunRecord,
    TraceRef,
    VariantRef,
)
from device_profiles.metrics import PSS_WITH_SWAP, Better
from orchestrator.judge import CampaignData, MeasuredJob, VariantFacts, judge
from orchestrator.verdict import Budget, Choice, Estimate, Interval, Limit, Row

GOLDEN, TIMED, MEMORY = LaunchKind.GOLDEN, LaunchKind.TIMED, LaunchKind.MEMORY
PLANNED = ((GOLDEN, 0), (TIMED, 0), (TIMED, 1), (TIMED, 2), (TIMED, 3), (TIMED, 4), (MEMORY, 0))
HOST = DeviceRef(name="this-machine", profile="host", platform="host", address="local:")
MB = 1e6


def record(kind: LaunchKind, round_: int, outcome: Outcome = Outcome.OK, *, attempt: int = 0, **fields: object) -> RunRecord:
    values: dict[str, object] = {
        "campaign_id": "c",
        "visit_id": "v",
        "job_id": "j",
        "round": round_,
        "attempt": attempt,
        "kind": kind,
        "role": Role.CANDIDATE,
        "model": "m",
        "variant": VariantRef(id="x", recipe="x", sha256="0", size_bytes=1),
        "device": HOST,
        "config": RunConfig(),
        "protocol": ProtocolRef(name="quick", version=1),
        "outcome": outcome,
        "why": None if outcome is Outcome.OK else f"because of {outcome}",
        "started_at": "2026-11-24T00:00:00+00:00",
        "duration_s": 1.0,
    }
    return RunRecord.model_validate(values | fields)


def timed(round_: int, p50_s: float, outcome: Outcome = Outcome.OK, *, attempt: int = 0, **fields: object) -> RunRecord:
    latency = Latency(
        n=3, p50_s=p50_s, p90_s=None, p99_s=None, mean_s=p50_s, min_s=p50_s, max_s=p50_s, mad_s=0, cv=0, outliers=0, duration_s=1
    )
    trace = TraceRef(sha256=f"{p50_s!r}", encoding="int64-le-ns", count=3)
    given = {"latency": latency, "traces": (trace,), "session_load_s": 0.01, "first_inference_s": 0.002} | fields
    return record(TIMED, round_, outcome, attempt=attempt, **given)


def memory(round_: int, bytes_: float) -> RunRecord:
    stages = [
        MemoryStage(stage=stage, pss_bytes=int(size), swap_pss_bytes=1000, rss_bytes=0) for stage, size in (("loaded", 5), ("peak", bytes_))
    ]
    return record(MEMORY, round_, memory=tuple(stages))


def launches(p50s_s: Sequence[float], *, bytes_: float = 50 * MB) -> tuple[RunRecord, ...]:
    return (record(GOLDEN, 0), *(timed(index, p50_s) for index, p50_s in enumerate(p50s_s)), memory(0, bytes_))


def iterations(run: RunRecord) -> NDArray[np.float64]:
    return np.array([0.99, 1.0, 1.01]) * float(run.traces[0].sha256)


def facts(recipe: str, *, size: int = 100, drop: float | None = 0.0, half: float = 0.001, role: Role = Role.CANDIDATE) -> VariantFacts:
    estimate = None if drop is None else Estimate(drop, Interval(drop - half, drop + half))
    return VariantFacts(f"id-{recipe}", recipe, role, size, 0.99 - (drop or 0), "top1", Better.HIGHER, estimate, None, 669)


def job(variant: VariantFacts, records: Sequence[RunRecord], *, device: DeviceRef = HOST, threads: int = 1) -> MeasuredJob:
    config = RunConfig(threads=threads)
    return MeasuredJob(f"{variant.recipe}@{device.name}/{threads}", "m", variant, device, config, tuple(records))


BASE_S = (1.00e-3, 1.02e-3, 0.99e-3, 1.01e-3, 1.00e-3)
BASELINE = job(facts("fp32", size=400, role=Role.BASELINE), launches(BASE_S))


def scaled(factor: float, *, wobble: float = 0.002) -> tuple[RunRecord, ...]:
    """Launches that take `factor` times the baseline's time, in the same rounds."""
    return launches([base * factor * (1 + wobble * (-1) ** index) for index, base in enumerate(BASE_S)])


def judged(*jobs: MeasuredJob, budget: Budget | None = None) -> tuple[dict[str, Row], tuple[Choice, ...]]:
    rows, choices = judge(CampaignData(jobs, PLANNED, iterations, {("m", "host"): budget} if budget else {}, seed=1))
    return {row.job_id.removesuffix("@this-machine/1"): row for row in rows}, choices


def test_a_row_has_its_figures_and_the_ratio_to_the_baseline() -> None:
    rows, _ = judged(BASELINE, job(facts("int8", drop=0.002), scaled(0.5)))
    row = rows["int8"]
    assert (row.outcome, row.launches_ok, row.launches_bad, row.tainted) == (Outcome.OK, 7, 0, 0)
    assert row.latency_p50_s is not None
    assert row.latency_p50_s.value == pytest.approx(0.5e-3, rel=0.01)
    assert row.ratio is not None
    assert row.ratio.interval is not None
    assert row.ratio.value == pytest.approx(0.5, rel=0.005)
    assert 0.49 < row.ratio.interval.low < row.ratio.value < row.ratio.interval.high < 0.51
    assert (row.session_load_s, row.first_inference_s) == (0.01, 0.002)
    base = rows["fp32"].ratio
    assert base is not None
    assert (base.value, base.why) == (1.0, "this is the baseline")


def test_memory_is_the_peak_with_swap_and_one_launch_has_no_interval() -> None:
    row = judged(job(facts("int8"), launches(BASE_S, bytes_=50 * MB)))[0]["int8"]
    assert row.peak_memory_bytes is not None
    assert (row.peak_memory_bytes.value, row.peak_memory_bytes.interval) == (50 * MB + 1000, None)
    assert "one launch" in (row.peak_memory_bytes.why or "")
    assert row.memory_definition == PSS_WITH_SWAP


def test_what_was_not_measured_is_none_with_its_reason() -> None:
    reason = {"energy_per_inference_j": "no counter of energy", "latency_p90_s": "needs 100 iterations"}
    records = [record(GOLDEN, 0), *(timed(index, 1e-3, absent=reason) for index in range(5))]
    row = judged(job(facts("int8", drop=None), records))[0]["int8"]
    assert (row.energy_per_inference_j, row.latency_p90_s, row.peak_memory_bytes, row.memory_definition) == (None,) * 4
    assert row.outcome is Outcome.NOT_RUN
    assert row.why is not None
    assert row.why.startswith("memory launch 1 never started; ")
    for text in ("energy_per_inference_j: no counter of energy", "latency_p90_s: needs 100 iterations", "accuracy_drop: not evaluated"):
        assert text in row.why
    assert "ratio: the baseline was not measured" in row.why


def test_a_launch_that_was_right_at_the_second_try_counts_once_and_the_tainted_try_never() -> None:
    """timed 1: TAINTED at 9 ms, then OK."""
    records = [*launches(BASE_S), timed(1, 9e-3, Outcome.TAINTED, attempt=0)]
    records[2] = timed(1, 1.02e-3, attempt=1)
    row = judged(job(facts("int8"), records))[0]["int8"]
    assert (row.outcome, row.tainted, row.launches_ok) == (Outcome.OK, 1, 7)
    assert row.latency_p50_s is not None
    assert row.latency_p50_s.interval is not None
    assert row.latency_p50_s.interval.high < 1.1e-3


def test_the_outcome_is_that_of_the_first_launch_that_stayed_bad() -> None:
    """timed 1 crashed three times, timed 3 was tainted; what the other launches measured is shown."""
    good = [each for each in launches(BASE_S) if (each.kind, each.round) not in {(TIMED, 1), (TIMED, 3)}]
    crashed = [record(TIMED, 1, Outcome.CRASHED, attempt=attempt) for attempt in (2, 0, 1)]
    row = judged(job(facts("int8"), [timed(3, 9e-3, Outcome.TAINTED), *crashed, *good]))[0]["int8"]
    assert row.outcome is Outcome.CRASHED
    assert row.why is not None
    assert row.why.startswith("timed launch 2 (3 tries): because of CRASHED")
    assert (row.launches_bad, row.tainted) == (3, 1)
    assert row.latency_p50_s is not None
    assert row.meets_budget is None


def test_a_last_try_that_is_tainted_leaves_the_row_tainted() -> None:
    records = list(launches(BASE_S))
    records[3] = timed(2, 5e-3, Outcome.TAINTED, attempt=2)
    row = judged(job(facts("int8"), records))[0]["int8"]
    assert row.outcome is Outcome.TAINTED
    assert row.latency_p50_s is not None
    assert row.latency_p50_s.value < 1.1e-3


@pytest.mark.parametrize("outcome", [Outcome.WRONG_OUTPUT, Outcome.CRASHED])
def test_nothing_is_published_of_outputs_that_are_wrong_or_unseen(outcome: Outcome) -> None:
    records = (record(GOLDEN, 0, outcome), *launches(BASE_S)[1:])
    row = judged(BASELINE, job(facts("int8"), records))[0]["int8"]
    assert row.outcome is outcome
    assert (row.latency_p50_s, row.ratio, row.peak_memory_bytes, row.session_load_s, row.on_front) == (None, None, None, None, False)
    assert "latency_p50_s, latency_p90_s, peak_memory_bytes, energy_per_inference_j: the outputs on the device" in (row.why or "")


def test_a_disturbed_golden_launch_has_still_compared_its_outputs() -> None:
    records = (record(GOLDEN, 0, Outcome.TAINTED), *launches(BASE_S)[1:])
    assert judged(job(facts("int8"), records))[0]["int8"].outcome is Outcome.OK


def test_no_ratio_without_the_baselines_latency_and_it_says_why() -> None:
    broken = replace(BASELINE, records=(record(GOLDEN, 0, Outcome.WRONG_OUTPUT),))
    row = judged(broken, job(facts("int8"), scaled(0.5)))[0]["int8"]
    assert row.ratio is None
    assert "ratio: the baseline has no latency here: the outputs on the device are wrong" in (row.why or "")


def test_the_ratio_is_to_the_baseline_in_the_same_configuration() -> None:
    other = job(facts("fp32", size=400, role=Role.BASELINE), launches([each / 2 for each in BASE_S]), threads=2)
    rows, _ = judge(CampaignData((BASELINE, other, job(facts("int8"), scaled(0.25), threads=2)), PLANNED, iterations))
    assert rows[2].ratio is not None
    assert rows[2].ratio.value == pytest.approx(0.5, rel=0.01)


def test_launches_whose_iterations_are_gone_count_by_their_recorded_median() -> None:
    rows, _ = judge(CampaignData((BASELINE,), PLANNED, lambda run: None))
    assert rows[0].latency_p50_s is not None
    assert rows[0].latency_p50_s.value == 1.00e-3


def test_energy_is_divided_by_all_inferences_of_the_launch_and_sources_are_not_mixed() -> None:
    """0.06 J over 1 first + 2 warm-up + 3 timed inferences; a launch with another source is left out."""
    energy = {"energy_j": 0.06, "warmup_iterations": 2}
    sources = ["measured: rapl"] * 4 + ["modelled: constant"]
    records = [timed(index, 1e-3, power_source=source, **energy) for index, source in enumerate(sources)]
    row = judged(job(facts("int8"), (record(GOLDEN, 0), *records, memory(0, MB))))[0]["int8"]
    assert row.power_source == "measured: rapl"
    assert row.energy_per_inference_j is not None
    assert row.energy_per_inference_j.value == pytest.approx(0.01)


def test_the_same_records_in_any_order_give_the_same_figures() -> None:
    int8 = job(facts("int8"), scaled(0.5))
    shuffled = replace(int8, records=int8.records[::-1])
    assert judged(BASELINE, int8)[0]["int8"] == judged(shuffled, BASELINE)[0]["int8"]


def test_the_front_weighs_accuracy_latency_size_and_memory() -> None:
    """slow-and-big is beaten by fp32 in nothing but equalled in accuracy: it is off the front; the others each win somewhere."""
    rows, _ = judged(
        BASELINE,
        job(facts("int8", drop=0.01, size=100), scaled(0.5)),
        job(facts("slow-and-big", drop=0.01, size=500), scaled(1.5)),
    )
    assert {name: row.on_front for name, row in rows.items()} == {"fp32": True, "int8": True, "slow-and-big": False}


def test_the_front_of_a_metric_without_drops_takes_the_baseline_for_the_most_accurate() -> None:
    """sqnr_db compares with the baseline, which has none of its own."""
    base = replace(BASELINE, variant=replace(BASELINE.variant, accuracy=None, accuracy_drop=None))
    noisy = VariantFacts("id-int8", "int8", Role.CANDIDATE, 400, 30.0, "sqnr_db", Better.HIGHER, None, "has no drop")
    exact = replace(noisy, id="id-fp16", recipe="fp16", accuracy=70.0)
    rows, _ = judged(base, job(noisy, scaled(1.1)), job(exact, scaled(0.9)))
    assert [row.on_front for row in rows.values()] == [True, False, True]


# Choices

OBJECTIVE = Budget(((Limit.ACCURACY_DROP, 0.02), (Limit.SIZE_BYTES, 300.0)), (Limit.LATENCY_P50_S,))


def test_the_fastest_within_budget_is_chosen_and_the_reason_has_figures() -> None:
    """fp32 is too big, pruned too inaccurate, dynamic slow: int8."""
    rows, (choice,) = judged(
        BASELINE,
        job(facts("int8"), scaled(0.5, wobble=0.001)),
        job(facts("dynamic"), scaled(5.0)),
        job(facts("pruned", drop=0.5), scaled(0.4)),
        budget=OBJECTIVE,
    )
    assert [row.meets_budget for row in rows.values()] == [False, True, True, False]
    assert (choice.recipe, choice.job_id, choice.device_profile) == ("int8", "int8@this-machine/1", "host")
    assert choice.why.startswith("int8: latency p50 5")
    assert "0.500 × the baseline's latency (95 %: 0.495 to 0.505)" in choice.why
    assert "2 of 4 meet the budget" in choice.why


def test_a_tie_in_latency_goes_to_the_next_objective_then_to_the_smaller_file() -> None:
    """a and b are not shown to differ in latency, c is 10 % slower; b is the more accurate, a the smaller."""
    jobs = (
        BASELINE,
        job(facts("a", size=90, drop=0.004), scaled(0.500, wobble=0.03)),
        job(facts("b", size=100, drop=0.0), scaled(0.502, wobble=-0.03)),
        job(facts("c", size=50, drop=0.0), scaled(0.55)),
    )
    both = replace(OBJECTIVE, objectives=(Limit.LATENCY_P50_S, Limit.ACCURACY_DROP))
    assert judged(*jobs, budget=both)[1][0].recipe == "b"
    choice = judged(*jobs, budget=OBJECTIVE)[1][0]
    assert choice.recipe == "a"
    assert "not shown to differ in latency p50 from b, and the smaller file" in choice.why


def test_a_difference_below_two_percent_is_a_tie_however_sure() -> None:
    jobs = (job(facts("a", size=200), scaled(0.500, wobble=0)), job(facts("b", size=100), scaled(0.505, wobble=0)))
    assert judged(BASELINE, *jobs, budget=OBJECTIVE)[1][0].recipe == "b"


def test_the_baseline_loses_a_tie() -> None:
    same = job(facts("ort-format", size=400), scaled(1.0, wobble=0))
    assert judged(BASELINE, same)[1][0].recipe == "ort-format"
    assert judged(same, BASELINE)[1][0].recipe == "ort-format"


def test_without_a_variant_in_budget_the_reason_says_which_constraint_and_what_is_undecided() -> None:
    budget = Budget(((Limit.LATENCY_P50_S, 0.4e-3), (Limit.SIZE_BYTES, 300.0)))
    near = launches([0.39e-3, 0.42e-3, 0.37e-3, 0.43e-3, 0.40e-3])
    _, (choice,) = judged(BASELINE, job(facts("int8"), scaled(0.5)), job(facts("near"), near), budget=budget)
    assert (choice.variant, choice.recipe, choice.job_id) == (None, None, None)
    assert "latency_p50_s is broken by 2 of 3 (the least of them 501 µs, the limit 400 µs)" in choice.why
    assert "size_bytes is broken by 1 of 3 (the least of them 400 B, the limit 300 B)" in choice.why
    assert "near on this-machine is undecided (latency_p50_s: " in choice.why


def test_what_was_not_measured_in_full_is_not_chosen() -> None:
    _, (choice,) = judged(job(facts("int8"), (record(GOLDEN, 0, Outcome.TIMEOUT),)))
    assert choice.variant is None
    assert "1 of 1 ended TIMEOUT" in choice.why


def test_a_variant_must_hold_on_every_device_of_the_kind_and_the_worst_device_counts() -> None:
    """
               this-machine   other
    a          0.4 ×          0.9 ×      the faster on one,
    b          0.5 ×          0.5 ×      but b is the better of the two where each is worst
    lost       0.1 ×          DEVICE_LOST
    """
    other = HOST.model_copy(update={"name": "other"})
    jobs = [
        BASELINE,
        replace(BASELINE, id="fp32@other/1", device=other),
        job(facts("a"), scaled(0.4)),
        job(facts("a"), scaled(0.9), device=other),
        job(facts("b"), scaled(0.5)),
        job(facts("b"), scaled(0.5), device=other),
        job(facts("lost"), scaled(0.1)),
        job(facts("lost"), (record(GOLDEN, 0, Outcome.DEVICE_LOST),), device=other),
    ]
    rows, choices = judge(CampaignData(tuple(jobs), PLANNED, iterations, {("m", "host"): OBJECTIVE}))
    assert [choice.recipe for choice in choices] == ["b"]
    assert "the worst of 2 devices" in choices[0].why
    assert "2 of 4 meet the budget" in choices[0].why
    assert len(rows) == 8


def test_each_model_and_device_kind_has_its_choice_and_the_sentinel_is_none() -> None:
    phone = DeviceRef(name="phone", profile="pixel-7", platform="android", address="adb:X")
    sentinel = job(facts("sentinel", role=Role.SENTINEL), scaled(0.01))
    rows, choices = judge(CampaignData((BASELINE, job(facts("int8"), scaled(0.5), device=phone), sentinel), PLANNED, iterations))
    assert [(choice.device_profile, choice.recipe) for choice in choices] == [("host", "fp32"), ("pixel-7", "int8")]
    assert rows[2].on_front is False


def test_objectives_that_were_not_measured_are_named() -> None:
    budget = Budget((), (Limit.ENERGY_PER_INFERENCE_J, Limit.LATENCY_P50_S))
    _, (choice,) = judged(BASELINE, job(facts("int8"), scaled(0.5)), budget=budget)
    assert choice.recipe == "int8"
    assert "energy_per_inference_j was not measured" in choice.why
