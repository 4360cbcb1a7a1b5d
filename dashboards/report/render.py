"""A report as one HTML page that needs nothing else: no script, no font, no picture from anywhere."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from dashboards.report import figures, summary
from dashboards.report.charts import MISSING, Chart, charts_available, comparison_charts, group_charts
from dashboards.report.columns import COLUMNS, SPREAD, metric_title, shown_columns, unit_of
from dashboards.report.page import Group, Launch, Lineage, Report, Row

MAX_LAUNCHES = 400
"""Launches that one group's table lists; the record log has them all."""

MAX_TROUBLES = 300

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True)
class _Section:
    """A group with what was drawn of it; `key` begins all its ids."""

    key: str
    group: Group
    charts: Sequence[Chart]

    @property
    def launches(self) -> list[tuple[Row, Launch]]:
        """Every launch that gave a latency, in order of time, with its row."""
        found = [(row, launch) for row in self.group.rows for launch in row.launches if launch.p50_s is not None]
        return sorted(found, key=lambda pair: (pair[1].started_at, pair[0].number))


def render_report(report: Report) -> str:
    """The whole page as HTML text. Charts that cannot be drawn are replaced by the reason."""
    style = Markup((_TEMPLATES / "report.css").read_text(encoding="utf-8"))  # noqa: S704 - our own file
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            report=report,
            sections=[_section(report, number, group) for number, group in enumerate(report.groups, start=1)],
            sentences=[escape(sentence) for sentence in summary.sentences(report)],
            style=style,
            style_hash=digest,
            charts_missing="" if charts_available() else MISSING,
            troubles=report.troubles[:MAX_TROUBLES],
            variants=_variants(report),
            columns=COLUMNS,
            spread=SPREAD,
            max_launches=MAX_LAUNCHES,
        )
    )


def _section(report: Report, number: int, group: Group) -> _Section:
    key = f"g{number}"
    if not charts_available():
        return _Section(key, group, ())
    if report.comparison is not None:
        return _Section(key, group, comparison_charts(report.comparison, group, key=key))
    return _Section(key, group, group_charts(group, key=key))


def _variants(report: Report) -> list[tuple[str, Lineage]]:
    """Each variant with an id for links to it; a variant of two models is linked at the first."""
    seen: Counter[str] = Counter()
    found = []
    for lineage in report.lineages:
        anchor = f"v-{lineage.variant[:12]}"
        found.append((f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor, lineage))
        seen[anchor] += 1
    return found


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        duration=figures.duration,
        interval=figures.interval,
        metric_title=metric_title,
        moment=figures.moment,
        plural=figures.plural,
        quantity=figures.quantity,
        share=figures.share,
        visible=figures.visible,
    )
    environment.globals.update(shown_columns=shown_columns, tiles=summary.tiles, unit_of=unit_of)
    return environment


def _shown(value: object) -> object:
    """What every expression of a template goes through: text without anything unseen; nothing for None."""
    if value is None:
        return ""
    return figures.visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value
