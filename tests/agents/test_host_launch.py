"""Launches on this machine with the real runner and the real ONNX Runtime."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import onnx.parser
import psutil
import pytest

from agents.bench.protocol import QUICK, Protocol, plan_launches
from agents.device import ModelData
from agents.errors import BuildError
from agents.host.device import HostDevice, open_host
from agents.run import DeviceRef, LaunchKind, Outcome
from agents.runner.wire import Timed, Warmup

REF = DeviceRef(name="host", profile="host", platform="host", address="local:")

BRIEF = Timed(min_iterations=50, min_s=0.05, max_iterations=2000, max_s=2.0)
SHORT: Protocol = replace(
    QUICK,
    name="test",
    warmup=Warmup(min_iterations=10, min_s=0.01, max_iterations=100, max_s=1.0, tolerance=1.0),
    timed=BRIEF,
    clocked=replace(QUICK).clocked.model_copy(update={"min_s": 0.3, "max_s": 1.0}),
    untimed=BRIEF,
)
ENDLESS = replace(SHORT, timed=Timed(min_iterations=1, min_s=100.0, max_iterations=1_000_000, max_s=100.0))


@pytest.fixture(scope="session")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostDevice]:
    """This machine with the runner built."""
    with open_host(REF, cache=tmp_path_factory.mktemp("cache")) as opened:
        try:
            opened.install(workdir="")
        except BuildError as error:
            pytest.skip(f"needs a C compiler: {error}")
        yield opened


@pytest.fixture
def network(bench):
    """A bench whose model is y = x·w, w of ones, on samples [[1, 2, 3], [4, 5, 6]]."""
    text = """<ir_version: 8, opset_import: ["" : 17]>
    net (float[1, 3] x) => (float[1, 2] y) <float[3, 2] w = {1, 1, 1, 1, 1, 1}> { h = MatMul (x, w)  y = Relu (h) }"""
    save(bench, onnx.parser.parse_model(text))
    samples = np.array([[[1, 2, 3]], [[4, 5, 6]]], "<f4")
    bench.workload = replace(bench.workload, inputs=(bench.tensor("x", samples),))
    bench.with_reference(np.array([[[6, 6]], [[15, 15]]], "<f4"), tolerance=1e-5)
    return bench


def save(bench, model: onnx.ModelProto) -> None:
    path = bench.folder / "net.onnx"
    onnx.save(model, path)
    from hashlib import sha256

    bench.workload = replace(bench.workload, model=path, model_sha256=sha256(path.read_bytes()).hexdigest())


def runners(device: HostDevice) -> list[psutil.Process]:
    """Processes of this device's runner (it was built into a folder of this test session)."""
    name = Path(device.install(workdir="").runner).name
    cache = str(device.cache)
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and any(name in part and cache in part for part in process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def when_it_runs(device: HostDevice, then: Callable[[psutil.Process], bool]) -> Callable[[], bool]:
    """A question whether to stop that acts once the runner has used some CPU time, that is, iterates."""

    def ask() -> bool:
        for process in runners(device):
            if sum(process.cpu_times()[:2]) > 0.1:
                return then(process)
        return False

    return ask


def test_a_whole_job(device: HostDevice, network) -> None:
    protocol = SHORT.with_overrides(paced_interval_s=0.002, launches=1)
    records = {}
    for kind, _ in plan_launches(protocol):
        records[kind] = network.run(device, kind, protocol=protocol)
    expected = {
        kind: {Outcome.OK, Outcome.TAINTED} if kind in (LaunchKind.TIMED, LaunchKind.PACED) else {Outcome.OK} for kind in LaunchKind
    }
    for kind, record in records.items():
        assert record.outcome in expected[kind], (kind, record.why)
        assert record.others_busy is None or 0 <= record.others_busy <= 1
        assert (record.provenance.runtime, record.provenance.cpu_model) == ("onnxruntime", device.facts().cpu_model)
        if kind is not LaunchKind.GOLDEN:
            assert record.first_inference_s > 0
    assert records[LaunchKind.GOLDEN].golden_error == 0.0
    timed = records[LaunchKind.TIMED]
    assert 50 <= timed.latency.n <= 2000
    assert 0 < timed.latency.min_s <= timed.latency.p50_s <= timed.latency.max_s < timed.latency.duration_s
    assert timed.traces[0].count == timed.latency.n
    assert ("energy_per_inference_j" in timed.absent) == (timed.energy_j is None)
    assert records[LaunchKind.PACED].latency.duration_s > 0.002 * (records[LaunchKind.PACED].latency.n - 1) * 0.9
    assert [stage.stage for stage in records[LaunchKind.MEMORY].memory] == ["baseline", "loaded", "peak", "retained"]
    assert records[LaunchKind.MEMORY].peak_rss_bytes > 2**20
    assert records[LaunchKind.CLOCK].traces[0].encoding == "json-lines"
    profile = records[LaunchKind.PROFILE]
    assert {op.op_type for op in profile.ops} == {"MatMul", "Relu"}
    assert profile.placement == {"CPUExecutionProvider": 2}
    assert network.left_over() == []
    assert runners(device) == []


def test_a_wrong_reference_is_wrong_output(device: HostDevice, network) -> None:
    network.with_reference(np.array([[[6, 6]], [[15, 14]]], "<f4"), tolerance=1e-3)
    record = network.run(device, LaunchKind.GOLDEN, protocol=SHORT)
    assert record.outcome is Outcome.WRONG_OUTPUT
    assert record.golden_error == pytest.approx(1 / np.sqrt(36 + 36 + 225 + 196))
    assert "output `y`" in record.why


def test_a_state_is_fed_back(device: HostDevice, network) -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    net (float[1] x, float[1] s) => (float[1] y, float[1] t) { t = Add (s, x)  y = Identity (t) }"""
    save(network, onnx.parser.parse_model(text))
    network.workload = replace(
        network.workload,
        inputs=(network.tensor("x", np.array([[1], [2], [4]], "<f4")),),
        states=(("t", "s"),),
        state_inputs=(network.tensor("s", np.array([[0]], "<f4")),),
    )
    network.with_reference(np.array([[1], [3], [7]], "<f4"))
    assert network.run(device, LaunchKind.GOLDEN, protocol=SHORT).golden_error == 0.0


def test_a_model_that_is_none_fails_in_the_session(device: HostDevice, bench) -> None:
    record = bench.run(device, protocol=SHORT)
    assert record.outcome is Outcome.ERROR
    assert "stage `session`" in record.why
    assert bench.left_over() == []


def test_a_provider_that_is_not_there_is_an_error_with_its_name(device: HostDevice, network) -> None:
    from agents.bench.launch import run_launch

    request = network.request(protocol=SHORT)
    request = replace(request, config=request.config.model_copy(update={"provider": "CoreMLExecutionProvider"}))
    record = run_launch(device, request, keep=network.keep, cancelled=lambda: False)
    assert record.outcome is Outcome.ERROR
    assert "CoreMLExecutionProvider" in record.why


def test_a_request_to_stop_leaves_no_process_and_no_files(device: HostDevice, network) -> None:
    record = network.run(device, protocol=ENDLESS, cancelled=when_it_runs(device, lambda process: True))
    assert record.outcome is Outcome.CANCELLED
    assert runners(device) == []
    assert network.left_over() == []


def test_a_killed_runner_is_a_crash(device: HostDevice, network) -> None:
    def kill(process: psutil.Process) -> bool:
        os.kill(process.pid, signal.SIGKILL)
        return False

    record = network.run(device, protocol=ENDLESS, cancelled=when_it_runs(device, kill))
    assert record.outcome is Outcome.CRASHED
    assert "SIGKILL" in record.why
    assert network.left_over() == []


def test_a_runner_that_somebody_else_stops_measured_nothing(device: HostDevice, network) -> None:
    def stop(process: psutil.Process) -> bool:
        os.kill(process.pid, signal.SIGTERM)
        return False

    record = network.run(device, protocol=ENDLESS, cancelled=when_it_runs(device, stop))
    assert record.outcome is Outcome.CRASHED
    assert "something else" in record.why
    assert record.latency is None


def test_the_deadline_ends_a_launch(device: HostDevice, network) -> None:
    protocol = replace(ENDLESS, allowance_s=-100.5)  # warm-up's 1 s + 100 s - 100.5 s: half a second in all
    record = network.run(device, protocol=protocol)
    assert record.outcome is Outcome.TIMEOUT
    assert runners(device) == []
    assert network.left_over() == []


def test_an_affinity_that_the_machine_has_not_is_an_error(device: HostDevice, network) -> None:
    from agents.bench.launch import run_launch

    request = network.request(protocol=SHORT)
    request = replace(request, config=request.config.model_copy(update={"affinity": (4000,)}))
    assert run_launch(device, request, keep=network.keep, cancelled=lambda: False).outcome is Outcome.ERROR


def test_facts_and_conditions_of_this_machine(device: HostDevice) -> None:
    facts = device.facts()
    assert facts is device.facts()
    assert facts.cpu_count == os.cpu_count()
    assert facts.memory_bytes == psutil.virtual_memory().total
    assert facts.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    first, second = device.conditions(), device.conditions()
    assert second.cpu_busy is None  # sampled by the first call of an opened device alone
    assert first.cpu_total_s is not None
    assert 0 < first.cpu_busy_s <= second.cpu_busy_s <= second.cpu_total_s
    assert 0 < first.available_memory_bytes <= facts.memory_bytes
    energy = device.energy_j()
    assert isinstance(energy, str) or energy[1].startswith("measured: ")


def test_the_first_look_at_an_opened_device_samples_its_load(tmp_path: Path) -> None:
    with open_host(REF, cache=tmp_path) as opened:
        busy = opened.conditions().cpu_busy
    assert busy is not None
    assert 0 <= busy <= 1


def test_the_probed_profile_is_this_machine() -> None:
    from agents.host.probe import probe_host

    profile = probe_host()
    assert (profile.name, profile.platform) == ("host", "host")
    assert "CPUExecutionProvider" in {provider.name for provider in profile.execution_providers}
    assert "AzureExecutionProvider" not in {provider.name for provider in profile.execution_providers}
    assert {cpu for cluster in profile.clusters for cpu in cluster.cpus} <= set(range(os.cpu_count()))
    assert profile.memory_bytes == psutil.virtual_memory().total


def test_weights_in_a_file_beside_the_model_come_along(network, device) -> None:
    from hashlib import sha256

    model = onnx.load(network.workload.model)
    for weights in model.graph.initializer:  # only raw data can lie elsewhere
        weights.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weights), weights.name))
    folder = network.folder / "large"
    folder.mkdir()
    onnx.save(model, folder / "model.onnx", save_as_external_data=True, location="model.onnx.data", size_threshold=0)
    beside = folder / "model.onnx.data"
    stored = network.folder / "a-blob-by-its-hash"
    beside.rename(stored)
    digests = [sha256(path.read_bytes()).hexdigest() for path in (folder / "model.onnx", stored)]
    data = ModelData("model.onnx.data", stored, digests[1])
    network.workload = replace(network.workload, model=folder / "model.onnx", model_sha256=digests[0], model_data=data)
    record = network.run(device, LaunchKind.GOLDEN, protocol=SHORT)
    assert record.outcome is Outcome.OK, record.why
    assert record.golden_error == pytest.approx(0, abs=1e-6)


def test_a_data_file_is_never_written_elsewhere(network, device) -> None:
    network.workload = replace(network.workload, model_data=ModelData("../../evil", network.workload.model, network.workload.model_sha256))
    with pytest.raises(ValueError, match="not a file name"):
        network.run(device, LaunchKind.GOLDEN, protocol=SHORT)
