"""Where a campaign's numbers come from, as a page shows it: lineage, devices, protocol, what did not count, commands. Pure."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from agents.bench.protocol import Protocol
from agents.run import LaunchKind, Outcome, Provenance, RunConfig, RunRecord
from dashboards.report import page
from optimizers.evaluate import Evaluation
from optimizers.recipes import RECIPES
from optimizers.variant import Step
from orchestrator.made import Made
from orchestrator.published_rows import Material, place_of
from orchestrator.spec import BASELINE

_MOST_DETAILS = 16
_MOST_TEXT = 300
_ID_DIGITS = 12


def lineages(material: Material) -> tuple[page.Lineage, ...]:
    """Where each variant comes from, in the order of making."""
    return tuple(_lineage(made, material.runs) for made in material.made if made.variant is not None)


def _lineage(made: Made, runs: Sequence[RunRecord]) -> page.Lineage:
    assert made.variant is not None
    variant = made.variant
    errors = [run.golden_error for run in runs if run.variant.id == variant.id and run.golden_error is not None]
    seen = f"; the largest seen is {max(errors):.2g}" if errors else "; none was compared"
    return page.Lineage(
        model=made.model,
        recipe=made.recipe.name,
        description=made.recipe.description,
        role=made.role.value,
        variant=variant.id,
        sha256=variant.sha256,
        size_bytes=variant.size_bytes,
        steps=tuple(map(_step, variant.steps)),
        warnings=variant.warnings,
        tools=tuple(sorted(variant.tools.items())),
        accuracy=_accuracy(made.evaluation),
        golden=f"relative error (2-norm) against this host's outputs at most {variant.golden_tolerance:.2g}{seen}",
    )


def _step(step: Step) -> page.Step:
    return page.Step(
        name=step.pass_name,
        parameters=", ".join(f"{key}={_cut(value)}" for key, value in step.parameters.items()),
        modified=step.modified,
        summary=step.summary,
        size_before_bytes=step.size_before_bytes,
        size_after_bytes=step.size_after_bytes,
        duration_s=step.duration_s,
        details=tuple((key.replace("_", " "), _cut(value)) for key, value in list(step.details.items())[:_MOST_DETAILS]),
    )


def _cut(value: object) -> str:
    text = _words(value)
    return text if len(text) <= _MOST_TEXT else text[: _MOST_TEXT - 1] + "…"


def _words(value: object) -> str:
    """A pass's parameter or detail for a person: `Add 4, Conv 15` instead of what JSON makes of it."""
    match value:
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4g}"
        case Mapping():
            return ", ".join(f"{key} {_words(each)}" for key, each in value.items()) or "none"
        case list() | tuple():
            return ", ".join(map(_words, value)) or "none"
        case _:
            return str(value)


def _accuracy(found: Evaluation | None) -> str:
    if found is None:
        return "not evaluated"
    if found.accuracy is None:
        return f"none: {found.accuracy_why}"
    unit = "" if found.unit == "1" else f" {found.unit}"
    changed = "" if not found.changed_samples else f"; {found.changed_samples} of them count otherwise than with the baseline"
    return f"{found.metric} {found.accuracy:.6g}{unit} on {found.n_samples} samples{changed}"


def troubles(material: Material) -> tuple[page.Trouble, ...]:
    """Every launch that was disturbed or failed, in order of time; a disturbed golden launch still shows that outputs are right."""
    return tuple(
        page.Trouble(
            started_at=run.started_at,
            device=run.device.name,
            model=run.model,
            recipe=run.variant.recipe,
            kind=run.kind.value,
            round=run.round,
            attempt=run.attempt,
            outcome=run.outcome.value,
            why=run.why or "no reason was recorded",
        )
        for run in sorted(material.runs, key=lambda each: each.started_at)
        if run.outcome is not Outcome.OK and not (run.kind is LaunchKind.GOLDEN and run.outcome is Outcome.TAINTED)
    )


def absences(material: Material) -> tuple[page.Absence, ...]:
    """What was not measured and why; reasons that differ in their numbers alone are told once."""
    counts: Counter[tuple[str, str, str]] = Counter()
    words: dict[tuple[str, str, str], str] = {}
    for metric, why, where in _absent(material):
        key = (metric, re.sub(r"\d+(\.\d+)?(e[-+]?\d+)?", "#", why), where)
        counts[key] += 1
        words.setdefault(key, why)
    return tuple(page.Absence(key[0], words[key], count, key[2]) for key, count in counts.items())


def _absent(material: Material) -> Iterator[tuple[str, str, str]]:
    """(metric, reason, where) of each figure that a launch or an evaluation lacks."""
    for run in material.runs:
        for metric, why in run.absent.items():
            yield metric, why, run.device.name
        if run.latency is not None and place_of(run) not in material.spreads:
            yield "raw iterations", "they are no longer in the store, or damaged: the launch shows its median alone", run.device.name
    for made in material.made:
        found = made.evaluation
        if found is not None and found.accuracy is None and found.accuracy_why:
            yield "accuracy", found.accuracy_why, f"{made.recipe.name} of {made.model}"
        elif found is not None and found.accuracy_drop is None and found.accuracy_drop_why:
            yield "accuracy_drop", found.accuracy_drop_why, f"{made.recipe.name} of {made.model}"


def provenances(material: Material) -> tuple[page.Provenance, ...]:
    """Each device with each set of versions that launches ran with."""
    counts: dict[tuple[str, str], int] = Counter(
        (run.device.name, run.provenance.model_dump_json()) for run in material.runs if run.provenance is not None
    )
    first = {(run.device.name, run.provenance.model_dump_json()): run for run in reversed(material.runs) if run.provenance is not None}
    return tuple(page.Provenance(key[0], count, _facts(first[key])) for key, count in counts.items())


def _facts(run: RunRecord) -> tuple[tuple[str, str], ...]:
    found, device = run.provenance, run.device
    assert isinstance(found, Provenance)
    return (
        ("device profile", device.profile),
        ("platform", f"{device.platform}, virtual" if device.virtual else device.platform),
        ("CPU", found.cpu_model),
        ("operating system", found.os_build),
        ("kernel", found.kernel),
        ("runtime", f"{found.runtime} {found.runtime_version}"),
        ("sha256 of the runtime", found.runtime_sha256),
        ("runner", found.runner_version),
        ("sha256 of the runner", found.runner_sha256),
        ("lab host", found.lab_host),
        ("Thresher", found.thresher_version),
    )


def protocol_facts(material: Material) -> tuple[tuple[str, str], ...]:
    """The measurement protocol and its settings; a comparison makes golden and timed launches alone."""
    protocol, spec = material.spec.protocol, material.spec
    timed, warmup = protocol.timed, protocol.warmup
    kinds = protocol.kinds if spec.comparison is None else (LaunchKind.GOLDEN, LaunchKind.TIMED)
    number = f"{protocol.launches} of each variant" if spec.comparison is None else "two of each side in a block"
    paced = f"one inference every {protocol.paced_interval_s:g} s" if protocol.paced_interval_s is not None else "none"
    return (
        ("protocol", f"{protocol.name}, version {protocol.version}"),
        ("timed launches", f"{number}, each at least {timed.min_iterations} inferences and {timed.min_s:g} s"),
        ("warm-up", f"at least {warmup.min_s:g} s, until medians agree within {warmup.tolerance:.0%}, at most {warmup.max_s:g} s"),
        ("memory launches", f"{protocol.memory_launches} of each variant" if LaunchKind.MEMORY in kinds else "none"),
        ("paced launches", paced if LaunchKind.PACED in kinds else "none"),
        ("kinds of launch", ", ".join(kind.value for kind in kinds if kind is not LaunchKind.PACED or protocol.paced_interval_s)),
        ("attempts", f"{protocol.attempts} at most where a launch was disturbed"),
        ("disturbed launches", "count as they are (asked for)" if protocol.accept_disturbed else "do not count"),
        ("order", f"{'blocks of four' if spec.comparison else 'rounds of one launch a variant'}, drawn by lot with the seed {spec.seed}"),
        ("configurations", "; ".join(config.label for config in spec.configs)),
    )


def commands(material: Material, groups: Sequence[page.Group]) -> tuple[page.Command, ...]:
    """What to type to get each number, or to measure it anew."""
    spec = material.spec
    rows = f"thresher campaign show {spec.id} --format json"
    verdict = f"thresher record list --campaign {spec.id} --kind verdict --format json"
    general = (
        (f"the same {'comparison' if spec.comparison else 'campaign'}, measured anew", spec.command),
        ("this page", f"thresher campaign report {spec.id} -o report.html"),
        ("what was concluded, as JSON", verdict if spec.comparison else rows),
        ("every launch with its figures", f"thresher record list --campaign {spec.id} --kind run --limit 100000 --format json"),
        ("raw times of every inference", f"thresher record export launches.parquet --campaign {spec.id} --kind run --traces"),
        ("variants with lineage and accuracy", f"thresher record list --campaign {spec.id} --kind variant --format json"),
        ("proof that no record was changed since", "thresher record verify"),
    )
    found = [page.Command(gives, text) for gives, text in general if text]
    return (*found, *_compare_commands(material, groups))


def _options(protocol: Protocol, threads: int) -> str:
    """The options of `compare` and `bench` that measure likewise."""
    words = [
        f"--threads {threads}" if threads != 1 else "",
        "--protocol standard" if protocol.name.partition("+")[0] == "standard" else "",
        "--accept-disturbed" if protocol.accept_disturbed else "",
    ]
    return "".join(f" {word}" for word in words if word)


def _compare_commands(material: Material, groups: Sequence[page.Group]) -> Iterator[page.Command]:
    """A paired comparison with the baseline for each variant that was measured; `compare` takes threads and nothing else."""
    plain = {config.label: config.threads for config in material.spec.configs if config == RunConfig(threads=config.threads)}
    for group in groups:
        for row in group.rows:
            if row.role == "baseline" or row.variant is None or row.config not in plain:
                continue
            word = row.recipe if row.recipe in RECIPES else row.variant[:_ID_DIGITS]
            options = _options(material.spec.protocol, plain[row.config])
            yield page.Command(
                f"ratio of {row.recipe} on {group.device}, in paired blocks (MODEL.yaml: the file of {group.model})",
                f"thresher compare {BASELINE} {shlex.quote(word)} --model MODEL.yaml --device {shlex.quote(group.device)}{options}",
            )
