from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.campaigns import OVER, Campaigns, CampaignStatus
from orchestrator.errors import NotFound, StoreError
from orchestrator.workers import Workers


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 11, 5, 2, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


@pytest.fixture
def campaigns(engine):
    return Campaigns(engine, clock=Clock())


def create(campaigns, *names, lab_host="lab"):
    for name in names:
        assert campaigns.create(name, name=f"{name} “ü” 😀", lab_host=lab_host, spec='{"n":1}')


def test_a_campaign_begins_queued(campaigns):
    create(campaigns, "a")
    row = campaigns.get("a")
    assert (row.name, row.status, row.spec, row.progress, row.cancel_requested) == (
        "a “ü” 😀",
        CampaignStatus.QUEUED,
        '{"n":1}',
        "{}",
        False,
    )
    assert row.created_at == row.updated_at == "2026-11-05T02:00:01.000000Z"


def test_creating_again_changes_nothing_and_another_plan_is_refused(campaigns):
    create(campaigns, "a")
    campaigns.set_status("a", CampaignStatus.RUNNING)
    assert not campaigns.create("a", name="other", lab_host="lab", spec='{"n":1}')
    assert campaigns.get("a").status is CampaignStatus.RUNNING
    with pytest.raises(StoreError, match="another plan"):
        campaigns.create("a", name="a", lab_host="lab", spec='{"n":2}')


def test_lists_newest_first_and_filters(campaigns):
    create(campaigns, "a", "b", "c")
    create(campaigns, "d", lab_host="other")
    campaigns.set_status("b", CampaignStatus.DONE)
    assert [row.id for row in campaigns.list()] == ["d", "c", "b", "a"]
    assert [row.id for row in campaigns.list(limit=2)] == ["d", "c"]
    assert [row.id for row in campaigns.list(status={CampaignStatus.QUEUED, CampaignStatus.RUNNING}, lab_host="lab")] == ["c", "a"]


def test_status_changes_only_from_where_it_may(campaigns):
    create(campaigns, "a")
    assert campaigns.set_status("a", CampaignStatus.RUNNING, only_from={CampaignStatus.QUEUED})
    assert not campaigns.set_status("a", CampaignStatus.RUNNING, only_from={CampaignStatus.QUEUED})
    campaigns.set_progress("a", '{"done":3}')
    row = campaigns.get("a")
    assert (row.status, row.progress) == (CampaignStatus.RUNNING, '{"done":3}')
    assert row.updated_at > row.created_at


def test_cancel_is_asked_for_until_it_is_over(campaigns):
    create(campaigns, "a")
    assert not campaigns.cancel_requested("a")
    assert campaigns.request_cancel("a")
    assert campaigns.request_cancel("a")
    assert campaigns.cancel_requested("a")
    for number, status in enumerate(OVER):
        create(campaigns, f"over {number}")
        campaigns.set_status(f"over {number}", status)
        assert not campaigns.request_cancel(f"over {number}")
        assert not campaigns.cancel_requested(f"over {number}")


def test_an_unknown_campaign_is_not_found_with_those_there_are(campaigns):
    create(campaigns, "a")
    for ask in (
        campaigns.get,
        campaigns.cancel_requested,
        campaigns.request_cancel,
        lambda name: campaigns.set_progress(name, "{}"),
        lambda name: campaigns.set_status(name, CampaignStatus.DONE),
    ):
        with pytest.raises(NotFound, match=r"'b'.*newest are: a"):
            ask("b")


def test_workers_come_beat_and_go(engine):
    workers = Workers(engine, clock=Clock())
    workers.started("lab", pid=1, version="0.1")
    workers.started("annex", pid=2, version="0.1")
    assert workers.beat("lab", pid=1)
    row = workers.list()[1]
    assert (row.lab_host, row.pid, row.version) == ("lab", 1, "0.1")
    assert row.heartbeat_at > row.started_at
    workers.started("lab", pid=3, version="0.2")
    assert not workers.beat("lab", pid=1), "another process took its place"
    workers.stopped("lab", pid=1)
    assert [(row.lab_host, row.pid) for row in workers.list()] == [("annex", 2), ("lab", 3)]
    workers.stopped("lab", pid=3)
    assert [row.lab_host for row in workers.list()] == ["annex"]
