"""How often a comparison calls a difference: of a variant with itself, and with 5 % slower; against a plain Welch t-test on the same launches.

    python -m benchmarks aa_compare               measures launches on this machine first
    python -m benchmarks.aa_compare RUNS.jsonl    takes those of `thresher record export RUNS.jsonl --kind run --traces`
    python -m benchmarks.aa_compare RUNS.npz      takes one array of seconds a launch

Each comparison draws its launches out of all those of one variant, with replacement.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from orchestrator.compare_plan import QUICK, STANDARD, Block, ComparePlan, block_order, judge_comparison, next_block
from orchestrator.critical_values import student_95
from orchestrator.statistics import Launch, launch
from orchestrator.verdict import Comparison

FEWEST_LAUNCHES = 60
COMPARES = int(os.environ.get("THRESHER_BENCH_COMPARES", "1000"))
SLOWER = 1.05


@dataclass(slots=True)
class Count:
    """What comparisons came to."""

    called: int = 0
    right: int = 0
    welch: int = 0
    blocks: int = 0


def main(argv: Sequence[str] = ()) -> None:
    launches = _read(Path(argv[0])) if argv else _measure()
    if len(launches) < FEWEST_LAUNCHES:
        sys.exit(f"only {len(launches)} launches were good; {FEWEST_LAUNCHES} are needed: is this machine busy with something else?")
    medians = np.array([each.quantile(0.5) for each in launches])
    print(
        f"{len(launches)} launches, p50 {np.median(medians) * 1e6:.1f} µs, between launches CV {medians.std(ddof=1) / medians.mean():.1%}"
    )
    for name, plan in (("quick", QUICK), ("standard", STANDARD)):
        same = _compare(launches, plan, slower=1.0)
        slow = _compare(launches, plan, slower=SLOWER)
        _print(f"{name}: A against A", same, same.called)
        _print(f"{name}: A against A x {SLOWER}", slow, slow.right)


def _print(title: str, count: Count, called: int) -> None:
    print(
        f"{title}: {called} of {COMPARES} called ({called / COMPARES:.1%}), "
        f"Welch's t-test {count.welch} ({count.welch / COMPARES:.1%}); {count.blocks / COMPARES:.1f} blocks on average"
    )


def _compare(launches: Sequence[Launch], plan: ComparePlan, *, slower: float) -> Count:
    """Comparisons of launches with launches that take `slower` times as long."""
    slowed = [Launch(each.sorted * slower) for each in launches]
    rng = np.random.default_rng(1)
    count = Count()
    for number in range(COMPARES):
        blocks: list[Block] = []
        while (block := next_block(blocks, plan)) is not None:
            blocks.append(_draw(launches, slowed, rng, order=block_order(str(number), block)))
        result = judge_comparison(blocks, seed=number)
        count.called += result.verdict is not Comparison.NO_DIFFERENCE_SHOWN
        count.right += result.verdict is Comparison.SLOWER
        count.welch += _welch(blocks)
        count.blocks += len(blocks)
    return count


def _draw(launches: Sequence[Launch], slowed: Sequence[Launch], rng: np.random.Generator, *, order: str) -> Block:
    sides: dict[str, list[Launch]] = {"A": [], "B": []}
    for side, place in zip(order, rng.integers(len(launches), size=4), strict=True):
        sides[side].append((launches if side == "A" else slowed)[place])
    return Block((sides["A"][0], sides["A"][1]), (sides["B"][0], sides["B"][1]))


def _welch(blocks: Sequence[Block]) -> bool:
    """Whether a t-test on the launches' medians calls a difference at 95 %."""
    a, b = (np.array([each.quantile(0.5) for block in blocks for each in side(block)]) for side in (lambda x: x.a, lambda x: x.b))
    parts = [values.var(ddof=1) / len(values) for values in (a, b)]
    if sum(parts) == 0:
        return bool(a.mean() != b.mean())
    degrees = sum(parts) ** 2 / sum(part**2 / (len(a) - 1) for part in parts)
    return bool(abs(a.mean() - b.mean()) > student_95(degrees) * np.sqrt(sum(parts)))


def _read(path: Path) -> list[Launch]:
    """The good timed launches of the job that has most of them."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return [launch(arrays[name]) for name in arrays.files]
    jobs: dict[str, list[Launch]] = {}
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            run = record["body"]
            if record["kind"] == "run" and run["kind"] == "timed" and run["outcome"] == "OK":
                raw = record.get("iterations_ns")
                jobs.setdefault(run["job_id"], []).append(launch(np.array(raw) / 1e9 if raw else [run["latency"]["p50_s"]]))
    return max(jobs.values(), key=len, default=[])


def _measure() -> list[Launch]:
    """80 launches of half a second of the example's baseline on this machine; those that were not disturbed."""
    from agents.bench.protocol import QUICK as QUICK_PROTOCOL
    from agents.run import LaunchKind
    from orchestrator.example import write_example
    from orchestrator.export import ExportFormat, export_records
    from orchestrator.farm import load_farm
    from orchestrator.site import open_site
    from orchestrator.submit import plan_campaign, submit
    from orchestrator.worker import follow

    with tempfile.TemporaryDirectory() as folder:
        write_example(Path(folder, "farm"))
        farm = load_farm(Path(folder, "farm", "farm.yaml"), environment={})
        spec = plan_campaign(farm, farm.root / "campaign.yaml")
        protocol = replace(QUICK_PROTOCOL, name="aa-compare", launches=80, kinds=(LaunchKind.GOLDEN, LaunchKind.TIMED))
        spec = spec.model_copy(update={"recipes": spec.recipes[:1], "protocol": protocol})
        submit(farm, spec)
        follow(farm, spec.id, stopping=threading.Event())
        exported = Path(folder, "runs.jsonl")
        with open_site(farm) as site:
            export_records(site.log, exported, form=ExportFormat.JSONL, where={"campaign_id": spec.id}, traces=site.store)
        return _read(exported)


if __name__ == "__main__":
    main(sys.argv[1:])
