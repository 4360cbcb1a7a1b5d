"""What `thresher demo` does: the example's campaign on this machine, busy or not."""

from __future__ import annotations

from pathlib import Path

import psutil

from orchestrator.campaigns import CampaignStatus
from orchestrator.cli.campaign_view import finish, follow_campaign
from orchestrator.cli.options import typed
from orchestrator.cli.output import Format, note
from orchestrator.example import FILES, write_example
from orchestrator.farm import Farm, find_farm
from orchestrator.spec import CampaignSpec
from orchestrator.submit import new_campaign_id, plan_campaign, submit
from orchestrator.worker import Ended

BUSY = 0.25
"""Share of all CPUs that others use, from which on few launches would count."""


def run_demo(directory: Path, format: Format) -> int:
    """Run the example in a folder, which is made where it is not there; gives the exit code."""
    if not all((directory / name).is_file() for name in FILES):
        write_example(directory)
    farm = find_farm(directory, override=directory)
    note("a network trained on handwritten digits, its variants measured on this machine with the short protocol `quick`")
    spec = plan_campaign(farm, directory / "campaign.yaml", command=typed())
    busy = psutil.cpu_percent(interval=1.0) / 100
    if busy > BUSY:
        note(f"other processes use {busy:.0%} of this machine's CPUs: disturbed launches are counted here, as a series of its own")
        spec = _accepting_disturbed(spec)
    ended = _run(farm, spec, format)
    if ended.status is CampaignStatus.FAILED and not spec.protocol.accept_disturbed:
        note("this machine was too busy for a launch to count; once more, counting disturbed launches, as a series of its own")
        spec = _accepting_disturbed(spec)
        ended = _run(farm, spec, format)
    report = directory / "report.html"
    code = finish(farm, spec.id, ended, format=format, report=report)
    if code == 0:
        note(f"look at {report}; then:  thresher bench MODEL.onnx  ·  thresher init my-farm")
    return code


def _accepting_disturbed(spec: CampaignSpec) -> CampaignSpec:
    return spec.model_copy(update={"id": new_campaign_id(), "protocol": spec.protocol.with_overrides(accept_disturbed=True)})


def _run(farm: Farm, spec: CampaignSpec, format: Format) -> Ended:
    submit(farm, spec)
    return follow_campaign(farm, spec.id, format)
