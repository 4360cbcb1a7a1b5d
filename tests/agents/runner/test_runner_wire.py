"""The runner and `agents.runner.wire` agree on the format, and hostile text never brings the runner down."""

from __future__ import annotations

import json
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.errors import BuildError
from agents.runner.build import build_runner
from agents.runner.output import parse_lines
from agents.runner.wire import EXIT_STAGE, Failed, InputTensor, RunSpec, SessionOptions, StateLink, Timed, Warmup

FEW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SANITIZERS = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")

names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
paths = names.map(lambda name: "/" + name)
words = st.dictionaries(names, st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8), max_size=3)
seconds = st.floats(0, 86_400, allow_nan=False)
counts = st.integers(1, 10_000_000)
inputs = st.builds(
    InputTensor,
    name=names,
    dtype=st.sampled_from(
        ["float32", "float16", "float64", "bfloat16", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "bool"]
    ),
    shape=st.lists(st.integers(0, 1000), max_size=4).map(tuple),
    count=st.integers(1, 1000),
    file=paths,
)
specs = st.builds(
    RunSpec,
    runtime=st.just("/nowhere/libonnxruntime.so"),
    model=paths,
    out_dir=st.just("/tmp"),
    mode=st.sampled_from(["time", "golden", "memory", "clock", "profile"]),
    session=st.builds(
        SessionOptions,
        intra_op_threads=st.integers(1, 256),
        inter_op_threads=st.integers(1, 256),
        graph_optimization=st.sampled_from(["disabled", "basic", "extended", "all"]),
        cpu_arena=st.booleans(),
        memory_pattern=st.booleans(),
        provider=names,
        provider_options=words,
        config=words,
    ),
    inputs=st.lists(inputs, max_size=4, unique_by=lambda tensor: tensor.name).map(tuple),
    states=st.lists(st.builds(StateLink, output=names, input=names), max_size=3, unique_by=lambda link: link.input).map(tuple),
    warmup=st.builds(Warmup, min_iterations=counts, min_s=seconds, max_iterations=counts, max_s=seconds, tolerance=st.floats(0, 10)),
    timed=st.builds(
        Timed, min_iterations=counts, min_s=seconds, max_iterations=counts, max_s=seconds, interval_s=st.none() | st.floats(1e-6, 3600)
    ),
    golden_count=st.integers(1, 1_000_000),
    sample_hz=st.floats(1e-6, 1000),
)


def run(runner, text: bytes, environment=None) -> tuple[int, tuple, bytes]:
    done = subprocess.run([runner, "-"], check=False, input=text, capture_output=True, timeout=60, env=environment)
    return done.returncode, parse_lines(done.stdout), done.stderr


def ended_as_promised(exit_code: int, lines: tuple) -> bool:
    last = lines[-1]
    return exit_code == 0 if not isinstance(last, Failed) else EXIT_STAGE[exit_code] == last.stage


@FEW
@given(specs)
def test_every_spec_that_python_can_write_is_understood(runner, spec: RunSpec) -> None:
    """It gets as far as to look for the runtime, which is not there."""
    exit_code, lines, _ = run(runner, spec.model_dump_json().encode())
    assert EXIT_STAGE[exit_code] == "runtime", lines


def test_what_may_be_left_out_in_python_may_be_left_out_for_the_runner(runner) -> None:
    spec = RunSpec(runtime="/nowhere.so", model="/m", out_dir="/tmp", mode="time", inputs=(InputTensor(name="x", dtype="bool", shape=()),))
    assert run(runner, spec.model_dump_json(exclude_defaults=True).encode())[0] == 11
    assert run(runner, json.dumps(spec.model_dump(), ensure_ascii=True, indent=2).encode())[0] == 11


@st.composite
def hostile(draw) -> bytes:
    """A spec with values swapped for others, cut, spliced, or with bytes changed."""
    tree = json.loads(draw(specs).model_dump_json())
    junk = st.recursive(
        st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=3),
    )
    for _ in range(draw(st.integers(0, 3))):
        parent = draw(st.sampled_from([tree, tree["session"], tree["warmup"], tree["timed"], *tree["inputs"]]))
        parent[draw(st.sampled_from(sorted(parent)) | names)] = draw(junk)
        if not isinstance(tree.get("inputs"), list) or not all(isinstance(tree.get(key), dict) for key in ("session", "warmup", "timed")):
            break
        if not all(isinstance(tensor, dict) for tensor in tree["inputs"]):
            break
    text = bytearray(json.dumps(tree).encode("utf-8", "replace"))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(text)))
        text[at : at + draw(st.integers(0, 3))] = draw(
            st.sampled_from([b"", b"{", b"[", b"]", b"}", b'"', b"\\", b"\\ud800", b"\xff", b"\0", b"9" * 400, b"[" * 40, b","])
        )
    return bytes(text)


@FEW
@given(hostile())
def test_hostile_text_ends_in_a_stage(runner, text: bytes) -> None:
    exit_code, lines, _ = run(runner, text)
    assert exit_code in EXIT_STAGE, (exit_code, text)
    assert ended_as_promised(exit_code, lines)


@pytest.fixture(scope="session")
def sanitized(tmp_path_factory):
    """The runner with the address and undefined-behaviour sanitizers, where the compiler has them."""
    try:
        return build_runner(cache=tmp_path_factory.mktemp("sanitized"), extra_flags=SANITIZERS).path
    except BuildError:
        pytest.skip("no compiler here has the address sanitizer")


HOSTILE = [
    b"",
    b"{" * 100,
    b'{"a":' * 100,
    b'"' + b"\\ud83d\\ude00" * 1000 + b'"',
    b'"' + b"\\" * 999,
    b'"\\u12',
    b"-",
    b"1e",
    b"[1,]",
    b'{"a":1,}',
    b'{"inputs":[{"name":"' + b"x" * 100_000 + b'","dtype":"no"}]}',
    b'{"inputs":[{"name":"x","dtype":"float32","shape":[' + b"2147483647," * 15 + b"2147483647]}]}",
    b'{"' + b"k" * 5000 + b'":1}',
    b'{"affinity":[' + b"1," * 1023 + b"1]}",
    b'{"session":{"config":{' + b",".join(b'"%d":""' % i for i in range(257)) + b"}}}",
]


def test_hostile_text_under_sanitizers(sanitized) -> None:
    for text in HOSTILE:
        exit_code, lines, stderr = run(sanitized, text)
        assert (EXIT_STAGE.get(exit_code), stderr) == ("spec", b""), (text[:100], stderr[-2000:])
        assert ended_as_promised(exit_code, lines)


def test_every_mode_under_sanitizers(rig, sanitized) -> None:
    for mode in ("time", "golden", "memory", "clock", "profile"):
        spec = rig.spec(rig.identity(), [InputTensor(name="x", dtype="float32", shape=(1, 4))], mode, golden_count=3)
        launch = rig.launch(spec, runner=sanitized, environment={"ASAN_OPTIONS": "detect_leaks=0"})
        assert (launch.exit_code, launch.stderr) == (0, ""), mode
