"""Cancel a campaign: ask its worker, or end it here when no worker has it."""

from __future__ import annotations

import time

from orchestrator.campaigns import OVER, CampaignRow, CampaignStatus
from orchestrator.errors import Busy, UsageError
from orchestrator.site import Site
from orchestrator.worker import WorkerLock

PATIENCE_S = 5.0
_POLL_S = 0.05


def cancel_campaign(site: Site, campaign_id: str) -> CampaignRow:
    """Stop a campaign for good; waits a few seconds for its worker to do so. Raises: UsageError when it is over already."""
    row = site.campaigns.get(campaign_id)
    if row.status in OVER:
        raise UsageError(f"campaign {campaign_id} is over already: {row.status}")
    site.campaigns.request_cancel(campaign_id)
    site.campaigns.set_status(campaign_id, CampaignStatus.CANCELLED, only_from={CampaignStatus.QUEUED})
    if not _has_worker(site):
        site.campaigns.set_status(campaign_id, CampaignStatus.CANCELLED, only_from={CampaignStatus.RUNNING, CampaignStatus.INTERRUPTED})
    deadline = time.monotonic() + PATIENCE_S
    while (row := site.campaigns.get(campaign_id)).status not in OVER and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    return row


def _has_worker(site: Site) -> bool:
    try:
        with WorkerLock(site.farm):
            return False
    except Busy:
        return True
