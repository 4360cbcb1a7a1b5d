"""A paired comparison as the engine runs it: blocks of launches, planned one by one, and what they show, recorded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np

from agents.run import LaunchKind, Outcome, RunRecord, Value
from orchestrator.campaigns import CampaignStatus
from orchestrator.canonical import canonical_json, sha256_hex
from orchestrator.compare_plan import QUICK, STANDARD, Block, ComparePlan, block_order, judge_comparison, next_block
from orchestrator.iterations import read_iterations
from orchestrator.plan import Job, PlannedLaunch
from orchestrator.records import NewRecord, Record, RecordKind
from orchestrator.result import Pair
from orchestrator.spec import CampaignSpec
from orchestrator.statistics import Launch
from orchestrator.statistics import launch as sorted_launch
from orchestrator.store import Store
from orchestrator.verdict import Comparison

RESULT_VERSION: Literal[1] = 1


class ComparisonOutcome(Value):
    """What a comparison came to; `verdict` is None where too little could be measured. Ratio: p50 of B over p50 of A, 95 % interval."""

    version: Literal[1] = RESULT_VERSION
    id: str
    status: CampaignStatus
    device: str
    model: str
    a_recipe: str
    b_recipe: str
    a_variant: str | None
    b_variant: str | None
    verdict: Comparison | None
    ratio: float | None = None
    ratio_ci: Pair | None = None
    floor: float | None = None
    resolves: float | None = None
    blocks: int = 0
    a_p50_s: float | None = None
    b_p50_s: float | None = None
    why: str

    @property
    def exit_code(self) -> int:
        """0 faster or no difference shown, 1 slower, 3 nothing could be concluded."""
        return {Comparison.SLOWER: 1, None: 3}.get(self.verdict, 0)


def compare_plan(spec: CampaignSpec) -> ComparePlan:
    """How many blocks: those asked for, else as many as the protocol's plan finds it needs."""
    assert spec.comparison is not None
    if spec.comparison.blocks is not None:
        return ComparePlan(fewest=spec.comparison.blocks, most=spec.comparison.blocks)
    return QUICK if spec.protocol.name.partition("+")[0] == "quick" else STANDARD


def plan_block(jobs: tuple[Job, Job], *, seed: str, block: int) -> tuple[PlannedLaunch, ...]:
    """The four timed launches of one block; sides take rounds 2·block and 2·block + 1."""
    counts = {"A": 0, "B": 0}
    planned = []
    for side in block_order(seed, block):
        job = jobs["AB".index(side)]
        planned.append(PlannedLaunch(job.id, LaunchKind.TIMED, 2 * block + counts[side]))
        counts[side] += 1
    return tuple(planned)


def next_planned(spec: CampaignSpec, jobs: tuple[Job, Job], runs: Sequence[RunRecord], store: Store) -> tuple[PlannedLaunch, ...]:
    """The launches of the block that comes next; none when there are enough, or when a block could not be measured at all."""
    rounds = [run.round for run in runs if run.kind is LaunchKind.TIMED]
    done = max(rounds) // 2 + 1 if rounds else 0
    plan = compare_plan(spec)
    blocks = read_blocks(jobs, runs, store)
    if done >= plan.most or (done >= 3 and not blocks) or next_block(blocks, plan) is None:
        return ()
    return plan_block(jobs, seed=spec.id, block=done)


def read_blocks(jobs: tuple[Job, Job], runs: Sequence[RunRecord], store: Store) -> list[Block]:
    """The blocks of which all four launches were measured well."""
    good: dict[tuple[str, int], RunRecord] = {
        (run.job_id, run.round): run for run in runs if run.kind is LaunchKind.TIMED and run.outcome is Outcome.OK
    }
    blocks = []
    for block in range(max((number for _, number in good), default=-1) // 2 + 1):
        places = [[(job.id, 2 * block), (job.id, 2 * block + 1)] for job in jobs]
        if all(place in good for side in places for place in side):
            a, b = ([_launch(good[place], store) for place in side] for side in places)
            blocks.append(Block((a[0], a[1]), (b[0], b[1])))
    return blocks


def _launch(run: RunRecord, store: Store) -> Launch:
    return sorted_launch(read_iterations(store, run), round=run.round)


def conclude_comparison(
    spec: CampaignSpec, jobs: Mapping[str, Job], runs: Sequence[RunRecord], *, store: Store, why: str | None
) -> ComparisonOutcome:
    """What the blocks show. `jobs` by recipe; `why` says why a side could not be measured, where one could not."""
    assert spec.comparison is not None
    a, b = spec.comparison.a.recipe, spec.comparison.b.recipe
    sides = {side: jobs[side].variant.variant if side in jobs else None for side in (a, b)}
    outcome = ComparisonOutcome(
        id=spec.id,
        status=CampaignStatus.FAILED,
        device=spec.devices[0].name,
        model=spec.models[0].name,
        a_recipe=a,
        b_recipe=b,
        a_variant=sides[a],
        b_variant=sides[b],
        verdict=None,
        why=why or "no block of four launches was measured well",
    )
    blocks = read_blocks((jobs[a], jobs[b]), runs, store) if a in jobs and b in jobs else []
    if not blocks:
        return outcome
    result = judge_comparison(blocks)
    interval = result.ratio.interval
    return outcome.model_copy(
        update={
            "verdict": result.verdict,
            "ratio": result.ratio.value,
            "ratio_ci": (interval.low, interval.high) if interval else None,
            "floor": result.floor if np.isfinite(result.floor) else None,
            "resolves": result.resolves if np.isfinite(result.resolves) else None,
            "blocks": result.blocks,
            "a_p50_s": _p50(side for block in blocks for side in block.a),
            "b_p50_s": _p50(side for block in blocks for side in block.b),
            "why": result.why,
        }
    )


def _p50(launches: Iterable[Launch]) -> float:
    return float(np.median([each.quantile(0.5) for each in launches]))


def comparison_to_record(outcome: ComparisonOutcome) -> NewRecord:
    """The outcome as a record, one a comparison."""
    return NewRecord(
        id=f"comparison-{sha256_hex(outcome.id)}",
        kind=RecordKind.VERDICT,
        body=canonical_json(outcome),
        campaign_id=outcome.id,
        device=outcome.device,
        model=outcome.model,
        schema_version=RESULT_VERSION,
    )


def record_to_comparison(record: Record) -> ComparisonOutcome:
    """Back from a record."""
    return ComparisonOutcome.model_validate_json(record.body)
