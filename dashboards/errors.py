"""Errors of dashboards.

DashboardError
└── ReportError      a report cannot be made from what was given
"""

from __future__ import annotations


class DashboardError(Exception):
    """Root of the errors of dashboards."""


class ReportError(DashboardError):
    """A report cannot be made from what was given."""
