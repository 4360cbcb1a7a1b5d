"""What each mode measures and writes."""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from agents.runner.build import build_runner, runner_version
from agents.runner.output import read_iterations
from agents.runner.wire import (
    ClockLine,
    End,
    First,
    InputTensor,
    Loaded,
    MemoryLine,
    OutputInfo,
    SessionOptions,
    Start,
    Timed,
    TimedDone,
    WarmedUp,
    Warmup,
)

RANDOM = np.random.default_rng(5)
TYPES = {
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "float64": TensorProto.DOUBLE,
    "bfloat16": TensorProto.BFLOAT16,
    "int8": TensorProto.INT8,
    "uint8": TensorProto.UINT8,
    "int16": TensorProto.INT16,
    "uint16": TensorProto.UINT16,
    "int32": TensorProto.INT32,
    "uint32": TensorProto.UINT32,
    "int64": TensorProto.INT64,
    "uint64": TensorProto.UINT64,
    "bool": TensorProto.BOOL,
}


def value(name, shape, element=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, element, shape)


def conv(rig) -> Path:
    """image (n, 1, 8, 8) → logits (n, 4): a convolution, a ReLU and a matrix."""
    weights = [
        numpy_helper.from_array(RANDOM.normal(size=(3, 1, 3, 3)).astype(np.float32), "w"),
        numpy_helper.from_array(RANDOM.normal(size=(3 * 6 * 6, 4)).astype(np.float32), "m"),
    ]
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Flatten", ["r"], ["f"]),
        helper.make_node("MatMul", ["f", "m"], ["logits"]),
    ]
    return rig.save(nodes, [value("image", ["n", 1, 8, 8])], [value("logits", ["n", 4])], weights=weights)


def accumulator(rig) -> Path:
    """total' = total + x; both (1, 3)."""
    nodes = [helper.make_node("Add", ["x", "total"], ["sum"]), helper.make_node("Mul", ["sum", "sum"], ["square"])]
    return rig.save(nodes, [value("x", [1, 3]), value("total", [1, 3])], [value("square", [1, 3]), value("sum", [1, 3])])


def reference_session(model: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def test_time_writes_every_line_and_the_raw_times(rig) -> None:
    launch = rig.launch(rig.spec(rig.identity(), [InputTensor(name="x", dtype="float32", shape=(1, 4))]))

    assert launch.exit_code == 0
    assert launch.stderr == ""
    assert [type(line) for line in launch.lines] == [Start, Loaded, First, WarmedUp, TimedDone, End]
    start, done, end = launch.line(Start), launch.line(TimedDone), launch.line(End)
    assert (start.runner_version, start.runtime_version) == (runner_version(), onnxruntime.__version__)
    assert (done.iterations, done.late, end.reason) == (5, 0, "complete")
    assert launch.line(WarmedUp).iterations == 2
    times = read_iterations(launch.out / "iterations.bin", iterations=5)
    assert times.min() > 0
    assert times.sum() <= done.duration_s * 1e9
    assert end.peak_rss_bytes > 1_000_000
    assert [path.name for path in launch.out.iterdir()] == ["iterations.bin"]


def test_the_timed_loop_lasts_as_long_as_asked(rig) -> None:
    spec = rig.spec(
        rig.identity(),
        [InputTensor(name="x", dtype="float32", shape=(1, 4))],
        warmup=Warmup(min_iterations=10, min_s=0.05, max_iterations=20, max_s=5, tolerance=10),
        timed=Timed(min_iterations=1, min_s=0.1, max_s=20),
    )
    launch = rig.launch(spec)

    assert launch.line(TimedDone).duration_s >= 0.1
    warm = launch.line(WarmedUp)
    assert (warm.duration_s >= 0.05, warm.stable) == (True, True)
    assert warm.iterations > 20  # min_s is stronger than max_iterations


def test_max_s_ends_a_loop_before_its_minimum(rig) -> None:
    spec = rig.spec(
        rig.identity(),
        [InputTensor(name="x", dtype="float32", shape=(1, 4))],
        warmup=Warmup(min_iterations=10_000_000, min_s=0, max_iterations=10_000_000, max_s=0.05, tolerance=0),
        timed=Timed(min_iterations=10_000_000, max_iterations=10_000_000, min_s=0, max_s=0.05),
    )
    launch = rig.launch(spec)

    assert launch.exit_code == 0
    assert 0 < launch.line(TimedDone).iterations < 10_000_000
    assert 0 < launch.line(WarmedUp).iterations < 10_000_000


def test_paced_inferences_keep_their_rate(rig) -> None:
    timed = Timed(min_iterations=5, min_s=0, max_iterations=5, max_s=20, interval_s=0.02)
    launch = rig.launch(rig.spec(rig.identity(), [InputTensor(name="x", dtype="float32", shape=(1, 4))], timed=timed))

    done = launch.line(TimedDone)
    assert done.iterations == 5
    assert done.duration_s >= 4 * 0.02  # never faster, whatever the machine does meanwhile


def test_a_pace_that_cannot_be_kept_is_counted(rig) -> None:
    timed = Timed(min_iterations=50, min_s=0, max_iterations=50, max_s=20, interval_s=1e-6)
    model = conv(rig)
    launch = rig.launch(rig.spec(model, [rig.tensor("image", np.zeros((1, 1, 1, 8, 8), np.float32))], timed=timed))

    assert launch.line(TimedDone).late > 0


def test_a_pause_longer_than_the_section_ends_it(rig) -> None:
    timed = Timed(min_iterations=50, min_s=0, max_s=0.5, interval_s=3600)
    launch = rig.launch(rig.spec(rig.identity(), [InputTensor(name="x", dtype="float32", shape=(1, 4))], timed=timed))

    assert (launch.exit_code, launch.line(TimedDone).iterations) == (0, 1)


@pytest.mark.parametrize(("optimization", "threads"), [("all", 1), ("disabled", 1), ("all", 2)])
def test_golden_outputs_are_those_of_python_bit_for_bit(rig, optimization: str, threads: int) -> None:
    model, images = conv(rig), RANDOM.normal(size=(5, 2, 1, 8, 8)).astype(np.float32)
    options = SessionOptions(intra_op_threads=threads, inter_op_threads=threads, graph_optimization=optimization, cpu_arena=threads == 1)
    launch = rig.launch(rig.spec(model, [rig.tensor("image", images)], "golden", golden_count=4, session=options))

    assert launch.kinds == ["start", "loaded", "output", "end"]
    info = launch.line(OutputInfo)
    assert (info.index, info.name, info.dtype, info.shape, info.count) == (0, "logits", "float32", (2, 4), 4)
    session = reference_session(model)
    wanted = [session.run(None, {"image": image})[0] for image in images[:4]]
    got = np.fromfile(launch.out / "golden-0.bin", np.float32).reshape(4, 2, 4)
    if optimization == "all":
        assert got.tobytes() == np.stack(wanted).tobytes()
    else:
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


def test_golden_carries_every_element_type(rig) -> None:
    nodes = [helper.make_node("Identity", [f"in {name}"], [f"out {name}"]) for name in TYPES]
    model = rig.save(
        nodes,
        [value(f"in {name}", [2, 3], number) for name, number in TYPES.items()],
        [value(f"out {name}", [2, 3], number) for name, number in TYPES.items()],
    )
    inputs, raw = [], {}
    for name in TYPES:
        if name == "bool":
            samples = RANDOM.integers(0, 2, (2, 2, 3)).astype(bool)
        else:
            samples = RANDOM.integers(0, 100, (2, 2, 3)).astype("uint16" if name == "bfloat16" else name)
        raw[name] = samples.tobytes()
        inputs.append(rig.tensor(f"in {name}", samples, name))
    launch = rig.launch(rig.spec(model, inputs[::-1], "golden", golden_count=2))  # their order does not matter

    assert launch.exit_code == 0, launch.lines
    for index, name in enumerate(TYPES):
        assert (launch.out / f"golden-{index}.bin").read_bytes() == raw[name], name
    assert [line.dtype for line in launch.lines if isinstance(line, OutputInfo)] == list(TYPES)


def test_golden_with_more_outputs_than_a_process_may_usually_open_files(rig) -> None:
    names = [f"y{k}" for k in range(1100)]
    model = rig.save(
        [helper.make_node("Identity", ["x"], [name]) for name in names], [value("x", [1])], [value(name, [1]) for name in names]
    )
    launch = rig.launch(rig.spec(model, [InputTensor(name="x", dtype="float32", shape=(1,))], "golden", golden_count=1))

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard == resource.RLIM_INFINITY or hard > 1200:
        assert launch.exit_code == 0, launch.lines[-1]
        assert len(list(launch.out.iterdir())) == 1100
    else:
        assert (launch.exit_code, "Too many open files" in launch.lines[-1].message) == (15, True)


def test_scalars_and_empty_tensors(rig) -> None:
    nodes = [helper.make_node("Identity", ["s"], ["t"]), helper.make_node("Identity", ["e"], ["f"])]
    model = rig.save(nodes, [value("s", []), value("e", [0, "n"])], [value("t", []), value("f", [0, "n"])])
    scalar, empty = np.array([1.5, 2.5], np.float32), np.zeros((2, 0, 7), np.float32)
    launch = rig.launch(rig.spec(model, [rig.tensor("s", scalar), rig.tensor("e", empty)], "golden", golden_count=2))

    assert [line.shape for line in launch.lines if isinstance(line, OutputInfo)] == [(), (0, 7)]
    assert (launch.out / "golden-0.bin").read_bytes() == scalar.tobytes()
    assert (launch.out / "golden-1.bin").read_bytes() == b""


def test_states_are_fed_back_and_reset_with_sample_0(rig) -> None:
    """Samples 0 1 2 0 1: the total grows over 0 1 2 and begins anew."""
    steps, begin = RANDOM.normal(size=(3, 1, 3)).astype(np.float32), RANDOM.normal(size=(1, 1, 3)).astype(np.float32)
    model = accumulator(rig)
    spec = rig.spec(model, [rig.tensor("x", steps), rig.tensor("total", begin)], "golden", golden_count=5, states={"sum": "total"})
    launch = rig.launch(spec)

    session, total, wanted = reference_session(model), begin[0], []
    for i in range(5):
        total = begin[0] if i % 3 == 0 else total
        square, total = session.run(None, {"x": steps[i % 3], "total": total})
        wanted.append((square, total))
    assert launch.exit_code == 0, launch.lines
    for index in range(2):
        got = np.fromfile(launch.out / f"golden-{index}.bin", np.float32).reshape(5, 1, 3)
        assert got.tobytes() == np.stack([pair[index] for pair in wanted]).tobytes()


def test_one_output_may_feed_several_states_that_grow(rig) -> None:
    """A cache that gets longer: c' = concat(c, x); d takes the same output."""
    nodes = [
        helper.make_node("Concat", ["c", "x"], ["longer"], axis=0),
        helper.make_node("ReduceSum", ["d"], ["sum_d"], keepdims=0),
        helper.make_node("ReduceSum", ["longer"], ["sum_c"], keepdims=0),
    ]
    model = rig.save(
        nodes, [value("x", [1]), value("c", ["n"]), value("d", ["m"])], [value("longer", ["k"]), value("sum_d", []), value("sum_c", [])]
    )
    inputs = [rig.tensor("x", np.ones((4, 1), np.float32))] + [InputTensor(name=name, dtype="float32", shape=(0,)) for name in "cd"]
    links = [{"output": "longer", "input": "c"}, {"output": "longer", "input": "d"}]
    spec = rig.spec(model, inputs, "time").model_dump() | {"states": links}
    timed = rig.launch(json.dumps(spec).encode())
    golden = rig.launch(json.dumps(spec | {"mode": "golden", "golden_count": 1}).encode())

    assert timed.exit_code == 0, timed.lines
    assert golden.exit_code == 0, golden.lines
    assert np.fromfile(golden.out / "golden-2.bin", np.float32) == [1.0]


def test_memory_has_its_four_stages(rig) -> None:
    weights = [numpy_helper.from_array(np.ones((1024, 2048), np.float32), "w")]  # 8 MiB
    model = rig.save([helper.make_node("MatMul", ["x", "w"], ["y"])], [value("x", [1, 1024])], [value("y", [1, 2048])], weights=weights)
    launch = rig.launch(rig.spec(model, [InputTensor(name="x", dtype="float32", shape=(1, 1024))], "memory", sample_hz=200))

    stages = {line.stage: line for line in launch.lines if isinstance(line, MemoryLine)}
    assert list(stages) == ["baseline", "loaded", "peak", "retained"]
    assert stages["loaded"].pss_bytes - stages["baseline"].pss_bytes > 8 << 20
    assert stages["peak"].pss_bytes >= stages["loaded"].pss_bytes - (1 << 20)
    assert all(0 < stage.pss_bytes <= stage.rss_bytes for stage in stages.values())
    assert launch.line(End).peak_rss_bytes >= stages["peak"].rss_bytes
    assert not list(launch.out.iterdir())


def test_clock_samples_what_the_device_has(rig, tmp_path_factory) -> None:
    sysfs = tmp_path_factory.mktemp("sys")
    cpus = os.sysconf("SC_NPROCESSORS_CONF")
    for path, text in {
        "devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1804800\n",
        "class/thermal/thermal_zone0/type": "soc\n",
        "class/thermal/thermal_zone0/temp": "41250\n",
        "class/thermal/thermal_zone2/type": "soc\n",
        "class/thermal/thermal_zone2/temp": "-500\n",
        "class/thermal/thermal_zone3/type": 'od"d\x01\xff\n',
        "class/thermal/thermal_zone3/temp": "7\n",
        "class/thermal/thermal_zone4/type": "broken\n",
        "class/thermal/thermal_zone4/temp": "unavailable\n",
        "class/thermal/thermal_zone5/type": "no temp\n",
    }.items():
        (sysfs / path).parent.mkdir(parents=True, exist_ok=True)
        (sysfs / path).write_bytes(text.encode("latin-1"))
    runner = build_runner(cache=rig.folder, extra_flags=["-O0", f'-DRUNNER_SYSFS="{sysfs}"']).path
    timed = Timed(min_iterations=1, min_s=0.1, max_s=20)
    inputs = [InputTensor(name="x", dtype="float32", shape=(1, 4))]
    launch = rig.launch(rig.spec(rig.identity(), inputs, "clock", timed=timed, sample_hz=100), runner=runner)

    samples = [line for line in launch.lines if isinstance(line, ClockLine)]
    assert len(samples) >= 2
    assert [sample.t_s for sample in samples] == sorted(sample.t_s for sample in samples)
    for sample in samples:
        assert sample.cpu_frequency_hz == (1_804_800_000, *[-1] * (cpus - 1))
        assert sample.temperature_c == {"soc": 41.25, "soc#2": -0.5, 'od"d\x01�': 0.007}
    assert not list(launch.out.iterdir())


def test_profile_covers_every_inference(rig) -> None:
    launch = rig.launch(rig.spec(conv(rig), [rig.tensor("image", np.zeros((1, 1, 1, 8, 8), np.float32))], "profile"))

    assert [path.name for path in launch.out.iterdir()] == ["profile.json"]
    events = json.loads((launch.out / "profile.json").read_text())
    runs = [event for event in events if event["name"] == "model_run"]
    assert len(runs) == 1 + launch.line(WarmedUp).iterations + launch.line(TimedDone).iterations
    assert any(event["args"].get("op_name") == "MatMul" for event in events if event["cat"] == "Node")


def test_affinity_holds_for_the_runtime_too(rig) -> None:
    cpu = min(os.sched_getaffinity(0))
    launch = rig.launch(rig.spec(rig.identity(), [InputTensor(name="x", dtype="float32", shape=(1, 4))], affinity=(cpu,)))

    assert launch.exit_code == 0, launch.lines


def test_another_provider_with_its_options_and_config_entries(rig) -> None:
    if "AzureExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has no second provider")
    options = SessionOptions(provider="AzureExecutionProvider", config={"session.intra_op.allow_spinning": "0"}, memory_pattern=False)
    launch = rig.launch(rig.spec(rig.identity(), [InputTensor(name="x", dtype="float32", shape=(1, 4))], session=options))

    assert launch.exit_code == 0, launch.lines


def test_the_runtime_does_not_write_to_stdout_or_talk_on_stderr(rig) -> None:
    """A model whose unused initializer makes ONNX Runtime warn."""
    weights = [numpy_helper.from_array(np.ones(3, np.float32), "nobody")]
    model = rig.save([helper.make_node("Identity", ["x"], ["y"])], [value("x", [1, 4])], [value("y", [1, 4])], weights=weights)
    launch = rig.launch(rig.spec(model, [InputTensor(name="x", dtype="float32", shape=(1, 4))]))

    assert (launch.exit_code, launch.stderr) == (0, "")
