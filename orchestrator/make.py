"""Make a variant and evaluate it, in limited child processes; what comes out is stored and recorded once."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agents.errors import Cancelled
from agents.host.timing_lock import timing_lock
from agents.run import Role
from optimizers.evaluate import EvaluateRequest, Evaluation
from optimizers.golden import WorkloadFiles
from optimizers.make import MakeRequest, MakeResult
from optimizers.model_file import ModelFile
from optimizers.variant import Recipe, Variant
from orchestrator.child import Limits, Stopped, run_task
from orchestrator.errors import ChildCrashed, ChildError, ChildLimit
from orchestrator.fingerprint import check_unchanged
from orchestrator.made import Made, ShapedWorkload, made_id, made_to_record, record_to_made
from orchestrator.site import Site
from orchestrator.spec import BASELINE, CampaignSpec

MAKE_LIMITS = Limits(timeout_s=900.0)
EVALUATE_LIMITS = Limits(timeout_s=1800.0)


@dataclass(frozen=True, slots=True)
class Making:
    """One recipe on one model of a campaign; `baseline` is what the model's baseline gave, None while making it."""

    spec: CampaignSpec
    model: ModelFile
    recipe: Recipe
    baseline: Made | None


def make_and_evaluate(site: Site, making: Making, *, scratch: Path, cancelled: Callable[[], bool]) -> None:
    """Make, evaluate, store, and append the one record that says how it went. Nothing is recorded when cancelled."""
    try:
        with tempfile.TemporaryDirectory(dir=scratch) as folder, timing_lock(cancelled=cancelled):
            made = _made(site, making, Path(folder), cancelled)
    except (Stopped, Cancelled):
        return
    except ChildError as error:
        made = _none(making, _explain(making, error))
    site.log.append(made_to_record(made))


def _made(site: Site, making: Making, folder: Path, cancelled: Callable[[], bool]) -> Made:
    check_unchanged(making.model, making.spec.files.get(making.model.name, ()))
    side = making.spec.side(making.recipe.name)
    if side is not None and side.record is not None:
        return _again(site, making, side.record)
    if making.recipe.name != BASELINE and making.baseline is not None and making.baseline.variant is None:
        return _none(making, f"the baseline could not be made: {making.baseline.why}")
    out = folder / "make"
    out.mkdir()
    result = run_task(
        "make",
        MakeRequest(
            model=making.model.name,
            onnx_path=(side.path if side else None) or making.model.path,
            recipe=making.recipe,
            out_dir=out,
            model_file=making.model,
        ),
        MakeResult,
        limits=MAKE_LIMITS,
        cancelled=cancelled,
    )
    if result.variant is None or result.path is None:
        return _none(making, result.why or "the recipe made nothing")
    if (twin := _twin(site, making, result.variant)) is not None:
        return _none(
            making, f"it gives the very file of {twin}, which is measured: {'; '.join(result.variant.warnings) or 'nothing differs'}"
        )
    site.store.put_file(result.path)
    if result.variant.external is not None:
        site.store.put_file(result.path.parent / result.variant.external.file_name)
    evaluation = _evaluate(site, making, result.path, folder / "evaluation", cancelled)
    return Made(
        campaign_id=making.spec.id,
        model=making.model.name,
        recipe=making.recipe,
        role=_role(making),
        variant=result.variant,
        evaluation=evaluation,
        statistics=_keep_statistics(site, evaluation, folder / "evaluation"),
        shaped=tuple(_shaped(site, making, result.path, folder, cancelled)),
    )


def _twin(site: Site, making: Making, variant: Variant) -> str | None:
    """The recipe of the campaign that made the same bytes of this model already. The sides of a comparison may be equal."""
    if making.spec.comparison is not None:
        return None
    for recipe in making.spec.recipes:
        record = site.log.find(made_id(making.spec.id, making.model.name, recipe.name))
        found = record_to_made(record).variant if record is not None else None
        if found is not None and (found.sha256, found.external) == (variant.sha256, variant.external):
            return recipe.name
    return None


def _again(site: Site, making: Making, record_id: str) -> Made:
    """A variant that another campaign made, for this one."""
    found = record_to_made(site.log.get(record_id))
    return found.model_copy(
        update={"campaign_id": making.spec.id, "model": making.model.name, "recipe": making.recipe, "role": _role(making)}
    )


def _evaluate(site: Site, making: Making, variant: Path, out: Path, cancelled: Callable[[], bool]) -> Evaluation:
    baseline_path, statistics = variant if making.recipe.name == BASELINE else None, None
    if making.baseline is not None and making.baseline.variant is not None:
        baseline_path = site.store.open_local(making.baseline.variant.sha256, name=making.baseline.variant.file_name)
        if making.baseline.statistics is not None:
            statistics = site.store.open_local(making.baseline.statistics, name="statistics.npz")
    request = EvaluateRequest(
        model=making.model,
        variant_path=variant,
        baseline_path=baseline_path,
        baseline_statistics=statistics,
        out_dir=out,
        intra_op_threads=2,
    )
    evaluation = run_task("evaluate", request, Evaluation, limits=EVALUATE_LIMITS, cancelled=cancelled)
    _keep_tensors(site, evaluation.workload, out)
    return evaluation


def _shaped(site: Site, making: Making, variant: Path, folder: Path, cancelled: Callable[[], bool]) -> list[ShapedWorkload]:
    """A workload for every other choice of input shapes among the campaign's configurations."""
    shaped: list[ShapedWorkload] = []
    for place, config in enumerate(making.spec.configs):
        shapes = dict(config.input_shapes)
        if not shapes or any(dict(each.input_shapes) == shapes for each in shaped):
            continue
        out = folder / f"shaped-{place}"
        request = EvaluateRequest(
            model=making.model, variant_path=variant, out_dir=out, input_shapes=shapes, accuracy=False, intra_op_threads=2
        )
        files = run_task("evaluate", request, Evaluation, limits=EVALUATE_LIMITS, cancelled=cancelled).workload
        _keep_tensors(site, files, out)
        shaped.append(ShapedWorkload(input_shapes=shapes, files=files))
    return shaped


def _keep_tensors(site: Site, files: WorkloadFiles, folder: Path) -> None:
    for tensor in (*files.inputs, *files.state_inputs, *files.reference):
        site.store.put_file(folder / Path(tensor.file).name)


def _keep_statistics(site: Site, evaluation: Evaluation, folder: Path) -> str | None:
    return None if evaluation.statistics is None else site.store.put_file(folder / Path(evaluation.statistics).name)


def _none(making: Making, why: str) -> Made:
    return Made(campaign_id=making.spec.id, model=making.model.name, recipe=making.recipe, role=_role(making), variant=None, why=why)


def _role(making: Making) -> Role:
    return Role.BASELINE if making.recipe.name == BASELINE else Role.CANDIDATE


def _explain(making: Making, error: ChildError) -> str:
    match error:
        case ChildLimit():
            return f"making {making.recipe.name} was ended at a limit: {error}"
        case ChildCrashed():
            return f"making {making.recipe.name} failed: {error}"
        case _:
            return str(error)
