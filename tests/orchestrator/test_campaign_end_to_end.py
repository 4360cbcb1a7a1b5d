"""Campaigns by the command line on this machine, with the real runner: run, kill, resume, cancel, follow."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from orchestrator.farm import find_farm
from orchestrator.submit import plan_campaign, submit

sys.path.insert(0, str(Path(__file__).parent))
from small_farm import CAMPAIGN, THRESHER, records, thresher, write_small_farm

RECIPES = 2
LAUNCHES = 1 + 2 + 3 + 1 + 1  # golden, timed, memory, clock, profile


def start(farm: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [THRESHER, *arguments], cwd=farm, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def wait_for(condition: Callable[[], object], *, what: str, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s for {what}"
        time.sleep(0.02)


def runners_below(pid: int) -> list[psutil.Process]:
    try:
        return [process for process in psutil.Process(pid).children(recursive=True) if "runner" in Path(process.exe()).name]
    except psutil.Error:
        return []


def counts(farm: Path) -> dict[str, int]:
    found = records(thresher("record", "list", "--limit", "10000", "--format", "json", cwd=farm))
    kinds = [str(record["record_kind"]) for record in found]
    return {kind: kinds.count(kind) for kind in sorted(set(kinds))}


def check_complete(farm: Path) -> None:
    """Each launch once (retries aside), each variant once, one verdict, and every hash holds."""
    found = records(thresher("record", "list", "--kind", "run", "--limit", "10000", "--format", "json", cwd=farm))
    places = [tuple(record["body"][key] for key in ("job_id", "kind", "round", "attempt")) for record in found]
    assert len(places) == len(set(places))
    assert len({place[:3] for place in places}) == RECIPES * LAUNCHES
    others = counts(farm)
    assert (others["variant"], others["verdict"], others["campaign"]) == (RECIPES, 1, 1)
    verified = thresher("record", "verify", "--format", "json", cwd=farm)
    assert verified.returncode == 0, verified.stdout
    assert records(verified)[-1]["problems"] == 0
    assert not list((farm / ".thresher" / "scratch").glob("*/*"))


def test_a_campaign_runs_to_a_verdict(tmp_path):
    write_small_farm(tmp_path)
    done = thresher("campaign", "run", "campaign.yaml", "--format", "json", "--report", "report.html", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    last = records(done)[-1]
    assert (last["kind"], last["status"], last["model"]) == ("campaign", "done", "small")
    rows = {row["recipe"]: row for row in last["rows"]}
    assert set(rows) == {"fp32", "fp16"}
    baseline = rows["fp32"]
    assert baseline["outcome"] == "OK"
    assert baseline["accuracy"] == 1.0
    assert baseline["ratio"] == 1.0
    assert 0 < baseline["latency_ci_s"][0] <= baseline["latency_p50_s"] <= baseline["latency_ci_s"][1]
    assert baseline["peak_memory_bytes"] > 1e6
    assert baseline["energy_per_inference_j"] is None or baseline["energy_per_inference_j"] > 0
    assert last["chosen"]["host"] in {row["variant"] for row in last["rows"]}
    assert (tmp_path / "report.html").read_text().lstrip().lower().startswith("<!doctype html>")
    check_complete(tmp_path)
    shown = thresher("campaign", "show", "last", cwd=tmp_path)
    assert "fp16" in shown.stdout
    assert "chosen for small on host" in shown.stdout


def test_killed_at_random_moments_nothing_is_lost_or_doubled(tmp_path):
    write_small_farm(tmp_path)
    seed = int(os.environ.get("THRESHER_KILL_SEED", "7"))
    moments = random.Random(seed)
    process = start(tmp_path, "campaign", "run", "campaign.yaml")
    wait_for(lambda: (tmp_path / ".thresher" / "farm.db").exists() and counts(tmp_path).get("campaign"), what="the campaign to be stored")
    for _ in range(int(os.environ.get("THRESHER_KILLS", "5"))):
        pause = time.monotonic() + moments.uniform(0.2, 4.0)
        wait_for(lambda until=pause, running=process: time.monotonic() > until or running.poll() is not None, what="the moment")
        if process.poll() is not None:
            break
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        process = start(tmp_path, "campaign", "resume", "last")
    _, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    check_complete(tmp_path)


def test_cancel_stops_the_runner_and_leaves_nothing(tmp_path):
    slow = CAMPAIGN.replace("timed_s: 50ms", "timed_s: 30s")
    write_small_farm(tmp_path, campaign=slow)
    process = start(tmp_path, "campaign", "run", "campaign.yaml", "--format", "json")
    try:
        wait_for(lambda: counts(tmp_path).get("run", 0) >= RECIPES and runners_below(process.pid), what="a timed launch")
        runner = runners_below(process.pid)[0]
        assert thresher("campaign", "cancel", "last", cwd=tmp_path).returncode == 0
        runner.wait(timeout=20)  # under a second in practice; the command waited for it
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert json.loads(out.splitlines()[-1])["status"] == "cancelled", err
    assert not list((tmp_path / ".thresher" / "scratch").glob("*/*"))


def test_ctrl_c_stops_cleanly_and_resume_goes_on(tmp_path):
    write_small_farm(tmp_path)
    process = start(tmp_path, "campaign", "run", "campaign.yaml")
    wait_for(lambda: runners_below(process.pid), what="a launch")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "thresher campaign resume" in err
    assert records(thresher("campaign", "list", "--format", "json", cwd=tmp_path))[0]["status"] == "interrupted"
    resumed = thresher("campaign", "resume", "last", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    check_complete(tmp_path)


def test_a_second_process_follows_the_worker_and_a_second_worker_is_refused(tmp_path):
    write_small_farm(tmp_path)
    worker = start(tmp_path, "worker")
    try:
        wait_for(lambda: "worker" in (worker.stderr.readline() if worker.stderr else ""), what="the worker")
        wait_for(lambda: list((tmp_path / ".thresher").glob("worker-*.lock")), what="its lock")
        wait_for(lambda: next((tmp_path / ".thresher").glob("worker-*.lock")).read_text().strip(), what="its lock to be held")
        refused = thresher("worker", cwd=tmp_path)
        assert refused.returncode == 2
        assert str(worker.pid) in refused.stderr
        done = thresher("campaign", "run", "campaign.yaml", "--format", "json", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert worker.poll() is None
        check = records(done)[-1]
        assert check["status"] == "done"
    finally:
        worker.send_signal(signal.SIGTERM)
        _, err = worker.communicate(timeout=30)
    assert worker.returncode == 0, err


def test_compare_of_a_variant_with_itself(tmp_path):
    write_small_farm(tmp_path)
    done = thresher(
        "compare", "fp32", "fp32", "--model", "model.yaml", "--blocks", "3", "--accept-disturbed", "--format", "json", cwd=tmp_path
    )
    assert done.returncode in {0, 1}, done.stderr
    result = records(done)[-1]
    assert result["blocks"] == 3
    assert result["verdict"] in {"faster", "slower", "no difference shown"}
    assert result["ratio_ci"][0] <= result["ratio"] <= result["ratio_ci"][1]


def test_bench_needs_no_other_file(tmp_path):
    farm = tmp_path / "farm"
    write_small_farm(farm)
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "model.onnx").write_bytes((farm / "model.onnx").read_bytes())
    done = thresher("bench", "model.onnx", "--launches", "2", "--accept-disturbed", "--format", "json", cwd=alone)
    assert done.returncode == 0, done.stderr
    result = records(done)[-1]
    assert result["outcome"] == "OK"
    assert result["accuracy"] is None
    assert "random" in result["inputs"]
    assert sorted(path.name for path in alone.iterdir()) == ["model.onnx"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (CAMPAIGN.replace("recipes", "recipies"), "recipes"),
        (CAMPAIGN.replace("fp16", "fp61"), "fp16"),
        (CAMPAIGN.replace("1s}", "1lightyear}"), "latency_p50_s"),
        (CAMPAIGN.replace("model.yaml", "../none/model.yaml"), "model.yaml"),
    ],
)
def test_a_mistyped_campaign_is_refused_and_nothing_is_written(tmp_path, text, wanted):
    write_small_farm(tmp_path, campaign=text)
    refused = thresher("campaign", "run", "campaign.yaml", cwd=tmp_path)
    assert refused.returncode == 2
    assert wanted in refused.stderr
    assert refused.stdout == ""
    assert not (tmp_path / ".thresher").exists()


def test_a_model_that_changed_since_it_was_submitted_is_not_mixed_with_the_old_one(tmp_path):
    campaign = write_small_farm(tmp_path)
    farm = find_farm(tmp_path)
    spec = plan_campaign(farm, campaign)
    submit(farm, spec)
    (tmp_path / "samples.npz").write_bytes((tmp_path / "samples.npz").read_bytes() + b"x")
    failed = thresher("campaign", "resume", spec.id, cwd=tmp_path)
    assert failed.returncode == 3
    assert "samples.npz of model small changed since the campaign was submitted" in failed.stderr
    assert "variant" not in counts(tmp_path)


def test_a_store_that_cannot_be_written_is_said(tmp_path, unprivileged):
    campaign = write_small_farm(tmp_path)
    spec = plan_campaign(find_farm(tmp_path), campaign)
    submit(find_farm(tmp_path), spec)
    store = tmp_path / ".thresher" / "store"
    store.mkdir(exist_ok=True)
    store.chmod(0o555)
    code = "import sys; sys.argv = ['thresher', *sys.argv[1:]]; from orchestrator.cli.main import main; main()"
    failed = unprivileged(code, "campaign", "resume", spec.id, "--farm", tmp_path)
    store.chmod(0o755)
    assert failed.returncode == 3
    assert "store" in failed.stderr
    assert "ermission" in failed.stderr or "cannot" in failed.stderr


def test_closed_streams_are_no_fault(tmp_path):
    write_small_farm(tmp_path)
    for closed in (">&-", ">&- 2>&-", "<&-"):
        done = subprocess.run(
            ["/bin/sh", "-c", f"exec {THRESHER} campaign list {closed}"], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "fault" not in done.stderr
