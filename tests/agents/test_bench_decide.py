"""The protocol's decisions, on literal figures."""

from __future__ import annotations

import numpy as np
import pytest

from agents.bench import decide
from agents.run import Conditions, LaunchKind, Outcome

MS = 1_000_000


def conditions(**said: object) -> Conditions:
    return Conditions(at="2026-11-24T00:00:00+00:00", **said)


@pytest.mark.parametrize(
    ("n", "q", "allowed"),
    [
        (1, 0.5, True),
        (99, 0.9, False),
        (100, 0.9, True),
        (999, 0.99, False),
        (1000, 0.99, True),
        (9999, 0.999, False),
        (10000, 0.999, True),
    ],
)
def test_a_percentile_needs_ten_iterations_beyond_it(n: int, q: float, allowed: bool) -> None:
    assert decide.percentile_allowed(n, q) is allowed
    assert decide.percentile_allowed(decide.iterations_needed(q), q)


def test_figures_of_a_launch() -> None:
    latency = decide.summarize(np.array([10, 11, 12, 13, 100], dtype=np.int64) * MS, 0.146)
    assert latency.n == 5
    assert latency.p50_s == pytest.approx(0.012)
    assert latency.p90_s is None
    assert latency.p99_s is None
    assert latency.mean_s == pytest.approx(0.0292)
    assert (latency.min_s, latency.max_s) == (pytest.approx(0.010), pytest.approx(0.100))
    assert latency.mad_s == pytest.approx(0.001)
    assert latency.cv == pytest.approx(35.413 / 29.2, rel=1e-3)
    assert latency.outliers == 1
    assert latency.duration_s == 0.146


def test_figures_of_one_iteration() -> None:
    latency = decide.summarize(np.array([7], dtype=np.int64), 7e-9)
    assert (latency.n, latency.p50_s, latency.mad_s, latency.cv, latency.outliers) == (1, 7e-9, 0.0, 0.0, 0)


def test_percentiles_interpolate_between_iterations() -> None:
    latency = decide.summarize(np.arange(1, 101, dtype=np.int64) * 1000, 1.0)
    assert latency.p50_s == pytest.approx(50.5e-6)
    assert latency.p90_s == pytest.approx(90.1e-6)
    assert latency.p99_s is None


def test_equal_iterations_have_no_outlier_at_the_clocks_step() -> None:
    latency = decide.summarize(np.array([1000] * 20 + [1005, 1006], dtype=np.int64), 1.0)
    assert latency.mad_s == 0
    assert latency.outliers == 1


def test_an_absent_percentile_says_how_many_it_needs() -> None:
    latency = decide.summarize(np.full(150, 5, dtype=np.int64), 1.0)
    absent = decide.absent_percentiles(latency, (("latency_p90_s", 0.9), ("latency_p99_s", 0.99)))
    assert absent == {"latency_p99_s": "150 iterations are too few: a 99th percentile needs 1000"}


def test_others_are_what_was_neither_idle_nor_the_runners() -> None:
    before = conditions(cpu_busy_s=100.0, cpu_total_s=1000.0)
    after = conditions(cpu_busy_s=107.0, cpu_total_s=1012.0)
    assert decide.others_busy(before, after, 6.0) == pytest.approx(1 / 12)
    assert decide.others_busy(before, after, 9.0) == 0.0  # ticks are coarse: the runner's own may come out larger
    assert decide.others_busy(before, after, None) is None
    assert decide.others_busy(conditions(), after, 6.0) is None
    assert decide.others_busy(before, before, 0.0) is None


@pytest.mark.parametrize(("threads", "cpus", "tolerated"), [(1, 2, 0.30), (2, 2, 0.05), (4, 2, 0.05), (4, 8, 0.2625), (1, 1, 0.1)])
def test_others_may_use_half_of_the_free_cpus(threads: int, cpus: int, tolerated: float) -> None:
    assert decide.tolerated_busy(threads, cpus) == pytest.approx(tolerated)


@pytest.mark.parametrize(
    ("busy", "threads", "stable", "reason"),
    [
        (0.29, 1, True, None),
        (0.31, 1, True, "other processes used 31%"),
        (0.10, 2, True, "5% is tolerated beside 2 threads"),
        (None, 2, None, None),
        (0.0, 1, False, "warm-up"),
    ],
)
def test_what_disturbs_a_launch(busy: float | None, threads: int, stable: bool | None, reason: str | None) -> None:
    said = decide.disturbance(busy=busy, threads=threads, cpu_count=2, warmup_stable=stable)
    assert said is None if reason is None else reason in said


def test_only_timing_is_disturbed() -> None:
    assert [kind for kind in LaunchKind if decide.is_disturbable(kind)] == [LaunchKind.TIMED, LaunchKind.PACED]


@pytest.mark.parametrize(
    ("outcome", "error", "attempt", "again"),
    [
        (Outcome.TAINTED, False, 0, True),
        (Outcome.THROTTLED, False, 1, True),
        (Outcome.TIMEOUT, False, 1, True),
        (Outcome.TAINTED, False, 2, False),
        (Outcome.ERROR, True, 0, True),
        (Outcome.ERROR, True, 2, False),
        (Outcome.ERROR, False, 0, False),
        (Outcome.OK, False, 0, False),
        (Outcome.WRONG_OUTPUT, False, 0, False),
        (Outcome.OUT_OF_MEMORY, False, 0, False),
        (Outcome.CRASHED, False, 0, False),
        (Outcome.CANCELLED, False, 0, False),
    ],
)
def test_what_may_pass_is_tried_twice_more(outcome: Outcome, error: bool, attempt: int, again: bool) -> None:
    assert decide.should_retry(outcome, retryable_error=error, attempt=attempt, attempts=3) is again


@pytest.mark.parametrize(
    ("before", "after", "outcome", "reason"),
    [
        (conditions(oom_kills=3), conditions(oom_kills=4), Outcome.OUT_OF_MEMORY, "kernel"),
        (conditions(oom_kills=3), conditions(oom_kills=3), Outcome.CRASHED, "nothing says"),
        (conditions(available_memory_bytes=150), None, Outcome.OUT_OF_MEMORY, "150 bytes"),
        (conditions(available_memory_bytes=200), None, Outcome.CRASHED, "nothing says"),
        (None, None, Outcome.CRASHED, "nothing says"),
    ],
)
def test_sigkill_is_lack_of_memory_only_with_evidence(before, after, outcome: Outcome, reason: str) -> None:
    got, why = decide.died_of_signal(9, before=before, after=after, model_bytes=100, last_stage="while it warmed up")
    assert got is outcome
    assert reason in why
    assert "SIGKILL while it warmed up" in why


def test_another_signal_is_a_crash_whatever_memory_there_was() -> None:
    outcome, why = decide.died_of_signal(11, before=conditions(oom_kills=0), after=conditions(oom_kills=1), model_bytes=1, last_stage="")
    assert outcome is Outcome.CRASHED
    assert "SIGSEGV" in why


@pytest.mark.parametrize(
    ("message", "outcome"),
    [
        ("std::bad_alloc", Outcome.OUT_OF_MEMORY),
        ("BFCArena: Failed to allocate memory for requested buffer of size 8589934592", Outcome.OUT_OF_MEMORY),
        ("golden-0.bin: No space left on device", Outcome.OUT_OF_SPACE),
        ("Load model failed: Protobuf parsing failed.", Outcome.ERROR),
    ],
)
def test_what_the_runner_says_of_its_failure(message: str, outcome: Outcome) -> None:
    assert decide.runner_outcome(message) is outcome


def test_a_profile_may_cost_a_tenth() -> None:
    assert decide.profile_refused(0.0109, 0.010) is None
    refused = decide.profile_refused(0.015, 0.010)
    assert refused is not None
    assert "50% slower" in refused


def test_an_accelerator_that_ran_no_node_is_a_failure() -> None:
    assert decide.fell_back("CPUExecutionProvider", {"CPUExecutionProvider": 9}) is None
    assert decide.fell_back("XnnpackExecutionProvider", {"CPUExecutionProvider": 4, "XnnpackExecutionProvider": 5}) is None
    said = decide.fell_back("XnnpackExecutionProvider", {"CPUExecutionProvider": 9})
    assert said == "asked for XnnpackExecutionProvider, but no node of the model ran there (9 on CPUExecutionProvider)"


def test_a_pace_that_is_not_held_gives_no_figure() -> None:
    assert decide.pace_lost(5, 50, 0.1) is None
    assert decide.pace_lost(6, 50, 0.1) == "6 of 50 inferences could not start on time (every 0.1 s): the device cannot hold that rate"
