"""A visit of 50 jobs of 2 s through the engine, against the same 50 run specs in a shell loop by hand.

A job here is one timed launch of the runner on the digits example, 2 s of inferences each. Both sides run the same runner
on the same run spec; the engine adds its queue, checkpoints, records, traces and looks at the machine.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

from agents.bench.launch import LaunchRequest
from agents.bench.protocol import QUICK
from agents.bench.request import artifact_path, model_files, run_spec
from agents.run import LaunchKind
from agents.runner.wire import Timed, Warmup
from orchestrator.campaigns import CampaignStatus
from orchestrator.example import write_example
from orchestrator.farm import Farm, load_farm
from orchestrator.made import made_id, record_to_made
from orchestrator.measure import LaunchPlace, Measuring, visit_id
from orchestrator.plan import PlannedVariant, plan_jobs
from orchestrator.site import open_site
from orchestrator.spec import CampaignSpec
from orchestrator.submit import plan_campaign, submit
from orchestrator.worker import follow

JOBS = int(os.environ.get("THRESHER_BENCH_JOBS", "50"))
JOB_S = 2.0


def _spec(farm: Farm) -> CampaignSpec:
    """The example's baseline alone, `JOBS` timed launches of `JOB_S` after one golden launch."""
    planned = plan_campaign(farm, farm.root / "campaign.yaml")
    protocol = replace(
        QUICK,
        name="engine-overhead",
        launches=JOBS,
        kinds=(LaunchKind.GOLDEN, LaunchKind.TIMED),
        warmup=Warmup(min_iterations=1, min_s=0.0, max_iterations=10, max_s=0.1),
        timed=Timed(min_iterations=1, min_s=JOB_S, max_s=JOB_S + 1),
        attempts=1,
        accept_disturbed=True,  # each job has one launch, and its warm-up is too short to judge
    )
    return planned.model_copy(update={"recipes": planned.recipes[:1], "protocol": protocol})


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_example(Path(folder, "farm"))
        farm = load_farm(Path(folder, "farm", "farm.yaml"), environment={})
        spec = _spec(farm)
        submit(farm, spec)
        started = time.perf_counter()
        ended = follow(farm, spec.id, stopping=threading.Event())
        whole_s = time.perf_counter() - started
        assert ended.status is CampaignStatus.DONE, ended
        visit_s = _visit_s(farm, spec)
        by_hand_s = _by_hand_s(farm, spec, Path(folder))
    print(
        f"{JOBS} jobs of {JOB_S:g} s: visit through the engine {visit_s:.1f} s, by hand {by_hand_s:.1f} s, ratio {visit_s / by_hand_s:.3f}"
    )
    print(f"   (with making the variant, judging, and the engine's start and end: {whole_s:.1f} s)")


def _visit_s(farm: Farm, spec: CampaignSpec) -> float:
    """From the start of the first timed launch to the end of the last one, as the records say."""
    from datetime import datetime

    from orchestrator.records import RecordKind
    from orchestrator.run_records import record_to_run

    with open_site(farm) as site:
        runs = [record_to_run(record) for record in site.log.read(kind=RecordKind.RUN, campaign_id=spec.id)]
    timed = [run for run in runs if run.kind is LaunchKind.TIMED]
    assert len(timed) == JOBS, len(timed)
    begins = [datetime.fromisoformat(run.started_at).timestamp() for run in timed]
    return max(begin + run.duration_s for begin, run in zip(begins, timed, strict=True)) - min(begins)


def _by_hand_s(farm: Farm, spec: CampaignSpec, folder: Path) -> float:
    with open_site(farm) as site, Measuring(site, scratch=folder, stopping=threading.Event()) as measuring:
        made = record_to_made(site.log.get(made_id(spec.id, spec.models[0].name, spec.recipes[0].name)))
        assert made.variant is not None
        variant = PlannedVariant(made.model, made.variant.id, made.recipe.name, made.role)
        (job,) = plan_jobs(spec.id, [variant], spec.configs, spec.devices[0])
        place = LaunchPlace(spec.id, visit_id(spec.id, job.device), job.id, LaunchKind.TIMED, 0)
        request = measuring.request(spec, job, made, place)
        commands = _commands(request, measuring, spec, folder)
        started = time.perf_counter()
        subprocess.run(["/bin/sh", "-c", commands], check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - started


def _commands(request: LaunchRequest, measuring: Measuring, spec: CampaignSpec, folder: Path) -> str:
    installed = measuring.device(spec.devices[0]).install(workdir=request.workdir)
    workload = request.workload
    tensors = [
        (tensor.path, tensor.sha256, artifact_path(request.workdir, tensor.sha256, tensor.path.suffix)) for tensor in workload.inputs
    ]
    for local, _, remote in (*model_files(request.workdir, workload), *tensors):
        target = Path(remote)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(local.read_bytes())
    out = folder / "out"
    out.mkdir()
    written = folder / "spec.json"
    written.write_text(run_spec(request, installed, out_dir=str(out)).model_dump_json())
    command = f"{shlex.quote(installed.runner)} {shlex.quote(str(written))}"
    return f"set -e; i=0; while [ $i -lt {JOBS} ]; do {command}; i=$((i+1)); done"


if __name__ == "__main__":
    main()
