"""From records to the page: real logs and stores, the real judge, and the page read back."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from agents.bench.protocol import QUICK, Protocol, plan_launches
from agents.run import (
    Conditions,
    DeviceRef,
    Latency,
    LaunchKind,
    MemoryStage,
    Outcome,
    ProtocolRef,
    Provenance,
    Role,
    RunConfig,
    RunRecord,
    TraceRef,
    VariantRef,
)
from device_profiles.metrics import Better
from optimizers.evaluate import Evaluation
from optimizers.golden import WorkloadFiles
from optimizers.model_file import ModelFile
from optimizers.recipes import RECIPES
from optimizers.variant import Step, Variant, variant_id
from orchestrator.campaigns import CampaignStatus
from orchestrator.conclude import conclude_campaign
from orchestrator.errors import NotFound, StoreError
from orchestrator.farm import load_farm
from orchestrator.made import Made, made_to_record
from orchestrator.plan import Job, PlannedVariant, plan_jobs
from orchestrator.progress import Stage
from orchestrator.publish import compose_report, write_report
from orchestrator.published_rows import NOT_JUDGED
from orchestrator.records import NewRecord, RecordKind
from orchestrator.run_records import run_to_record
from orchestrator.site import Site, open_site
from orchestrator.spec import CampaignSpec, PairedComparison, ResolvedBudget, Side
from orchestrator.verdict import Budget, Limit

ID = "20261124-154233-3fa9c1"
DEVICE = DeviceRef(name="host", profile="host", platform="host", address="local:")
BEGUN = datetime(2026, 11, 24, 15, 42, 33, tzinfo=UTC)
P50_S = {"fp32": 1e-3, "int8-static": 4e-4, "A: fp32": 1e-3, "B: int8-static": 4e-4}
PROVENANCE = Provenance(
    thresher_version="0.1.0",
    runner_version="1.0.0",
    runner_sha256="1" * 64,
    runtime_version="1.32.0",
    runtime_sha256="2" * 64,
    os_build="Debian GNU/Linux 12",
    kernel="6.1.0-99",
    cpu_model="A fast CPU",
    lab_host="lab-1",
)


@dataclass
class Campaign:
    """A campaign written into a log record by record, a minute for each."""

    site: Site
    spec: CampaignSpec
    launches: int = 0

    def begin(self) -> None:
        self.site.campaigns.create(ID, name=self.spec.name, lab_host="lab-1", spec=self.spec.model_dump_json())

    def make(self, recipe: str, *, why: str | None = None, drop: float = 0.0) -> Made:
        named = next(each for each in self.spec.recipes if each.name == recipe)
        sha256 = self.site.store.put_bytes(f"the file of {recipe}".encode())
        variant = Variant(
            id=variant_id(sha256, named),
            model=self.spec.models[0].name,
            recipe=named,
            sha256=sha256,
            size_bytes=100_000 if "int8" in recipe else 400_000,
            file_name="model.onnx",
            model_sha256="3" * 64,
            steps=(
                Step(
                    pass_name="simplify",
                    parameters={"per_channel": True, "keep": []},
                    modified=True,
                    summary="42 nodes became 30",
                    size_before_bytes=410_000,
                    size_after_bytes=400_000,
                    duration_s=0.1,
                    details={"operators_left": {"Add": 4, "Conv": 15}, "relative_error": 0.00030545, "kept": ["a", "b"]},
                ),
            ),
            warnings=("opset 11 was raised to 17",) if "int8" in recipe else (),
            tools={"onnx": "1.23.0"},
            golden_tolerance=0.02,
        )
        evaluation = Evaluation(
            metric="top1",
            unit="1",
            better=Better.HIGHER,
            accuracy=0.99 - drop,
            accuracy_why=None,
            n_samples=669,
            accuracy_drop=drop,
            accuracy_drop_low=drop - 0.002,
            accuracy_drop_high=drop + 0.002,
            accuracy_drop_why=None,
            changed_samples=2,
            statistics=None,
            workload=WorkloadFiles(
                inputs=(), states=(), state_inputs=(), reference=(), left_out={}, source="the first 4 evaluation samples"
            ),
        )
        role = Role.BASELINE if recipe.endswith("fp32") else Role.CANDIDATE
        made = Made(
            campaign_id=ID,
            model=variant.model,
            recipe=named,
            role=role,
            variant=None if why else variant,
            why=why,
            evaluation=None if why else evaluation,
        )
        self.site.log.append(made_to_record(made))
        return made

    def jobs(self, made: Sequence[Made]) -> list[Job]:
        planned = [PlannedVariant(each.model, each.variant.id, each.recipe.name, each.role) for each in made if each.variant]
        return list(plan_jobs(ID, planned, self.spec.configs, DEVICE))

    def run(self, job: Job, made: Made, kind: LaunchKind, round_: int, **changes: object) -> RunRecord:
        self.launches += 1
        timed = kind is LaunchKind.TIMED
        iterations = (P50_S[made.recipe.name] * np.linspace(0.9, 1.1, 101) * (1 + 0.001 * round_) * 1e9).astype("<i8")
        p50_s = float(np.median(iterations)) / 1e9
        values: dict[str, object] = {
            "campaign_id": ID,
            "visit_id": "visit",
            "job_id": job.id,
            "round": round_,
            "attempt": 0,
            "kind": kind,
            "role": made.role,
            "model": made.model,
            "variant": VariantRef(
                id=made.variant.id, recipe=made.recipe.name, sha256=made.variant.sha256, size_bytes=made.variant.size_bytes
            ),
            "device": DEVICE,
            "config": job.config,
            "protocol": ProtocolRef(name="quick", version=1),
            "outcome": Outcome.OK,
            "started_at": (BEGUN + timedelta(minutes=self.launches)).isoformat().replace("+00:00", "Z"),
            "duration_s": 2.0,
            "session_load_s": 0.01,
            "first_inference_s": 4 * p50_s,
            "others_busy": 0.02,
            "golden_error": 0.003 if kind is LaunchKind.GOLDEN else None,
            "memory": (MemoryStage(stage="peak", pss_bytes=31_000_000, swap_pss_bytes=0, rss_bytes=40_000_000),)
            if kind is LaunchKind.MEMORY
            else None,
            "latency": _latency(p50_s) if timed else None,
            "traces": (TraceRef(sha256=self.site.store.put_bytes(iterations.tobytes()), encoding="int64-le-ns", count=101),)
            if timed
            else (),
            "absent": {"energy_per_inference_j": "no RAPL counter on this machine"} if timed else {},
            "before": Conditions(at="2026-11-24T15:42:33Z", temperature_c={"cpu": 41.0, "skin": 30.0}),
            "provenance": PROVENANCE,
        }
        run = RunRecord.model_validate(values | changes)
        self.site.log.append(run_to_record(run))
        return run

    def measure(self, made: Sequence[Made]) -> list[Job]:
        jobs = self.jobs(made)
        by_id = {each.variant.id: each for each in made if each.variant}
        for kind, round_ in plan_launches(self.spec.protocol):
            for job in jobs:
                self.run(job, by_id[job.variant.variant], kind, round_)
        return jobs


def _latency(p50_s: float) -> Latency:
    return Latency(
        n=101, p50_s=p50_s, p90_s=None, p99_s=None, mean_s=p50_s, min_s=p50_s, max_s=p50_s, mad_s=0.0, cv=0.1, outliers=0, duration_s=0.5
    )


def _spec(**changes: object) -> CampaignSpec:
    budget = Budget(
        constraints=((Limit.ACCURACY_DROP, 0.02), (Limit.SIZE_BYTES, 300_000.0)),
        sources=((Limit.ACCURACY_DROP, "campaign"), (Limit.SIZE_BYTES, "model")),
    )
    protocol: Protocol = replace(QUICK, kinds=(LaunchKind.GOLDEN, LaunchKind.TIMED, LaunchKind.MEMORY))
    values: dict[str, object] = {
        "id": ID,
        "name": "digits <nightly>",
        "lab_host": "lab-1",
        "models": (ModelFile(name="digits", path=Path("/models/model.onnx")),),
        "recipes": (RECIPES["fp32"], RECIPES["fp16"], RECIPES["int8-static"]),
        "configs": (RunConfig(),),
        "devices": (DEVICE,),
        "budgets": (ResolvedBudget(model="digits", profile="host", budget=budget),),
        "protocol": protocol,
        "command": "thresher campaign run campaign.yaml",
    }
    return CampaignSpec.model_validate(values | changes)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    file = tmp_path / "farm.yaml"
    file.write_text("{}\n")
    with open_site(load_farm(file, environment={})) as opened:
        yield opened


@pytest.fixture
def campaign(site: Site) -> Campaign:
    begun = Campaign(site, _spec())
    begun.begin()
    return begun


def test_a_judged_campaign_becomes_its_page(site: Site, campaign: Campaign, tmp_path: Path) -> None:
    made = [campaign.make("fp32"), campaign.make("fp16", why="fp16 changed nothing"), campaign.make("int8-static", drop=0.003)]
    conclude_campaign(site, campaign.spec, campaign.measure(made))
    report = compose_report(site, ID, clock=lambda: BEGUN)
    [group] = report.groups
    assert [(row.number, row.recipe, row.role, row.chosen) for row in group.rows] == [
        (1, "fp32", "baseline", False),
        (2, "int8-static", "candidate", True),
    ]
    chosen = group.rows[1]
    assert chosen.figure("latency_p50_s").value == pytest.approx(4e-4, rel=0.01)
    assert chosen.figure("ratio").value == pytest.approx(0.4, rel=0.01) and chosen.figure("ratio").has_interval
    assert chosen.figure("peak_memory_bytes").value == 31_000_000
    assert chosen.figure("energy_per_inference_j").value is None
    assert chosen.figure("energy_per_inference_j").why == "no RAPL counter on this machine"
    assert [(check.metric, check.met, check.source) for check in chosen.checks] == [
        ("accuracy_drop", True, "campaign"),
        ("size_bytes", True, "model"),
    ]
    assert group.choice is not None and group.choice.recipe == "int8-static" and not group.choice.why.startswith("int8-static:")
    assert (group.samples, group.accuracy_metric, group.inputs) == (669, "top1", "the first 4 evaluation samples")
    assert [each.recipe for each in report.refused] == ["fp16"] and report.refused[0].why == "fp16 changed nothing"
    assert report.concluded and report.status == "done"
    output = tmp_path / "report.html"
    write_report(site, ID, output)
    html = output.read_text(encoding="utf-8")
    assert '<bdi class="name">digits &lt;nightly&gt;</bdi>' in html and "A fast CPU" in html and html.count("<svg") == 3
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []


def test_launches_have_the_spread_of_their_raw_iterations(site: Site, campaign: Campaign) -> None:
    made = [campaign.make("fp32")]
    conclude_campaign(site, campaign.spec, campaign.measure(made))
    timed = compose_report(site, ID).groups[0].rows[0].timed
    assert [launch.round for launch in timed] == [0, 1, 2]
    assert timed[0].p10_s == pytest.approx(0.92e-3, rel=1e-3) and timed[0].p90_s == pytest.approx(1.08e-3, rel=1e-3)
    assert timed[0].temperature_c == 41.0 and timed[0].iterations == 101
    assert timed[1].offset_s - timed[0].offset_s == 60.0


def test_where_raw_iterations_are_gone_the_median_stays_and_the_page_says_so(site: Site, campaign: Campaign) -> None:
    made = [campaign.make("fp32")]
    jobs = campaign.jobs(made)
    run = campaign.run(jobs[0], made[0], LaunchKind.TIMED, 0)
    site.store.delete(run.traces[0].sha256)
    report = compose_report(site, ID)
    [launch] = report.groups[0].rows[0].timed
    assert launch.p10_s is None and launch.p50_s == pytest.approx(1e-3)
    assert [(each.metric, each.count) for each in report.absences if "iterations" in each.metric] == [("raw iterations", 1)]


def test_a_launch_that_was_tried_again_counts_once(site: Site, campaign: Campaign) -> None:
    made = [campaign.make("fp32")]
    job = campaign.jobs(made)[0]
    campaign.run(job, made[0], LaunchKind.TIMED, 0, outcome=Outcome.TAINTED, why="other processes used 80 %")
    campaign.run(job, made[0], LaunchKind.TIMED, 0, attempt=1)
    campaign.run(job, made[0], LaunchKind.TIMED, 1, outcome=Outcome.CRASHED, why="SIGSEGV", latency=None, traces=())
    report = compose_report(site, ID)
    assert [(launch.attempt, launch.counts) for launch in report.groups[0].rows[0].timed] == [(0, False), (1, True)]
    assert [(each.outcome, each.why) for each in report.troubles] == [("TAINTED", "other processes used 80 %"), ("CRASHED", "SIGSEGV")]


@pytest.mark.parametrize(
    ("status", "stage", "words"),
    [
        (CampaignStatus.QUEUED, None, "thresher worker"),
        (CampaignStatus.RUNNING, Stage(stage="measure", done=3, total=40, what="int8 of digits"), "3 of 40 done, int8 of digits"),
        (CampaignStatus.INTERRUPTED, Stage(stage="make", done=1, total=3), f"thresher campaign resume {ID}"),
        (CampaignStatus.FAILED, Stage(stage="failed", what="no device answered"), "It failed: no device answered."),
        (CampaignStatus.CANCELLED, None, "cancelled before anything was concluded"),
        (CampaignStatus.DONE, None, "its verdict is not in the record log"),
    ],
)
def test_without_a_verdict_the_page_says_where_it_stands(
    campaign: Campaign, status: CampaignStatus, stage: Stage | None, words: str
) -> None:
    if stage is not None:
        campaign.site.campaigns.set_progress(ID, stage.model_dump_json())
    campaign.site.campaigns.set_status(ID, status)
    report = compose_report(campaign.site, ID)
    assert not report.concluded and words in report.standing
    page = campaign.site.farm.root / "report.html"
    write_report(campaign.site, ID, page)
    assert "Not concluded." in page.read_text(encoding="utf-8")


def test_what_was_measured_before_an_interruption_is_shown_and_not_judged(site: Site, campaign: Campaign) -> None:
    made = [campaign.make("fp32"), campaign.make("int8-static")]
    campaign.run(campaign.jobs(made)[1], made[1], LaunchKind.TIMED, 0)
    site.campaigns.set_status(ID, CampaignStatus.INTERRUPTED)
    rows = compose_report(site, ID).groups[0].rows
    assert [(row.recipe, row.outcome, len(row.timed)) for row in rows] == [("fp32", NOT_JUDGED, 0), ("int8-static", NOT_JUDGED, 1)]
    assert rows[1].figure("latency_p50_s").value is None and rows[1].figure("latency_p50_s").why == "not concluded yet"
    assert rows[1].figure("accuracy").value == 0.99 and rows[1].figure("size_bytes").value == 100_000


def test_lineage_provenance_protocol_and_commands(site: Site, campaign: Campaign) -> None:
    made = [campaign.make("fp32"), campaign.make("int8-static")]
    conclude_campaign(site, campaign.spec, campaign.measure(made))
    report = compose_report(site, ID)
    assert report.lineages[1].warnings == ("opset 11 was raised to 17",)
    assert report.lineages[1].accuracy == "top1 0.99 on 669 samples; 2 of them count otherwise than with the baseline"
    assert report.lineages[1].golden.endswith("at most 0.02; the largest seen is 0.003")
    [step] = report.lineages[0].steps
    assert step.parameters == "keep=none, per_channel=yes"
    assert set(step.details) == {("operators left", "Add 4, Conv 15"), ("relative error", "0.0003055"), ("kept", "a, b")}
    [origin] = report.provenances
    assert (origin.device, origin.launches) == ("host", 14)
    assert dict(origin.facts)["sha256 of the runtime"] == "2" * 64 and dict(origin.facts)["kernel"] == "6.1.0-99"
    assert dict(report.protocol)["timed launches"] == "3 of each variant, each at least 50 inferences and 0.5 s"
    texts = [command.text for command in report.commands]
    assert texts[0] == "thresher campaign run campaign.yaml"
    assert f"thresher record export launches.parquet --campaign {ID} --kind run --traces" in texts
    assert texts[-1] == "thresher compare fp32 int8-static --model MODEL.yaml --device host"


def test_names_in_commands_are_quoted_for_a_shell(site: Site) -> None:
    device = DEVICE.model_copy(update={"name": "a phone; rm -rf ~"})
    own = RECIPES["int8-static"].model_copy(update={"name": "$(mine)"})
    written = Campaign(site, _spec(devices=(device,), recipes=(RECIPES["fp32"], own), configs=(RunConfig(threads=2),)))
    written.begin()
    made = [written.make("fp32"), written.make("$(mine)")]
    text = compose_report(site, ID).commands[-1].text
    assert text == f"thresher compare fp32 {made[1].variant.id[:12]} --model MODEL.yaml --device 'a phone; rm -rf ~' --threads 2"


def test_reasons_that_differ_in_numbers_alone_are_told_once(site: Site, campaign: Campaign) -> None:
    made = [campaign.make("fp32")]
    job = campaign.jobs(made)[0]
    for round_, took in enumerate(("0.0123", "6.12e-05")):
        campaign.run(job, made[0], LaunchKind.TIMED, round_, absent={"latency_p99_s": f"an inference of {took} s is too slow"})
    [absence] = compose_report(site, ID).absences
    assert (absence.metric, absence.count, absence.where) == ("latency_p99_s", 2, "host")
    assert absence.why == "an inference of 0.0123 s is too slow"


def test_a_comparison_becomes_its_page(site: Site, tmp_path: Path) -> None:
    recipes = tuple(
        RECIPES[name].model_copy(update={"name": f"{letter}: {name}"}) for letter, name in (("A", "fp32"), ("B", "int8-static"))
    )
    sides = PairedComparison(a=Side(recipe="A: fp32"), b=Side(recipe="B: int8-static"), blocks=3)
    command = "thresher compare fp32 int8-static --model model.yaml --device host"
    compared = Campaign(
        site, _spec(recipes=recipes, comparison=sides, budgets=(), command=command, protocol=replace(QUICK, accept_disturbed=True))
    )
    compared.begin()
    made = [compared.make("A: fp32"), compared.make("B: int8-static")]
    jobs = compared.jobs(made)
    assert "nothing is concluded yet" in compose_report(site, ID).comparison.why
    for round_ in range(6):
        for job, each in zip(jobs, made, strict=True):
            compared.run(job, each, LaunchKind.TIMED, round_)
    conclude_campaign(site, compared.spec, jobs)
    report = compose_report(site, ID)
    assert report.comparison is not None and report.comparison.verdict == "faster" and report.comparison.blocks == 3
    assert report.comparison.ratio.value == pytest.approx(0.4, rel=0.01)
    assert [(row.role, len(row.timed)) for row in report.groups[0].rows] == [("A", 6), ("B", 6)]
    assert report.commands[0].text == command
    assert dict(report.protocol)["timed launches"].startswith("two of each side in a block")
    write_report(site, ID, tmp_path / "compare.html")
    html = (tmp_path / "compare.html").read_text(encoding="utf-8")
    assert "Ratio of each block" in html and re.search(r"<strong>faster</strong>", html)


def test_a_record_that_cannot_be_read_is_named_and_the_page_is_written(site: Site, campaign: Campaign, tmp_path: Path) -> None:
    campaign.make("fp32")
    site.log.append(NewRecord("odd", RecordKind.RUN, "{}", campaign_id=ID))
    site.log.append(NewRecord("newer", RecordKind.VARIANT, "{}", campaign_id=ID, schema_version=99))
    site.log.append(NewRecord("verdict", RecordKind.VERDICT, "{}", campaign_id=ID))
    report = compose_report(site, ID)
    assert len(report.damaged) == 3 and any("(odd) cannot be read" in text for text in report.damaged)
    assert not report.concluded and len(report.groups) == 1
    write_report(site, ID, tmp_path / "report.html")
    assert "(odd) cannot be read" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_what_cannot_be_written_leaves_what_was_there(site: Site, campaign: Campaign, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no campaign has the id"):
        write_report(site, "another", tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()
    with pytest.raises(StoreError, match="in the folder"):
        write_report(site, ID, tmp_path / "nowhere" / "report.html")
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(StoreError, match="in the folder"):
        write_report(site, ID, tmp_path / "folder.html")
    assert not list(tmp_path.glob("*.part"))
