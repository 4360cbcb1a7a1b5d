"""Pages for the report's tests, made by hand: as many rows as wanted, names as given."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from dashboards.report.page import (
    Absence,
    Check,
    Choice,
    Command,
    Figure,
    Group,
    Launch,
    Lineage,
    Provenance,
    Refused,
    Report,
    Row,
    Step,
    Trouble,
)

NAMES = ("fp32", "fp16", "int8-dynamic", "int8-static", "int8-static-per-tensor", "prune-magnitude-50", "ort-format")
HOSTILE = (
    "<script>alert(1)</script>",
    '"];alert(1)//',
    "' + alert(1) + '",
    "{{ 7 * 7 }}{% for x in y %}",
    "datum.x === 1 || signal('a')",
    "\x1b[31mred\x1b[0m\x07",
    "\u202egnp.exe\u202c",
    "\u0646\u0645\u0648\u0630\u062c \u0639\u0631\u0628\u064a",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f525\U0001f525",
    "x" * 200,
    "../../etc/passwd\x00\n<b>two lines</b>",
    "&lt;b&gt; &amp; ]]> <!-- --> </style></title></svg>",
    "\ud83d half a pair",
)


@dataclass(frozen=True)
class PageMaker:
    """Makes pages that differ in what the tests need."""

    seed: int = 1

    def launches(self, p50_s: float, count: int = 5, offset_s: float = 0.0) -> tuple[Launch, ...]:
        rng = random.Random(f"{self.seed}/{p50_s}")
        made = [
            Launch("golden", 0, 0, "2026-11-24T15:42:00.000000Z", 0.0, "OK"),
            *(
                Launch(
                    kind="timed",
                    round=index,
                    attempt=0,
                    started_at=f"2026-11-24T15:4{index % 10}:33.123456Z",
                    offset_s=offset_s + 10.0 * index,
                    outcome="OK",
                    iterations=4000,
                    p10_s=p50_s * factor * 0.97,
                    p50_s=p50_s * factor,
                    p90_s=p50_s * factor * rng.uniform(1.03, 1.2),
                    session_load_s=0.004,
                    first_inference_s=p50_s * 4,
                    others_busy=0.03,
                    temperature_c=48.0,
                )
                for index in range(count)
                for factor in [1 + 0.004 * index + rng.gauss(0, 0.01)]
            ),
        ]
        aside = Launch("timed", 1, 0, "2026-11-24T15:43:33.000000Z", offset_s + 15, "TAINTED", "others used 80 % of the CPUs", counts=False)
        spoilt = aside.__class__(
            **{name: getattr(aside, name) for name in aside.__slots__}
            | {"p10_s": p50_s, "p50_s": p50_s * 1.2, "p90_s": p50_s * 1.5, "iterations": 900}
        )
        return (*made, spoilt) if self.seed % 2 else tuple(made)

    def row(self, number: int, name: str, *, chosen: bool = False, launches: int = 5) -> Row:
        rng = random.Random(f"{self.seed}/{number}")
        baseline = number == 1
        p50_s = 123e-6 if baseline else 123e-6 * rng.uniform(0.35, 1.15)
        drop = 0.0 if baseline else rng.uniform(-0.002, 0.03)
        size = 240e3 if baseline else 240e3 * rng.uniform(0.27, 1.05)
        ratio = p50_s / 123e-6
        over = drop + 0.004 > 0.02
        met = None if over and drop <= 0.02 else not over
        return Row(
            number=number,
            recipe=name,
            role="baseline" if baseline else "candidate",
            config="1 thread · CPU",
            variant=hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest(),
            outcome="OK",
            why=None,
            figures={
                "latency_p50_s": Figure(p50_s, p50_s * 0.985, p50_s * 1.02),
                "latency_p90_s": Figure(p50_s * 1.1, p50_s * 1.05, p50_s * 1.15),
                "ratio": Figure(1.0, 1.0, 1.0, "this is the baseline") if baseline else Figure(ratio, ratio * 0.985, ratio * 1.02),
                "accuracy": Figure(0.991 - drop),
                "accuracy_drop": Figure(drop, drop - 0.004 * (not baseline), drop + 0.004 * (not baseline)),
                "size_bytes": Figure(round(size)),
                "peak_memory_bytes": Figure(21.4e6, 21.3e6, 21.6e6),
                "session_load_s": Figure(0.0041),
                "first_inference_s": Figure(p50_s * 4),
                "energy_per_inference_j": Figure(why="this machine lets no one read its energy counters"),
            },
            checks=(
                Check("accuracy_drop", 0.02, drop, drop + 0.004, met, "at most 0.012 (95 %), within 0.020", "campaign"),
                Check("size_bytes", 300e3, round(size), round(size), True, "240 kB, within 300 kB", "campaign"),
            ),
            meets_budget=met,
            on_front=number % 3 == 1 or chosen,
            chosen=chosen,
            memory_definition="linux_pss_with_swap",
            launches=self.launches(p50_s, launches, offset_s=number),
        )

    def group(self, names: Sequence[str] = NAMES, *, launches: int = 5, model: str = "digits", device: str = "host") -> Group:
        chosen = min(4, len(names))
        rows = tuple(self.row(number, name, chosen=number == chosen, launches=launches) for number, name in enumerate(names, start=1))
        return Group(
            model=model,
            device=device,
            device_profile="host",
            accuracy_metric="top1",
            accuracy_unit="1",
            accuracy_better="higher",
            rows=rows,
            choice=Choice("host", names[chosen - 1], f"{chosen:064x}", "latency p50 76 µs; 5 of 7 meet the budget"),
            limits={"accuracy_drop": 0.02, "size_bytes": 300e3, "latency_p50_s": 160e-6},
            objectives=("latency_p50_s",),
            samples=669,
            inputs="4 evaluation samples in turn",
        )

    def report(self, names: Sequence[str] = NAMES, *, launches: int = 5, model: str = "digits", device: str = "host") -> Report:
        group = self.group(names, launches=launches, model=model, device=device)
        return Report(
            campaign_id="20261124-154233-3fa9c1",
            name=f"nightly {model}"[:60],
            status="done",
            concluded=True,
            standing="Every variant was measured.",
            created_at="2026-11-24T15:42:33.000000Z",
            written_at="2026-11-24T15:52:33.000000Z",
            thresher_version="0.1.0",
            groups=(group,),
            refused=(Refused(model, "fp16-odd", "fp16 changed nothing: the model has no float weights"),),
            lineages=tuple(self.lineage(row) for row in group.rows),
            troubles=(Trouble("2026-11-24T15:43:33Z", device, model, names[0], "timed", 1, 0, "TAINTED", "other processes used 80 %"),),
            absences=(Absence("energy_per_inference_j", "this machine lets no one read its energy counters", 42, device),),
            provenances=(Provenance(device, 77, (("CPU", "AMD EPYC"), ("kernel", "6.1.0"), ("runtime", "onnxruntime 1.32.0"))),),
            protocol=(("protocol", "quick, version 1"), ("timed launches", "3 of at least 0.5 s")),
            commands=(Command("the campaign", "thresher campaign run campaign.yaml"),),
        )

    def lineage(self, row: Row) -> Lineage:
        return Lineage(
            model="digits",
            recipe=row.recipe,
            description="8-bit weights per channel",
            role=row.role,
            variant=row.variant or "",
            sha256="ab" * 32,
            size_bytes=240_000,
            steps=(
                Step("simplify", "", True, "42 nodes became 30", 251_000, 240_000, 0.31, (("fused", "12"),)),
                Step("quantize_static", "per_channel=true", True, "11 of 12 layers to 8 bits", 240_000, 71_000, 1.4),
            ),
            warnings=("opset 11 was raised to 17",),
            tools=(("onnx", "1.23.0"),),
            accuracy="top1 0.9895 on 669 samples; 3 of them changed",
            golden="outputs may differ by 2 %",
        )


@pytest.fixture(scope="session")
def maker() -> Callable[..., PageMaker]:
    """Makes a maker of pages with a seed."""
    return PageMaker


@pytest.fixture
def hostile() -> tuple[str, ...]:
    """Names that try to break out of HTML, SVG, a chart's specification, a terminal, or the reading order."""
    return HOSTILE
