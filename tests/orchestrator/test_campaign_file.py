from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.run import RunConfig
from device_profiles.budget import LIMIT_NAMES, BudgetFile
from device_profiles.profile import DeviceProfile
from orchestrator.address import AdbAddress, LocalAddress
from orchestrator.campaign import Campaign, load_campaign, load_recipe, merge_budgets, resolve_budget, select_devices
from orchestrator.campaign_file import CampaignBudgets, DeviceSelector
from orchestrator.errors import ConfigError
from orchestrator.farm import FarmDevice
from orchestrator.verdict import Budget, Limit

WHOLE = (
    "{name: nightly, model: model.yaml, devices: {platform: [host]}, recipes: [fp32, fp16, int8-static], "
    "budgets: {accuracy_drop: 0.01, latency_p50_s: 0.005}, protocol: {launches: 5}}"
)

LONG = """\
name: nightly
models: [model.yaml, sub/other.onnx]
configs:
  - {threads: 1}
  - threads: 4
    affinity: [4, 5, 6, 7]
    input_shapes: {"x": [1, 3, 224, 224]}
devices:
  profile: pixel-8
  tags: [desk]
recipes:
  - fp32
  - ./mine.yaml
  - {name: bare, passes: [simplify]}
budgets:
  size_bytes: minimize
  accuracy_drop: 1%
  pixel-8: {latency_p50_s: 5ms}
protocol: quick
seed: 7
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "model.onnx").write_bytes(b"not opened here")
    (tmp_path / "sub" / "other.onnx").write_bytes(b"not opened here")
    (tmp_path / "model.yaml").write_text("name: digits\npath: model.onnx\nbudgets: {size_bytes: 4MB, peak_memory_bytes: 80MB}\n")
    (tmp_path / "mine.yaml").write_text("passes: [simplify]\n")
    return tmp_path


def campaign_of(folder: Path, text: str) -> Campaign:
    (folder / "campaign.yaml").write_text(text, encoding="utf-8")
    return load_campaign(folder / "campaign.yaml", profiles=["host", "pixel-8"])


def test_the_shortest_whole_campaign(folder: Path):
    campaign = campaign_of(folder, WHOLE)
    assert campaign.name == "nightly"
    assert [model.path for model in campaign.models] == [folder / "model.onnx"]
    assert [recipe.name for recipe in campaign.recipes] == ["fp32", "fp16", "int8-static"]
    assert campaign.configs == (RunConfig(),)
    assert campaign.devices == DeviceSelector(platform=("host",))
    assert campaign.budgets.limits == BudgetFile({"accuracy_drop": 0.01, "latency_p50_s": 0.005})
    assert (campaign.protocol.name, campaign.protocol.launches, campaign.seed) == ("standard", 5, 0)


def test_everything_a_campaign_can_say(folder: Path):
    campaign = campaign_of(folder, LONG)
    assert [model.name for model in campaign.models] == ["digits", "other"]
    assert [recipe.name for recipe in campaign.recipes] == ["fp32", "mine", "bare"]
    assert campaign.configs == (RunConfig(threads=1), RunConfig(threads=4, affinity=(4, 5, 6, 7), input_shapes={"x": (1, 3, 224, 224)}))
    assert campaign.devices == DeviceSelector(profile=("pixel-8",), tags=("desk",))
    assert campaign.budgets.by_profile == {"pixel-8": BudgetFile({"latency_p50_s": 0.005})}
    assert (campaign.protocol.name, campaign.seed) == ("quick", 7)
    assert CampaignBudgets.model_validate_json(campaign.budgets.model_dump_json()) == campaign.budgets


def test_limits_are_those_of_the_verdict():
    assert tuple(Limit) == LIMIT_NAMES


def test_each_limit_comes_from_the_campaign_else_the_model_else_the_device_kind(folder: Path):
    campaign = campaign_of(folder, LONG)
    pixel = DeviceProfile(
        name="pixel-8",
        platform="android",
        budgets=BudgetFile({"latency_p50_s": 1.0, "peak_memory_bytes": 1.0, "energy_per_inference_j": "minimize", "latency_p90_s": 0.01}),
    )
    assert resolve_budget(campaign, campaign.models[0], pixel) == Budget(
        constraints=(
            (Limit.LATENCY_P50_S, 0.005),
            (Limit.ACCURACY_DROP, 0.01),
            (Limit.PEAK_MEMORY_BYTES, 80_000_000.0),
            (Limit.LATENCY_P90_S, 0.01),
        ),
        objectives=(Limit.SIZE_BYTES, Limit.ENERGY_PER_INFERENCE_J),
        sources=(
            (Limit.LATENCY_P50_S, "campaign"),
            (Limit.SIZE_BYTES, "campaign"),
            (Limit.ACCURACY_DROP, "campaign"),
            (Limit.PEAK_MEMORY_BYTES, "model"),
            (Limit.ENERGY_PER_INFERENCE_J, "device profile"),
            (Limit.LATENCY_P90_S, "device profile"),
        ),
    )
    other = DeviceProfile(name="host", platform="host")
    assert resolve_budget(campaign, campaign.models[1], other) == Budget(
        constraints=((Limit.ACCURACY_DROP, 0.01),),
        objectives=(Limit.SIZE_BYTES,),
        sources=((Limit.SIZE_BYTES, "campaign"), (Limit.ACCURACY_DROP, "campaign")),
    )


def test_without_an_objective_the_median_latency_is_minimised():
    assert merge_budgets(()) == Budget((), (Limit.LATENCY_P50_S,), ())
    merged = merge_budgets((("campaign", BudgetFile({"size_bytes": 1.0})), ("model", BudgetFile({"size_bytes": "minimize"}))))
    assert merged == Budget(((Limit.SIZE_BYTES, 1.0),), (Limit.LATENCY_P50_S,), ((Limit.SIZE_BYTES, "campaign"),))


HOST = FarmDevice("host", "host", LocalAddress())
DESK = FarmDevice("desk", "pixel-8", AdbAddress("1"), ("office", "nightly"))
RACK = FarmDevice("rack\x1b", "pixel-8", AdbAddress("2"), ("nightly",))
PLATFORMS = {"host": "host", "pixel-8": "android"}


@pytest.mark.parametrize(
    ("selector", "chosen"),
    [
        (DeviceSelector(), (HOST, DESK, RACK)),
        (DeviceSelector(platform=("host",)), (HOST,)),
        (DeviceSelector(profile=("pixel-8",)), (DESK, RACK)),
        (DeviceSelector(tags=("office", "nightly")), (DESK, RACK)),
        (DeviceSelector(tags=("nightly",), names=("desk", "host")), (DESK,)),
        (DeviceSelector(names=("desk", "host")), (HOST, DESK)),
    ],
)
def test_devices_that_every_key_allows(selector, chosen):
    assert select_devices(selector, (HOST, DESK, RACK), platforms=PLATFORMS) == chosen


@pytest.mark.parametrize(
    ("selector", "part"),
    [
        (DeviceSelector(names=("deks",)), "`devices.names` has `deks`, which no device of the farm has: did you mean `desk`?"),
        (DeviceSelector(profile=("pixel-9",)), "did you mean `pixel-8`?"),
        (DeviceSelector(platform=("ios",)), "`devices.platform` has `ios`"),
        (DeviceSelector(tags=("x",)), "tags in the farm: office, nightly"),
        (DeviceSelector(tags=("office",), platform=("host",)), "fits no device of the farm"),
    ],
)
def test_a_selector_that_fits_nothing(selector, part):
    with pytest.raises(ConfigError) as caught:
        select_devices(selector, (HOST, DESK, RACK), platforms=PLATFORMS)
    assert part in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("name: nightly", "nmae: nightly", "line 1, column 1: `name` is missing"),
        ("models: [", "model: [", "`model`"),
        ("models: [model.yaml, sub/other.onnx]", "seed: 1", "`seed` is written twice"),
        ("models: [model.yaml, sub/other.onnx]\n", "", "needs `model: PATH` or `models: [PATH, ...]`"),
        ("name: nightly", "name: nightly\nmodel: model.yaml", "not both"),
        ("model.yaml", "modle.yaml", "line 2, column 10, models[0]:"),
        ("model.yaml", "modle.yaml", "did you mean `model.yaml`?"),
        ("sub/other.onnx", "model.yaml", "`models[1]` has the name `digits`, which another model"),
        ("sub/other.onnx", "sub/gone.onnx", "there is no such file"),
        ("{threads: 1}", "{thread: 1}", "line 4, column 6: `configs[0].thread` is not a key that belongs here: did you mean `threads`?"),
        ("{threads: 1}", "{threads: 0}", "line 4, column 6: `configs[0].threads` must be greater than or equal to 1"),
        ("  - {threads: 1}\n", "  - {}\n  - {threads: 1}\n", "has the same configuration twice: 1 thread · CPU"),
        ("{threads: 1}", '{provider: "\\e[31m"}', "control characters in a name: 1 thread · \\x1b[31m"),
        ("[1, 3, 224, 224]", "[1, 0]", "`configs` has `input_shapes` with a size outside 1 to 2147483648 for `x`"),
        ("[4, 5, 6, 7]", "[-1]", "a CPU number outside 0 to 4095"),
        ("profile: pixel-8", "profil: pixel-8", "`devices.profil` is not a key that belongs here: did you mean `profile`?"),
        ("  profile: pixel-8", "  platform: [androd]", "`devices.platform[0]` cannot be `androd`: did you mean `android`?"),
        ("- fp32", "- fp23", "line 12, column 5: `recipes[0]` cannot be found"),
        ("- fp32", "- fp23", "did you mean `fp32`?"),
        ("- fp32", "- mine.yaml", "is a second recipe named `mine`"),
        ("./mine.yaml", "./mien.yaml", "did you mean `mine.yaml`?"),
        (
            "passes: [simplify]",
            "passes: [simplfy]",
            "line 14, column 5, recipes[2]: passes[0]: there is no pass `simplfy`: did you mean `simplify`?",
        ),
        ("passes: [simplify]", "pases: [simplify]", "did you mean `passes`?"),
        ("  size_bytes: minimize", "  size_bytes: minimise", "`budgets.size_bytes` needs a limit or the word `minimize`"),
        ("  size_bytes: minimize", "  size: minimize", "`budgets.size` is not a key that belongs here: did you mean `size_bytes`?"),
        ("  pixel-8: {", "  pixle-8: {", "`budgets.pixle-8` is neither a limit nor a device profile: did you mean `pixel-8`?"),
        ("{latency_p50_s: 5ms}", "{latency_p50: 5ms}", "`budgets.pixel-8.latency_p50` is not a key that belongs here"),
        ("{latency_p50_s: 5ms}", "{latency_p50_s: 5mJ}", "`mJ` is not one of them"),
        ("protocol: quick", "protocol: quik", "`protocol` cannot be `quik`: did you mean `quick`?"),
        ("protocol: quick", "protocol: {lanches: 5}", "`protocol.lanches` is not a key that belongs here: did you mean `launches`?"),
        ("protocol: quick", "protocol: {launches: true}", "`protocol.launches` cannot be true or false"),
        (
            "protocol: quick",
            "protocol: {launches: 2}",
            "line 19, column 1: `protocol` cannot be followed: the protocol `standard` takes 5 to",
        ),
        ("protocol: quick", "protocol: {timed_s: 0}", "`protocol` cannot be followed: timed_s is 0"),
        ("seed: 7", "seed: -7", "`seed` must be greater than or equal to 0, not `-7`"),
        ("seed: 7", "sede: 7", "did you mean `seed`?"),
    ],
)
def test_a_mistake_is_said_with_its_place(folder: Path, old, new, part):
    assert old in LONG
    with pytest.raises(ConfigError) as caught:
        campaign_of(folder, LONG.replace(old, new, 1))
    assert part in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_mistake_in_a_file_that_the_campaign_names(folder: Path):
    (folder / "mine.yaml").write_text("passes: [simplify\n")
    with pytest.raises(ConfigError, match=r"mine\.yaml, line 2, column 1: this is not YAML"):
        campaign_of(folder, LONG)
    (folder / "model.yaml").write_text("name: digits\npath: model.onnx\nlabel: y\n")
    with pytest.raises(
        ConfigError, match=r"campaign\.yaml, line 2, column 10, models\[0\]: .*model\.yaml, line 3, column 1: `label` is not a key"
    ):
        campaign_of(folder, LONG)


def test_a_recipe_of_its_own_file(folder: Path):
    assert load_recipe(folder / "mine.yaml").name == "mine"
    with pytest.raises(ConfigError, match="there is no such file"):
        load_recipe(folder / "gone.yaml")


@given(st.data())
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_mistyped_campaign_is_read_or_refused(folder: Path, data):
    at = data.draw(st.integers(0, len(LONG)))
    words = st.one_of(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=6), st.sampled_from(["- ", "{", "}", "[", ": ", "\n", "null", "true"])
    )
    text = LONG[:at] + data.draw(words) + LONG[at + data.draw(st.integers(0, 9)) :]
    try:
        campaign_of(folder, text)
    except ConfigError as error:
        assert str(error).isprintable()
        assert len(str(error)) < 4000
