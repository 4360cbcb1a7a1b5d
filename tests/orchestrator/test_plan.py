"""The order of a visit's launches."""

from __future__ import annotations

from agents.bench.protocol import QUICK, STANDARD
from agents.run import DeviceRef, LaunchKind, Role, RunConfig
from orchestrator.plan import PlannedVariant, estimated_job_s, plan_jobs, plan_visit

HOST = DeviceRef(name="host", profile="host", platform="host", address="local:")
VARIANTS = [PlannedVariant("m", f"v{number}", f"r{number}", Role.CANDIDATE) for number in range(4)]


def jobs(configs=(RunConfig(),)):
    return plan_jobs("c", VARIANTS, configs, HOST)


def test_a_job_is_a_variant_in_a_configuration_and_its_id_follows_from_them():
    both = jobs((RunConfig(), RunConfig(threads=2)))
    assert len(both) == len({job.id for job in both}) == 8
    assert [job.id for job in both] == [job.id for job in jobs((RunConfig(), RunConfig(threads=2)))]
    assert both[0].id != plan_jobs("another", VARIANTS, (RunConfig(),), HOST)[0].id


def test_each_round_has_one_launch_of_every_job():
    """golden: abcd in some order, timed 0: all four, timed 1: all four, ..."""
    planned = plan_visit(jobs(), QUICK, seed="1")
    ids = {job.id for job in jobs()}
    rounds = [planned[start : start + 4] for start in range(0, len(planned), 4)]
    for each in rounds:
        assert {launch.job_id for launch in each} == ids
        assert len({(launch.kind, launch.round) for launch in each}) == 1
    assert rounds[0][0].kind is LaunchKind.GOLDEN
    assert [each[0].round for each in rounds if each[0].kind is LaunchKind.TIMED] == list(range(QUICK.launches))


def test_the_order_is_drawn_from_the_seed():
    orders = {tuple(launch.job_id for launch in plan_visit(jobs(), STANDARD, seed=str(seed))) for seed in range(8)}
    assert len(orders) > 1
    assert plan_visit(jobs(), STANDARD, seed="x") == plan_visit(jobs(), STANDARD, seed="x")


def test_the_estimate_counts_sections_and_starts():
    assert estimated_job_s(STANDARD) > STANDARD.launches * (STANDARD.warmup.min_s + STANDARD.timed.min_s)
    assert estimated_job_s(QUICK) < estimated_job_s(STANDARD)


def test_the_sides_of_a_comparison_of_one_variant_with_itself_are_two_jobs():
    sides = [PlannedVariant("m", "v", recipe, Role.CANDIDATE) for recipe in ("A: v", "B: v")]
    assert len({job.id for job in plan_jobs("c", sides, (RunConfig(),), HOST)}) == 2
