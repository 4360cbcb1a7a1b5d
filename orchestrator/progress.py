"""How far a campaign is, for whoever follows it: a small JSON text in the campaign's row."""

from __future__ import annotations

from typing import Literal

from agents.run import LaunchKind, Value
from orchestrator.campaigns import CampaignRow, Campaigns
from orchestrator.plan import Job
from orchestrator.spec import CampaignSpec


class Stage(Value):
    """One stage of a campaign: `done` of `total` units; `what` is the one in progress."""

    stage: Literal["queued", "make", "measure", "judge", "failed"]
    done: int = 0
    total: int = 0
    what: str = ""
    device: str | None = None


class Progress:
    """Writes the progress of one campaign."""

    def __init__(self, campaigns: Campaigns, campaign_id: str) -> None:
        self._campaigns = campaigns
        self._id = campaign_id

    def making(self, spec: CampaignSpec, model: int, recipe: int) -> None:
        """A variant is being made and evaluated."""
        done = model * len(spec.recipes) + recipe
        what = f"{spec.recipes[recipe].name} of {spec.models[model].name}"
        self._set(Stage(stage="make", done=done, total=len(spec.models) * len(spec.recipes), what=what))

    def launching(self, job: Job, place: tuple[LaunchKind, int], *, done: int, total: int) -> None:
        """A launch is about to start on a device."""
        what = f"{job.variant.recipe} of {job.variant.model}: {place[0].value} {place[1] + 1}"
        self._set(Stage(stage="measure", done=done, total=total, what=what, device=job.device))

    def judging(self) -> None:
        """All is measured."""
        self._set(Stage(stage="judge"))

    def failed(self, why: str) -> None:
        """It cannot go on."""
        self._set(Stage(stage="failed", what=why))

    def _set(self, stage: Stage) -> None:
        self._campaigns.set_progress(self._id, stage.model_dump_json())


def read_progress(row: CampaignRow) -> Stage:
    """The stage that a campaign's row shows."""
    return Stage.model_validate_json(row.progress) if row.progress != "{}" else Stage(stage="queued")
