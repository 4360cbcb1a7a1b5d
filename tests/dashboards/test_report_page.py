"""The page: whole, safe, and readable by whom and with what it should be."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from dashboards.report import charts
from dashboards.report.page import Choice, Comparison, Figure, Report
from dashboards.report.render import MAX_TROUBLES, render_report
from dashboards.report.summary import sentences, tiles

Maker = Callable[..., Any]


class Tree(HTMLParser):
    """Elements with their attributes, text by element, and whether all that was opened was closed in order."""

    VOID = ("meta", "link", "br")

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in set(self._open):
            self.texts.setdefault(tag, []).append(data)

    def all(self, tag: str) -> Iterator[dict[str, str | None]]:
        return (attributes for name, attributes in self.elements if name == tag)

    def text(self, tag: str) -> str:
        return " ".join("".join(self.texts.get(tag, [])).replace("\u00a0", " ").split())


@pytest.fixture(scope="module")
def seven(maker: Maker) -> tuple[Report, str]:
    report = maker().report()
    return report, render_report(report)


def test_landmarks_headings_and_tables(seven: tuple[Report, str]) -> None:
    tree = Tree(seven[1])
    names = [tag for tag, _ in tree.elements]
    assert [names.count(tag) for tag in ("header", "nav", "main", "footer", "h1", "title")][:5] == [1] * 5
    assert names.count("table") == names.count("caption") >= 5
    assert all(attributes.get("scope") in {"col", "row"} for attributes in tree.all("th"))
    ids = [attributes["id"] for _, attributes in tree.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = {attributes.get("aria-labelledby") or attributes.get("aria-describedby") for _, attributes in tree.elements} - {None}
    targets = {str(attributes.get("href"))[1:] for attributes in tree.all("a")}
    assert wanted | targets <= set(ids)
    assert all(attributes.get("aria-labelledby") for attributes in tree.all("section"))
    levels = [int(tag[1]) for tag in names if re.fullmatch("h[1-6]", tag)]
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_the_page_asks_for_nothing(seven: tuple[Report, str]) -> None:
    tree = Tree(seven[1])
    for tag, attributes in tree.elements:
        assert tag not in {"script", "img", "iframe", "object", "embed", "form", "base", "audio", "video", "use", "image"}
        assert not any(name.startswith("on") or name in {"src", "srcset", "style", "action", "ping", "xlink:href"} for name in attributes)
    assert [attributes.get("href") for attributes in tree.all("link")] == ["data:,"]
    assert "http" not in seven[1].replace("http-equiv", "")
    assert "url(" not in seven[1] and "@import" not in seven[1]
    policy = next(str(attributes["content"]) for attributes in tree.all("meta") if attributes.get("http-equiv"))
    assert policy.startswith("default-src 'none'; style-src 'sha256-")


def test_what_a_report_owes_its_reader_is_there(seven: tuple[Report, str]) -> None:
    report, html = seven
    text = Tree(html).text("body")
    for row in report.groups[0].rows:
        assert row.recipe in text
    for words in (
        "Chosen for host: int8-static",
        "Latency p50 76 µs; 5 of 7 meet the budget.",
        "fp16 changed nothing: the model has no float weights",
        "this machine lets no one read its energy counters",
        "other processes used 80 %",
        "42 nodes became 30",
        "opset 11 was raised to 17",
        "top1 0.9895 on 669 samples",
        "AMD EPYC",
        "onnxruntime 1.32.0",
        "quick, version 1",
        "thresher campaign run campaign.yaml",
        "median over launches of each launch's median time of one inference",
    ):
        assert words in text, words


def test_the_summary_says_what_was_chosen_and_what_it_gains(seven: tuple[Report, str]) -> None:
    measured, chosen, refused, troubles = sentences(seven[0])
    assert measured.startswith("7\u00a0variants of digits on host: 49\u00a0launches by the protocol")
    assert "int8-static was chosen: one inference takes" in chosen
    assert chosen.endswith("It was chosen by p50: 5 of 7 meet the budget.")
    assert re.search(
        r"one inference takes [\d.]+ µs \(95 %: \d+ to \d+ µs\); 0\.\d+ × \(95 %: [^)]+\) the baseline's time; top1 loses",
        chosen.replace("\u00a0", " "),
    )
    assert "the file is 6" in chosen and "smaller" in chosen
    assert refused == "1\u00a0recipe gave no variant."
    assert troubles.startswith("1\u00a0launch did not count")


def test_tiles_are_good_or_bad_only_where_the_interval_says_so(maker: Maker) -> None:
    group = maker().group()
    shown = {tile.title: tile for tile in tiles(group)}
    assert shown["of the baseline's time"].tone == "good" and shown["size"].tone == "good"
    assert shown["drop of top1"].tone == "plain"  # its interval holds 0
    worse = replace(group.rows[3], figures={**group.rows[3].figures, "ratio": Figure(1.2, 1.1, 1.3)})
    assert {tile.title: tile.tone for tile in tiles(replace(group, rows=(group.rows[0], worse)))}["of the baseline's time"] == "bad"


def test_absent_figures_are_dashes_with_their_reason_and_never_zero(maker: Maker) -> None:
    report = maker().report(["fp32", "fp16"])
    why = "the outputs on the device are wrong"
    broken = replace(report.groups[0].rows[1], outcome="WRONG_OUTPUT", why=why, figures={}, checks=(), launches=())
    html = render_report(replace(report, groups=(replace(report.groups[0], rows=(report.groups[0].rows[0], broken), choice=None),)))
    row = re.search(r"<tr[^>]*>\s*<td class=\"num\">2</td>.*?</tr>", html, re.S)
    assert row is not None and "WRONG_OUTPUT" in row[0]
    assert row[0].count(f'<abbr class="absent" title="{why}">–</abbr>') == 8
    assert not re.search(r">0[^-\d]", row[0])


def test_modelled_power_says_so_in_its_cell(maker: Maker) -> None:
    report = maker().report(["fp32"])
    row = report.groups[0].rows[0]
    figures = {**row.figures, "energy_per_inference_j": Figure(0.02, 0.019, 0.021)}
    modelled = replace(row, figures=figures, power_source="modelled: 2 W while busy")
    html = render_report(replace(report, groups=(replace(report.groups[0], rows=(modelled,), virtual=True),)))
    assert '<small class="modelled">modelled: 2 W while busy</small>' in html
    assert "is a virtual device" in html and "power, temperature and battery are modelled" in html


def test_nothing_chosen_is_said_with_the_reason(maker: Maker) -> None:
    report = maker().report(["fp32", "fp16"])
    rows = tuple(replace(row, chosen=False) for row in report.groups[0].rows)
    none = replace(report.groups[0], rows=rows, choice=Choice("host", None, None, "no variant meets the budget"))
    html = render_report(replace(report, groups=(none,)))
    assert "<strong>Nothing was chosen</strong>" in html and "no variant was chosen: no variant meets the budget." in html


def test_a_campaign_without_a_verdict_says_where_it_stands(maker: Maker) -> None:
    report = replace(maker().report(["fp32"]), concluded=False, status="interrupted", standing="It was interrupted. 3 of 40 done.")
    text = Tree(render_report(report)).text("main")
    assert "Not concluded. It was interrupted. 3 of 40 done." in text
    empty = replace(report, groups=(), lineages=(), troubles=(), absences=(), provenances=(), refused=(), commands=(), protocol=())
    assert "has measured nothing yet" in Tree(render_report(empty)).text("main")


def test_a_comparison_has_a_page_of_its_own(maker: Maker) -> None:
    report = maker().report(["A: fp32", "B: int8-static"])
    sides = tuple(replace(row, role=letter, checks=(), chosen=False) for row, letter in zip(report.groups[0].rows, "AB", strict=True))
    group = replace(report.groups[0], rows=sides, choice=None, limits={})
    compared = Comparison(
        "A: fp32", "B: int8-static", "faster", Figure(0.62, 0.6, 0.64), 123e-6, 76e-6, 8, 0.021, 0.043, "B takes 0.62 times as long"
    )
    html = render_report(replace(report, groups=(group,), comparison=compared))
    text = Tree(html).text("main")
    assert "B: int8-static against A: fp32: faster" in text
    assert "0.62095 %: 0.600 to 0.640" in text and "B takes 0.62 times as long." in text
    assert 'class="rows"' not in html
    nothing = replace(compared, verdict=None, ratio=Figure(why="no block"), a_p50_s=None, b_p50_s=None, blocks=0, floor=None, resolves=None)
    assert "inconclusive" in render_report(replace(report, groups=(group,), comparison=nothing))


@pytest.mark.parametrize("count", [1, 60])
def test_any_number_of_rows(maker: Maker, count: int) -> None:
    html = render_report(maker(2).report([f"recipe {number}" for number in range(count)], launches=3))
    assert html.count('<th scope="row"><bdi class="name">recipe ') >= count
    assert html.count("<svg") == (3 if count > 1 else 2)


def test_hostile_names_change_nothing_of_the_page(maker: Maker, hostile: tuple[str, ...]) -> None:
    """The same elements with the same attributes' names, whatever the names are; only text differs."""
    plain = maker().report([f"name {number}" for number in range(len(hostile))])
    html = render_report(maker().report(hostile, model="".join(hostile), device=hostile[0]))
    tree = Tree(html)
    drawn = {"g", "path", "text", "title", "line", "rect"}
    body, other = ([tag for tag, _ in each.elements if tag not in drawn] for each in (tree, Tree(render_report(plain))))
    assert set(body) == set(other)
    assert all(body.count(tag) == other.count(tag) for tag in ("table", "tr", "section", "figure", "svg"))
    text = tree.text("main")
    assert "<script>alert(1)</script>" in text and "\\u202egnp.exe\\u202c" in text and "\\x1b[31mred" in text
    assert not {"\x1b", "\x00", "\u202e", "\u202c"} & set(html)
    html.encode("utf-8")


def test_long_lists_are_cut_and_say_so(maker: Maker) -> None:
    report = maker().report(["fp32"], launches=3)
    many = replace(report, troubles=report.troubles * (MAX_TROUBLES + 50))
    assert f"The first {MAX_TROUBLES} of {MAX_TROUBLES + 50} are listed." in render_report(many)
    launched = maker(2).report(["fp32"], launches=450)
    assert "The first 400 are listed." in render_report(launched)


def test_without_the_libraries_of_charts_there_is_a_page_and_how_to_get_them(maker: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charts, "find_spec", lambda name: None)
    html = render_report(maker().report())
    assert "pip install &#39;thresher[report]&#39;" in html and "<svg" not in html
    assert html.count("<table") > 5


def test_charts_cost_nothing_until_they_are_drawn() -> None:
    code = "import dashboards.report.render, sys; sys.exit(len({'altair', 'vl_convert'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def _chromium() -> str:
    found = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
    if found is None:
        from tests.conftest import missing

        missing("chromium")
    assert found is not None
    return found


def _headless(page: Path, profile: Path, *more: str) -> subprocess.CompletedProcess[str]:
    quiet = ("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update")
    command = [_chromium(), "--headless", *quiet, "--disable-sync", "--enable-logging=stderr", "--v=0", f"--user-data-dir={profile}"]
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    return subprocess.run([*command, *sandbox, *more, page.as_uri()], check=False, capture_output=True, text=True, timeout=120)


def _asked_by_the_page(log: Path) -> list[str]:
    """Addresses that the page asked for; what the browser asks for itself has no origin."""
    events = [event.get("params", {}) for event in json.loads(log.read_text())["events"]]
    return [each["url"] for each in events if each.get("initiator", "not an origin") != "not an origin"]


def test_the_browser_tells_what_a_page_asks_for(tmp_path: Path) -> None:
    page, log = tmp_path / "page.html", tmp_path / "net.json"
    page.write_text('<!doctype html><img src="http://127.0.0.1:9/a.png"><script>console.error("seen")</script>')
    done = _headless(page, tmp_path / "profile", f"--log-net-log={log}", "--dump-dom")
    assert _asked_by_the_page(log) == ["http://127.0.0.1:9/a.png"]
    assert "CONSOLE" in done.stderr


def test_a_browser_renders_it_without_complaint(maker: Maker, hostile: tuple[str, ...], tmp_path: Path) -> None:
    """Console messages are logged as CONSOLE; a style or request that the page's policy blocks would be one."""
    page = tmp_path / "report.html"
    page.write_text(render_report(maker().report(hostile, model=hostile[0], device=hostile[7])), encoding="utf-8")
    log = tmp_path / "net.json"
    done = _headless(page, tmp_path / "profile", f"--log-net-log={log}", "--dump-dom")
    assert done.returncode == 0, done.stderr
    assert "CONSOLE" not in done.stderr, done.stderr
    assert _asked_by_the_page(log) == []
    tree = Tree(done.stdout)
    names = [tag for tag, _ in tree.elements]
    assert [names.count(tag) for tag in ("header", "nav", "main", "footer", "h1")] == [1] * 5
    assert names.count("svg") == 3
