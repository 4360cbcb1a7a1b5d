"""One launch, with a runner that is a script: every way in which it can end."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agents.bench.protocol import QUICK
from agents.errors import DeviceLost, TransferError
from agents.host.transport import LocalTransport
from agents.run import Conditions, LaunchKind, Outcome, RunRecord

GOOD = "begin(); timed([1_000_000 + i for i in range(100)]); end()"
PROFILE = """
begin()
line = '{"cat" : "Node","pid" :1,"tid" :1,"dur" :%d,"ts" :1,"ph" : "X","name" :"conv_kernel_time","args" : {"op_name" : "Conv","provider" : "CPUExecutionProvider"}},'
run = '{"cat" : "Session","pid" :1,"tid" :1,"dur" :%d,"ts" :0,"ph" : "X","name" :"model_run","args" : {}},'
with open(out + "/profile.json", "w") as file:
    file.write("[\\n" + "".join((line % d) + "\\n" + (run % (d + 10)) + "\\n" for d in [900] * 11 + [90, 110]).rstrip(",\\n") + "\\n]\\n")
say("timed", iterations=2, duration_s=0.1)
end()
"""


def at(**said: object) -> Conditions:
    return Conditions(at="2026-11-24T00:00:00+00:00", **said)


def test_a_timed_launch_gives_figures_trace_and_provenance(bench) -> None:
    record = bench.run(bench.device(GOOD, said=(at(load_1min=0.5), at(load_1min=0.7))))
    assert (record.outcome, record.why) == (Outcome.OK, None)
    assert record.latency is not None
    assert (record.latency.n, record.latency.p50_s, record.latency.duration_s) == (100, pytest.approx(0.0010000495), 1.0)
    assert record.latency.p90_s is not None
    assert (record.library_load_s, record.session_load_s, record.first_inference_s) == (0.01, 0.02, 0.003)
    assert (record.warmup_iterations, record.warmup_stable, record.peak_rss_bytes) == (10, True, 123456)
    assert (record.before.load_1min, record.after.load_1min) == (0.5, 0.7)
    assert (record.provenance.runner_version, record.provenance.runtime_version, record.provenance.lab_host) == ("9.9", "1.99", "lab")
    (trace,) = record.traces
    raw = np.fromfile(bench.store / trace.sha256, dtype="<i8")
    assert (trace.encoding, trace.count, list(raw[:2])) == ("int64-le-ns", 100, [1_000_000, 1_000_001])
    assert record.absent == {
        "latency_p99_s": "100 iterations are too few: a 99th percentile needs 1000",
        "energy_per_inference_j": "no counter here",
    }
    assert bench.left_over() == []
    assert RunRecord.model_validate_json(record.model_dump_json()) == record


def test_energy_is_the_difference_of_two_readings(bench) -> None:
    record = bench.run(bench.device(GOOD, energy=((5.0, "modelled: a test"), (7.5, "modelled: a test"))))
    assert (record.energy_j, record.power_source) == (2.5, "modelled: a test")
    assert "energy_per_inference_j" not in record.absent


def test_the_spec_names_files_by_their_content(bench) -> None:
    body = """
files = [spec["model"]] + [tensor["file"] for tensor in spec["inputs"]]
assert all(os.path.isfile(path) for path in files), files
assert spec["timed"]["min_iterations"] == 50 and spec["mode"] == "time" and spec["session"]["intra_op_threads"] == 2
"""
    record = bench.run(bench.device(body + GOOD), threads=2)
    assert record.outcome is Outcome.OK, record.why
    artifacts = sorted(path.name for path in (bench.visit / "artifacts").iterdir())
    model, tensor = bench.workload.model_sha256, bench.workload.inputs[0].sha256
    assert artifacts == sorted([f"{model}.onnx", f"{tensor}.bin"])


def test_files_are_pushed_once_a_visit(bench) -> None:
    device = bench.device(GOOD)
    bench.run(device)
    before = {path: path.stat().st_ino for path in (bench.visit / "artifacts").iterdir()}
    bench.run(device)
    assert {path: path.stat().st_ino for path in (bench.visit / "artifacts").iterdir()} == before


def test_files_on_the_device_are_for_this_user_alone(bench) -> None:
    bench.run(bench.device(GOOD))
    for path in [bench.visit, *bench.visit.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_model_that_changed_on_this_host_is_refused(bench) -> None:
    bench.workload.model.write_bytes(b"another")
    record = bench.run(bench.device(GOOD))
    assert record.outcome is Outcome.ERROR
    assert "is not what it was" in record.why
    assert not (bench.visit / "artifacts").exists()


def test_a_model_that_is_gone_is_an_error_of_the_lab_host(bench) -> None:
    bench.workload.model.unlink()
    record = bench.run(bench.device(GOOD))
    assert record.outcome is Outcome.ERROR
    assert "lab host" in record.why


def golden(values: str) -> str:
    return f"""
with open(out + "/golden-0.bin", "wb") as file: file.write(struct.pack("<4f", {values}))
say("start", version=1, runner_version="9.9", runtime_version="1.99", pid=1, library_load_s=0.01)
say("output", index=0, name="y", dtype="float32", shape=[2], count=spec["golden_count"])
end()
"""


def test_right_golden_outputs_pass(bench) -> None:
    bench.with_reference(np.array([[3, 4], [0, 0]], "<f4"), tolerance=0.2)
    record = bench.run(bench.device(golden("3, 4.5, 0, 0")), LaunchKind.GOLDEN)
    assert (record.outcome, record.golden_error) == (Outcome.OK, pytest.approx(0.1))


def test_wrong_golden_outputs_are_said_with_the_figure(bench) -> None:
    bench.with_reference(np.array([[3, 4], [0, 0]], "<f4"), tolerance=0.05)
    (record,) = bench.run_again(bench.device(golden("3, 4.5, 0, 0")), LaunchKind.GOLDEN)
    assert (record.outcome, record.golden_error) == (Outcome.WRONG_OUTPUT, pytest.approx(0.1))
    assert record.why == "output `y` differs from the reference by 0.1 of its norm; this variant may differ by 0.05"


def test_a_golden_output_that_is_no_number_is_wrong(bench) -> None:
    bench.with_reference(np.array([[3, 4], [0, 0]], "<f4"), tolerance=1e6)
    record = bench.run(bench.device(golden("3, float('nan'), 0, 0")), LaunchKind.GOLDEN)
    assert (record.outcome, record.golden_error) == (Outcome.WRONG_OUTPUT, None)


def test_without_a_reference_the_golden_error_is_absent_with_a_reason(bench) -> None:
    record = bench.run(bench.device("begin(); end()"), LaunchKind.GOLDEN)
    assert (record.outcome, record.golden_error) == (Outcome.OK, None)
    assert "no reference outputs" in record.absent["golden_error"]


def test_memory_by_stage(bench) -> None:
    body = """
begin()
for stage, size in ("baseline", 10), ("loaded", 20), ("peak", 40), ("retained", 12):
    say("memory", stage=stage, pss_bytes=size, swap_pss_bytes=1, rss_bytes=2 * size)
end()
"""
    record = bench.run(bench.device(body), LaunchKind.MEMORY)
    assert [(stage.stage, stage.pss_bytes) for stage in record.memory] == [("baseline", 10), ("loaded", 20), ("peak", 40), ("retained", 12)]
    assert record.absent == {}


def test_memory_that_the_kernel_does_not_show_is_absent_with_the_reason(bench) -> None:
    body = 'begin(); say("error", stage="run", message="cannot read /proc/self/smaps_rollup: no such file"); sys.exit(14)'
    record = bench.run(bench.device(body), LaunchKind.MEMORY)
    assert record.outcome is Outcome.OK
    assert record.memory is None
    assert "smaps_rollup" in record.absent["peak_memory_bytes"]


def clock(*hertz: int) -> str:
    return f"begin()\nfor t, hz in enumerate({hertz}): say('clock', t_s=t / 10, cpu_frequency_hz=[hz, hz // 2], temperature_c={{}})\nend()"


def test_clocks_are_kept_as_lines(bench) -> None:
    record = bench.run(bench.device(clock(*[2_000_000_000] * 8)), LaunchKind.CLOCK)
    (trace,) = record.traces
    assert (record.outcome, trace.encoding, trace.count) == (Outcome.OK, "json-lines", 8)
    assert record.absent == {"temperature_c": "the device shows no temperature sensor"}


def test_a_clock_that_falls_is_throttling(bench) -> None:
    record = bench.run(bench.device(clock(*[2_000_000_000] * 4, *[1_500_000_000] * 4)), LaunchKind.CLOCK)
    assert record.outcome is Outcome.THROTTLED
    assert record.why == "the fastest CPU's clock fell from 2.00 to 1.50 GHz while the model ran"


def test_a_clock_that_cannot_be_read_is_absent(bench) -> None:
    record = bench.run(bench.device(clock(*[-1] * 8)), LaunchKind.CLOCK)
    assert record.outcome is Outcome.OK
    assert "cpu_frequency_hz" in record.absent


def test_the_profile_leaves_the_warm_up_out(bench) -> None:
    record = bench.run(bench.device(PROFILE), LaunchKind.PROFILE)
    assert [(op.name, op.mean_s, op.calls) for op in record.ops] == [("conv", pytest.approx(100e-6), 2)]
    assert record.placement == {"CPUExecutionProvider": 1}
    assert record.traces[0].encoding == "ort-profile-json"


def test_a_profile_that_costs_too_much_gives_placement_alone(bench) -> None:
    record = bench.run(bench.device(PROFILE), LaunchKind.PROFILE, timed_p50_s=50e-6)
    assert record.outcome is Outcome.OK
    assert record.ops is None
    assert "120% slower" in record.absent["ops"]
    assert record.placement == {"CPUExecutionProvider": 1}


def test_a_fall_back_to_the_cpu_fails_a_run_that_asked_for_an_accelerator(bench) -> None:
    device = bench.device(PROFILE)
    request = bench.request(LaunchKind.PROFILE)
    request = replace(request, config=request.config.model_copy(update={"provider": "XnnpackExecutionProvider"}))
    from agents.bench.launch import run_launch

    record = run_launch(device, request, keep=bench.keep, cancelled=lambda: False)
    assert record.outcome is Outcome.ERROR
    assert "no node of the model ran there" in record.why


def test_a_pace_that_the_device_cannot_hold_has_no_figure(bench) -> None:
    protocol = QUICK.with_overrides(paced_interval_s=0.001)
    body = 'assert spec["timed"]["interval_s"] == 0.001; begin(); timed([2_000_000] * 60, late=59); end()'
    record = bench.run(bench.device(body), LaunchKind.PACED, protocol=protocol)
    assert record.outcome is Outcome.OK
    assert record.latency is None
    assert "59 of 60" in record.absent["latency_paced_p50_s"]
    assert record.protocol.name == "quick+paced0.001s"


def test_other_processes_taint_a_launch_and_it_is_tried_again(bench) -> None:
    busy = (at(cpu_busy_s=0, cpu_total_s=0), at(cpu_busy_s=50, cpu_total_s=100))
    quiet = (at(cpu_busy_s=50, cpu_total_s=100), at(cpu_busy_s=51, cpu_total_s=200))
    first, second = bench.run_again(bench.device(GOOD, said=(*busy, *quiet)))
    assert (first.outcome, first.attempt) == (Outcome.TAINTED, 0)
    assert "other processes used" in first.why
    assert first.others_busy == pytest.approx(0.5, abs=0.02)
    assert first.latency is not None  # kept, though it does not count
    assert (second.outcome, second.attempt) == (Outcome.OK, 1)


def test_a_launch_that_stays_disturbed_is_tried_as_often_as_the_protocol_says(bench) -> None:
    device = bench.device(GOOD.replace("begin()", "begin(); 0"), said=(at(throttled=True),))
    records = bench.run_again(device, protocol=replace(QUICK, attempts=3))
    assert [(record.outcome, record.attempt) for record in records] == [(Outcome.THROTTLED, number) for number in range(3)]


def test_heat_does_not_make_a_golden_check_wrong(bench) -> None:
    bench.with_reference(np.array([[3, 4], [0, 0]], "<f4"))
    record = bench.run(bench.device(golden("3, 4, 0, 0"), said=(at(throttled=True),)), LaunchKind.GOLDEN)
    assert record.outcome is Outcome.OK


def test_a_warm_up_that_never_settles_taints(bench) -> None:
    body = GOOD.replace("begin()", 'begin(); say("warmed-up", iterations=100, duration_s=1.0, stable=False)')
    record = bench.run(bench.device(body))
    assert record.outcome is Outcome.TAINTED
    assert "warm-up" in record.why


@pytest.mark.parametrize(
    ("body", "outcome", "reason"),
    [
        ('say("error", stage="session", message="Protobuf \\x1b[31mparsing\\nfailed"); sys.exit(12)', Outcome.ERROR, "stage `session`: Protobuf [31mparsing failed"),
        ('say("error", stage="session", message="std::bad_alloc"); sys.exit(12)', Outcome.OUT_OF_MEMORY, "bad_alloc"),
        ('say("error", stage="output", message="No space left on device"); sys.exit(15)', Outcome.OUT_OF_SPACE, "No space"),
        ("begin(); os.kill(os.getpid(), signal.SIGSEGV)", Outcome.CRASHED, "SIGSEGV while it ran the model"),
        ("begin(); os.kill(os.getpid(), signal.SIGKILL)", Outcome.CRASHED, "nothing says that memory ran out"),
        ('begin(); print(\'{"kind": "timed", "iter\', end="", flush=True); os.kill(os.getpid(), signal.SIGABRT)', Outcome.CRASHED, "SIGABRT"),
        ('begin(); say("end", reason="sigterm", peak_rss_bytes=1); sys.exit(143)', Outcome.CRASHED, "something else"),
        ("sys.exit(11)", Outcome.ERROR, "exit code 11 (stage `runtime`) before it said anything"),
        ("sys.exit('cannot find it')", Outcome.ERROR, "cannot find it"),
        ("begin(); end()", Outcome.ERROR, "TimedDone"),
        ('begin(); say("timed", iterations=3, duration_s=1.0, late=0); end()', Outcome.ERROR, "iterations.bin"),
        ("begin(); timed([]); end()", Outcome.ERROR, "timed no inference"),
        ("begin(); timed([1, 2]); open(out + '/iterations.bin', 'ab').write(b'x'); end()", Outcome.ERROR, "holds more"),
        ("print('hello'); begin(); timed([1]); end()", Outcome.ERROR, "line 1"),
        ("begin(); timed([1]); os.remove(out + '/iterations.bin'); os.symlink('/etc/passwd', out + '/iterations.bin'); end()", Outcome.ERROR, "iterations.bin"),
    ],
)  # fmt: skip
def test_how_a_runner_can_fail(bench, body: str, outcome: Outcome, reason: str) -> None:
    record = bench.run(bench.device(body))
    assert record.outcome is outcome
    assert reason in record.why
    assert record.latency is None
    assert record.provenance is not None
    assert bench.left_over() == []


def test_a_killed_runner_with_the_kernels_word_for_it_ran_out_of_memory(bench) -> None:
    device = bench.device("begin(); os.kill(os.getpid(), signal.SIGKILL)", said=(at(oom_kills=1), at(oom_kills=2)))
    assert bench.run(device).outcome is Outcome.OUT_OF_MEMORY


def test_a_runner_that_does_not_end_is_stopped_at_the_deadline(bench) -> None:
    protocol = replace(QUICK, allowance_s=-5.4, attempts=1)  # 0.6 s in all
    body = 'open("%s", "w").write(str(os.getpid())); begin(); time.sleep(1000)' % (bench.folder / "pid")
    (record,) = bench.run_again(bench.device(body), protocol=protocol)
    assert record.outcome is Outcome.TIMEOUT
    assert "stopped while it ran the model" in record.why
    assert ended(bench.folder / "pid")
    assert bench.left_over() == []


def test_a_request_to_stop_ends_the_runner_and_leaves_no_file(bench) -> None:
    pid = bench.folder / "pid"
    body = f'begin(); open("{pid}.new", "w").write(str(os.getpid())); os.rename("{pid}.new", "{pid}"); time.sleep(1000)'
    record = bench.run(bench.device(body), cancelled=pid.exists)
    assert record.outcome is Outcome.CANCELLED
    assert ended(pid)
    assert bench.left_over() == []


def test_a_request_to_stop_before_it_began_runs_nothing(bench) -> None:
    record = bench.run(bench.device(f'open("{bench.folder}/ran", "w")'), cancelled=lambda: True)
    assert record.outcome is Outcome.CANCELLED
    assert not (bench.folder / "ran").exists()
    assert not (bench.visit / "artifacts").exists()


def test_a_runner_that_is_not_there_is_an_error(bench) -> None:
    device = bench.device(GOOD)
    Path(device.runner).unlink()
    record = bench.run(device)
    assert record.outcome is Outcome.ERROR
    assert "cannot be started" in record.why


class LossyTransport(LocalTransport):
    """A link that breaks at a chosen push or pull, as often as told."""

    def __init__(self, *, error: Exception, ending: str, times: int) -> None:
        super().__init__()
        self.error, self.ending, self.times = error, ending, times

    def push(self, local: Path, remote: str, *, timeout_s: float) -> None:
        if remote.endswith(self.ending) and self.times > 0:
            self.times -= 1
            raise self.error
        super().push(local, remote, timeout_s=timeout_s)


def test_a_transfer_that_fails_is_tried_again(bench) -> None:
    device = bench.device(GOOD, transport=LossyTransport(error=TransferError("arrived damaged"), ending=".onnx", times=1))
    first, second = bench.run_again(device)
    assert (first.outcome, first.why) == (Outcome.ERROR, "arrived damaged")
    assert second.outcome is Outcome.OK


def test_a_device_that_is_lost_is_said_to_be(bench) -> None:
    device = bench.device(GOOD, transport=LossyTransport(error=DeviceLost("gone"), ending="spec.json", times=9))
    records = bench.run_again(device, protocol=replace(QUICK, attempts=2))
    assert [record.outcome for record in records] == [Outcome.DEVICE_LOST] * 2


def test_a_mistake_in_our_own_code_is_not_recorded_as_the_devices(bench) -> None:
    def keep(path: Path) -> str:
        raise ZeroDivisionError

    from agents.bench.launch import run_launch

    with pytest.raises(ZeroDivisionError):
        run_launch(bench.device(GOOD), bench.request(), keep=keep, cancelled=lambda: False)
    assert bench.left_over() == []


def test_a_full_store_is_out_of_space(bench) -> None:
    def keep(path: Path) -> str:
        raise OSError(28, os.strerror(28), str(path))

    from agents.bench.launch import run_launch

    record = run_launch(bench.device(GOOD), bench.request(), keep=keep, cancelled=lambda: False)
    assert record.outcome is Outcome.OUT_OF_SPACE


def ended(pid_file: Path) -> bool:
    """Whether that process runs no more (it may wait to be reaped by whoever inherited it)."""
    try:
        state = Path("/proc", pid_file.read_text(), "stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state in "ZX"
