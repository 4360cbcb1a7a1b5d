"""Turn what a user asked for into a campaign that is stored and queued: everything is looked up and checked first."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from agents.bench.protocol import Protocol
from agents.errors import AgentError
from agents.host.probe import list_providers
from agents.run import DeviceRef, RunConfig
from device_profiles.field_errors import did_you_mean
from device_profiles.load import load_profile, profile_files
from device_profiles.profile import DeviceProfile
from optimizers.evaluate import EvaluateRequest, Evaluation
from optimizers.inspect_model import InspectRequest, ModelInfo
from optimizers.model_file import ModelFile, bare_model_file
from optimizers.recipes import find_recipe
from optimizers.variant import Recipe
from orchestrator.address import LocalAddress
from orchestrator.campaign import Campaign, load_campaign, resolve_budget, select_devices
from orchestrator.campaign_file import ProtocolFile
from orchestrator.canonical import canonical_json
from orchestrator.child import Limits, run_task
from orchestrator.errors import ChildError, ConfigError, UsageError
from orchestrator.farm import HOST, Farm, FarmDevice
from orchestrator.fingerprint import Fingerprint, fingerprints
from orchestrator.records import NewRecord, RecordKind
from orchestrator.site import open_site
from orchestrator.spec import BASELINE, CampaignSpec, ResolvedBudget
from orchestrator.verdict import Budget

TRIAL_LIMITS = Limits(timeout_s=120.0, file_bytes=2**30)
INSPECT_LIMITS = Limits(memory_bytes=4 * 2**30, timeout_s=120.0, file_bytes=2**30)
AS_GIVEN = Recipe(name=BASELINE, description="The model as given: nothing is done to it.", passes=())


def plan_campaign(farm: Farm, file: Path, *, command: str = "") -> CampaignSpec:
    """The campaign of a file, resolved against the farm; every model was opened once, in a child process.

    Raises: ConfigError and other UsageErrors, each saying what to do.
    """
    profiles = Profiles(farm)
    campaign = load_campaign(file, profiles=[*profile_files(farm.profiles_dir), HOST])
    devices = select_devices(campaign.devices, farm.devices, platforms={d.profile: profiles.get(d.profile).platform for d in farm.devices})
    if any(isinstance(device.address, LocalAddress) for device in devices):
        for config in campaign.configs:
            check_config(config)
    files = {model.name: inspect_or_refuse(model) for model in campaign.models}
    return CampaignSpec(
        id=new_campaign_id(),
        name=campaign.name,
        lab_host=farm.lab_host,
        models=campaign.models,
        files=files,
        recipes=_with_baseline(campaign.recipes),
        configs=campaign.configs,
        devices=tuple(device_ref(device, profiles) for device in devices),
        budgets=_budgets(campaign, devices, profiles),
        protocol=resolve_protocol(campaign.protocol),
        seed=campaign.seed,
        command=command,
    )


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """What `thresher bench` measures a model with."""

    device: str
    config: RunConfig
    protocol: ProtocolFile


def plan_bench(farm: Farm, model: Path, options: BenchOptions, *, command: str = "") -> CampaignSpec:
    """A campaign of one model file as it is, on one device, on random inputs. Raises: UsageError."""
    profiles = Profiles(farm)
    device = farm.device(options.device)
    if model.suffix not in {".onnx", ".ort"}:
        raise UsageError(
            f"{model.name} is not an .onnx or .ort file: a model.yaml is measured by a campaign, or compared with `thresher compare`"
        )
    if isinstance(device.address, LocalAddress):
        check_config(options.config)
    file = bare_model_file(model)
    files = inspect_or_refuse(file, input_shapes=options.config.input_shapes)
    return CampaignSpec(
        id=new_campaign_id(),
        name=f"bench {file.name}"[:200],
        lab_host=farm.lab_host,
        models=(file,),
        files={file.name: files},
        recipes=(AS_GIVEN,),
        configs=(options.config,),
        devices=(device_ref(device, profiles),),
        budgets=(ResolvedBudget(model=file.name, profile=device.profile, budget=Budget()),),
        protocol=resolve_protocol(options.protocol),
        seed=0,
        command=command,
    )


def check_config(config: RunConfig) -> None:
    """Whether this machine can run a configuration. Raises: UsageError with what it has."""
    wrong = [cpu for cpu in config.affinity if cpu not in os.sched_getaffinity(0)]
    if wrong:
        have = ", ".join(map(str, sorted(os.sched_getaffinity(0))))
        raise UsageError(f"this machine has no CPU {wrong[0]} that this process may use: there are {have}")
    cpus = os.cpu_count() or 1
    if config.threads > cpus:
        raise UsageError(
            f"{config.threads} threads are more than this machine's {cpus} CPU{'s' if cpus > 1 else ''}: they would wait for each other"
        )
    if config.provider == RunConfig().provider:
        return
    providers = list_providers()
    if providers is not None and config.provider not in providers:
        hint = did_you_mean(config.provider, providers, noun="execution providers of this machine's ONNX Runtime")
        raise UsageError(f"there is no execution provider {config.provider!r}: {hint}")


def resolve_protocol(written: ProtocolFile) -> Protocol:
    """The measurement protocol that a campaign asks for. Raises: ConfigError."""
    try:
        return written.resolve()
    except AgentError as error:
        raise ConfigError(f"`protocol`: {error}") from error


def inspect_or_refuse(model: ModelFile, *, input_shapes: Mapping[str, tuple[int, ...]] | None = None) -> tuple[Fingerprint, ...]:
    """Open a model and run it on a few of its samples, in limited child processes; gives what its files hold.

    Raises: UsageError, with the reason.
    """
    try:
        info = inspect_model_file(model.path)
    except ChildError as error:
        raise UsageError(f"the model {model.path} cannot be used: {error}") from error
    if info.problems:
        raise UsageError(f"the model {model.path} cannot be run: {'; '.join(info.problems)}")
    names = [port.name for port in info.inputs]
    for name in input_shapes or {}:
        if name not in names:
            raise UsageError(f"the model {model.name} has no input {name!r}: {did_you_mean(name, names, noun='inputs')}")
    with tempfile.TemporaryDirectory(prefix="thresher-try-") as folder:
        request = EvaluateRequest(
            model=model, variant_path=model.path, out_dir=Path(folder), accuracy=False, intra_op_threads=2, input_shapes=input_shapes or {}
        )
        try:
            run_task("evaluate", request, Evaluation, limits=TRIAL_LIMITS)
        except ChildError as error:
            raise UsageError(f"the model {model.name} ({model.path}) cannot be run on its inputs: {error}") from error
    return fingerprints(model, external=info.external_files)


def inspect_model_file(path: Path, *, run: bool = False) -> ModelInfo:
    """What an ONNX file holds, read (and run once, if asked) in a limited child process. Raises: ChildError."""
    return run_task("inspect", InspectRequest(path=path, run=run), ModelInfo, limits=INSPECT_LIMITS)


def score_samples(model: ModelFile) -> str:
    """What the model scores on its evaluation samples as it is, in words. Raises: UsageError when they cannot be used."""
    with tempfile.TemporaryDirectory(prefix="thresher-score-") as folder:
        request = EvaluateRequest(model=model, variant_path=model.path, baseline_path=model.path, out_dir=Path(folder), intra_op_threads=2)
        try:
            scored = run_task("evaluate", request, Evaluation, limits=Limits())
        except ChildError as error:
            raise UsageError(f"the samples of {model.name} cannot be used: {error}") from error
    if scored.accuracy is None:
        return f"no accuracy: {scored.accuracy_why}; inputs: {scored.workload.source}"
    return f"{scored.metric} {scored.accuracy:.6g} on {scored.n_samples} samples"


def submit(farm: Farm, spec: CampaignSpec) -> None:
    """Store a campaign and queue it for the farm's worker. Raises: StoreError."""
    with open_site(farm) as site:
        site.campaigns.create(spec.id, name=spec.name, lab_host=spec.lab_host, spec=spec.model_dump_json())
        body = canonical_json(spec)
        site.log.append(NewRecord(id=f"campaign-{spec.id}", kind=RecordKind.CAMPAIGN, body=body, campaign_id=spec.id))


def new_campaign_id() -> str:
    """Sorts by time and says nothing of what is in it: `20261124-154233-3fa9c1`."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


class Profiles:
    """Device profiles by name, each loaded once."""

    def __init__(self, farm: Farm) -> None:
        self._farm = farm
        self._loaded: dict[str, DeviceProfile] = {}

    def get(self, name: str) -> DeviceProfile:
        """The profile. That of `host` has no budgets, and nothing of the machine is probed for it here."""
        if name not in self._loaded:
            host = name == HOST
            self._loaded[name] = DeviceProfile(name=HOST, platform="host") if host else load_profile(name, folder=self._farm.profiles_dir)
        return self._loaded[name]


def device_ref(device: FarmDevice, profiles: Profiles) -> DeviceRef:
    """The device as records name it."""
    platform = profiles.get(device.profile).platform
    return DeviceRef(name=device.name, profile=device.profile, platform=platform, address=str(device.address))


def _with_baseline(recipes: Sequence[Recipe]) -> tuple[Recipe, ...]:
    baseline = next((recipe for recipe in recipes if recipe.name == BASELINE), find_recipe(BASELINE))
    return (baseline, *(recipe for recipe in recipes if recipe.name != BASELINE))


def _budgets(campaign: Campaign, devices: Sequence[FarmDevice], profiles: Profiles) -> tuple[ResolvedBudget, ...]:
    kinds: Mapping[str, DeviceProfile] = {device.profile: profiles.get(device.profile) for device in devices}
    return tuple(
        ResolvedBudget(model=model.name, profile=name, budget=resolve_budget(campaign, model, profile))
        for model in campaign.models
        for name, profile in kinds.items()
    )
